#include <levin/tune/samplers/unit_space.h>

#include <algorithm>

namespace levin::tune {

UnitSpace::UnitSpace(const SearchSpace& space) {
  for (const auto& [name, distribution] : space) {
    if (distribution.single()) continue;
    params_.push_back(
        {name, distribution, distribution.is_categorical() ? std::nullopt : std::optional<Scale>(distribution)});
  }
}

std::size_t UnitSpace::n_choices(std::size_t i) const { return params_[i].scale ? 0 : params_[i].distribution.size(); }

double UnitSpace::of_choice(std::size_t i, std::size_t choice) const {
  return (static_cast<double>(choice) + 0.5) / static_cast<double>(n_choices(i));
}

std::size_t UnitSpace::choice(std::size_t i, double u) const {
  const double n = static_cast<double>(n_choices(i));
  return static_cast<std::size_t>(std::clamp(u * n, 0.0, n - 1));
}

double UnitSpace::encode(std::size_t i, const Value& value) const {
  const Param& param = params_[i];
  const double internal = param.distribution.to_internal(value);
  return param.scale ? param.scale->to_unit(internal) : of_choice(i, static_cast<std::size_t>(internal));
}

Value UnitSpace::decode(std::size_t i, double u) const {
  const Param& param = params_[i];
  if (!param.scale) return param.distribution.choices()[choice(i, u)];
  return param.distribution.to_external(param.scale->from_unit(std::clamp(u, 0.0, 1.0)));
}

double UnitSpace::snap(std::size_t i, double u) const {
  const Param& param = params_[i];
  u = std::clamp(u, 0.0, 1.0);
  if (!param.scale) return of_choice(i, choice(i, u));
  if (param.distribution.step() == 0) return u;
  return param.scale->to_unit(param.scale->from_unit(u));
}

std::optional<std::vector<double>> UnitSpace::encode(const FrozenTrial& trial) const {
  std::vector<double> point(size());
  for (std::size_t i = 0; i < size(); ++i) {
    const Value* value = trial.params.find(params_[i].name);
    if (value == nullptr) return std::nullopt;
    const Distribution* own = trial.distributions.find(params_[i].name);
    const bool same_kind = own != nullptr && own->kind() == params_[i].distribution.kind();
    if (!same_kind || !params_[i].distribution.contains(params_[i].distribution.to_internal(*value))) {
      return std::nullopt;
    }
    point[i] = encode(i, *value);
  }
  return point;
}

Map UnitSpace::decode(const std::vector<double>& point) const {
  Map out;
  for (std::size_t i = 0; i < size(); ++i) out[params_[i].name] = decode(i, point[i]);
  return out;
}

std::vector<double> UnitSpace::random(Rng& rng) const {
  std::vector<double> point(size());
  for (std::size_t i = 0; i < size(); ++i) point[i] = snap(i, rng.uniform());
  return point;
}

SearchSpace common_space(const std::vector<TrialPtr>& trials) {
  if (trials.empty()) return {};
  std::vector<SearchSpace::value_type> entries(trials.front()->distributions.begin(),
                                               trials.front()->distributions.end());
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  SearchSpace out;
  for (const auto& [name, distribution] : entries) {
    const auto has = [&name = name, &distribution = distribution](const TrialPtr& trial) {
      const Distribution* other = trial->distributions.find(name);
      return other != nullptr && *other == distribution;
    };
    if (std::all_of(trials.begin(), trials.end(), has)) out.set(name, distribution);
  }
  return out;
}

}  // namespace levin::tune
