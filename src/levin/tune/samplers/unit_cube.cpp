#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {

UnitAxis::UnitAxis(const Distribution& distribution) : distribution_(distribution) {
  if (distribution.is_categorical()) {
    n_points_ = static_cast<double>(distribution.size());
    return;
  }
  const double step = distribution.step();
  low_ = distribution.low() - step / 2;
  high_ = distribution.high() + step / 2;
  if (step != 0) n_points_ = std::nearbyint((distribution.high() - distribution.low()) / step) + 1;
  if (distribution.log()) low_ = std::log(low_), high_ = std::log(high_);
}

double UnitAxis::to_unit(double internal) const {
  if (is_categorical()) return (internal + 0.5) / n_points_;
  if (low_ == high_) return 0.5;
  const double x = distribution_.log() ? std::log(internal) : internal;
  return std::clamp((x / 2 - low_ / 2) / (high_ / 2 - low_ / 2), 0.0, 1.0);  // halves: the widest range is finite
}

double UnitAxis::from_unit(double u) const {
  u = std::clamp(u, 0.0, 1.0);
  if (is_categorical()) return std::min(std::floor(u * n_points_), n_points_ - 1);
  const Distribution& d = distribution_;
  double x = low_ * (1 - u) + high_ * u;
  if (d.log()) x = std::exp(x);
  if (d.step() != 0) x = d.low() + std::nearbyint((x - d.low()) / d.step()) * d.step();
  return std::clamp(x, d.low(), d.high());
}

double UnitAxis::point(double index) const {
  if (is_categorical()) return (index + 0.5) / n_points_;
  return to_unit(std::min(distribution_.low() + index * distribution_.step(), distribution_.high()));
}

double UnitAxis::index_of(double u) const {
  const double internal = from_unit(u);
  return is_categorical() ? internal : std::nearbyint((internal - distribution_.low()) / distribution_.step());
}

double UnitAxis::snap(double u) const {
  return n_points_ > 0 ? point(index_of(u)) : std::clamp(u, 0.0, 1.0);
}

UnitCube::UnitCube(const SearchSpace& space) {
  for (const auto& [name, distribution] : space) {
    if (distribution.single()) continue;
    names_.push_back(name);
    axes_.emplace_back(distribution);
  }
}

std::vector<double> UnitCube::to_unit(const Map& params) const {
  std::vector<double> out(size());
  for (std::size_t i = 0; i < size(); ++i) {
    out[i] = axes_[i].to_unit(axes_[i].distribution().to_internal(params.at(names_[i])));
  }
  return out;
}

std::optional<std::vector<double>> UnitCube::to_unit(const FrozenTrial& trial) const {
  std::vector<double> out(size());
  for (std::size_t i = 0; i < size(); ++i) {
    const Distribution& distribution = axes_[i].distribution();
    const Value* value = trial.params.find(names_[i]);
    const Distribution* own = trial.distributions.find(names_[i]);
    if (value == nullptr || own == nullptr || own->kind() != distribution.kind()) return std::nullopt;
    const double internal = distribution.to_internal(*value);
    if (!distribution.contains(internal)) return std::nullopt;
    out[i] = axes_[i].to_unit(internal);
  }
  return out;
}

Map UnitCube::to_params(std::span<const double> point) const {
  Map out;
  for (std::size_t i = 0; i < size(); ++i) {
    out[names_[i]] = axes_[i].distribution().to_external(axes_[i].from_unit(point[i]));
  }
  return out;
}

std::vector<double> UnitCube::random(Rng& rng) const {
  std::vector<double> out(size());
  for (std::size_t i = 0; i < size(); ++i) out[i] = axes_[i].snap(rng.uniform());
  return out;
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
