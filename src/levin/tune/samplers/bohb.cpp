#include <levin/tune/samplers/bohb.h>

#include <levin/tune/samplers/truncated_normal.h>
#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <utility>

namespace levin::tune {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

struct Observation {
  double loss;
  std::vector<double> point;
};

bool usable(const FrozenTrial& trial) {
  return trial.state == TrialState::complete || trial.state == TrialState::pruned ||
         (trial.state == TrialState::running && !trial.intermediate_values.empty());
}

std::vector<TrialPtr> usable_trials(StudyView& study) {
  std::vector<TrialPtr> out;
  for (const auto& trial : study.trials().by_number()) {
    if (usable(*trial) && !trial->params.empty()) out.push_back(trial);
  }
  return out;
}

// The observations of the highest budget that has at least `needed`, infeasible and NaN ones behind all others.
std::vector<Observation> highest_budget(const std::vector<TrialPtr>& trials, const UnitCube& cube,
                                        Direction direction, std::size_t needed) {
  std::map<double, std::vector<std::pair<double, const FrozenTrial*>>, std::greater<>> budgets;
  const auto note = [&](double budget, double value, const FrozenTrial& trial) {
    double loss = direction == Direction::maximize ? -value : value;
    if (std::isnan(loss)) loss = inf;
    if (trial.infeasibility() > 0) loss = inf;
    budgets[budget].emplace_back(loss, &trial);
  };
  for (const auto& trial : trials) {
    if (trial->state == TrialState::complete) note(inf, trial->values.front(), *trial);
    for (const auto& [step, value] : trial->intermediate_values) note(static_cast<double>(step), value, *trial);
  }
  for (const auto& [budget, entries] : budgets) {
    if (entries.size() < needed) continue;
    std::vector<Observation> out;
    for (const auto& [loss, trial] : entries) {
      if (auto point = cube.to_unit(*trial)) out.push_back({loss, std::move(*point)});
    }
    if (out.size() >= needed) return out;
  }
  return {};
}

// A product kernel density on the unit cube, with Scott's normal reference bandwidths.
class Density {
 public:
  Density(const UnitCube& cube, std::vector<std::vector<double>> points, double min_bandwidth)
      : cube_(cube), points_(std::move(points)), bandwidths_(cube.size()) {
    const double n = static_cast<double>(points_.size());
    for (std::size_t j = 0; j < cube.size(); ++j) {
      double sum = 0, squares = 0;
      for (const auto& point : points_) sum += coordinate(j, point[j]);
      for (const auto& point : points_) squares += std::pow(coordinate(j, point[j]) - sum / n, 2);
      const double bandwidth =
          1.06 * std::sqrt(squares / n) * std::pow(n, -1 / (4 + static_cast<double>(cube.size())));
      bandwidths_[j] = std::max(bandwidth, min_bandwidth);
      const std::size_t choices = cube[j].n_choices();
      // At most, every choice is as likely as any other.
      if (choices > 0) bandwidths_[j] = std::min(bandwidths_[j], 1 - 1 / static_cast<double>(choices));
    }
  }

  double log_pdf(const std::vector<double>& x) const {
    double most = -inf;
    std::vector<double> logs;
    for (const auto& point : points_) {
      double sum = 0;
      for (std::size_t j = 0; j < x.size(); ++j) sum += log_kernel(j, x[j], point[j]);
      logs.push_back(sum);
      most = std::max(most, sum);
    }
    double total = 0;
    for (const double value : logs) total += std::exp(value - most);
    return most + std::log(total / static_cast<double>(points_.size()));
  }

  std::vector<double> draw(Rng& rng, double bandwidth_factor) const {
    std::vector<double> out = points_[rng.below(points_.size())];
    for (std::size_t j = 0; j < out.size(); ++j) {
      const double u = rng.uniform();
      if (const std::size_t choices = cube_[j].n_choices(); choices > 0) {
        if (u < bandwidths_[j]) out[j] = cube_[j].point(rng.below(choices));
      } else {
        const double sigma = bandwidths_[j] * bandwidth_factor;
        out[j] += sigma * truncated_normal_quantile(u, -out[j] / sigma, (1 - out[j]) / sigma);
        out[j] = cube_[j].snap(out[j]);
      }
    }
    return out;
  }

 private:
  double coordinate(std::size_t j, double u) const {
    return cube_[j].n_choices() > 0 ? static_cast<double>(cube_[j].choice(u)) : u;
  }

  // Gaussian for numbers, Aitchison-Aitken for choices.
  double log_kernel(std::size_t j, double x, double centre) const {
    const double h = bandwidths_[j];
    if (const std::size_t choices = cube_[j].n_choices(); choices > 0) {
      return std::log(cube_[j].choice(x) == cube_[j].choice(centre) ? 1 - h : h / static_cast<double>(choices - 1));
    }
    const double z = (x - centre) / h;
    return -0.5 * z * z - std::log(h);
  }

  const UnitCube& cube_;
  const std::vector<std::vector<double>> points_;
  std::vector<double> bandwidths_;
};

}  // namespace

BOHBSampler::BOHBSampler(BOHBSamplerOptions options)
    : options_(options), seed_(seed_or_random(options.seed)), random_({.seed = seed_}) {
  const auto require = [](bool holds, const char* what, double value) {
    if (!holds) throw Error({.what = what, .value = format_double(value), .where = "BOHBSampler", .hint = {}});
  };
  require(!options.min_points || *options.min_points >= 1, "min_points must be positive",
          static_cast<double>(options.min_points.value_or(0)));
  require(options.top_fraction > 0 && options.top_fraction < 1, "top_fraction must lie between 0 and 1",
          options.top_fraction);
  require(options.n_candidates >= 1, "n_candidates must be positive", static_cast<double>(options.n_candidates));
  require(options.random_fraction >= 0 && options.random_fraction <= 1, "random_fraction must lie between 0 and 1",
          options.random_fraction);
  require(options.bandwidth_factor > 0, "bandwidth_factor must be positive", options.bandwidth_factor);
  require(options.min_bandwidth > 0, "min_bandwidth must be positive", options.min_bandwidth);
}

SearchSpace BOHBSampler::infer_relative_search_space(StudyView& study, const FrozenTrial& trial) {
  study.direction();  // one objective
  Rng rng(seed_, "tune.bohb:random", static_cast<std::uint64_t>(trial.number));
  if (rng.uniform() < options_.random_fraction) return {};
  return common_space(usable_trials(study));
}

Map BOHBSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& relative) {
  const UnitCube cube(relative);
  if (cube.size() == 0) return {};
  const auto min_points =
      static_cast<std::size_t>(options_.min_points.value_or(static_cast<std::int64_t>(cube.size()) + 1));
  auto observations = highest_budget(usable_trials(study), cube, study.direction(), min_points + 2);
  if (observations.empty()) return {};
  std::stable_sort(observations.begin(), observations.end(),
                   [](const auto& a, const auto& b) { return a.loss < b.loss; });
  const std::size_t n = observations.size();
  const auto share = static_cast<std::size_t>(options_.top_fraction * static_cast<double>(n));
  const std::size_t n_good = std::min(n, std::max(min_points, share));
  const std::size_t n_bad = std::min(n, std::max(min_points, n - share));
  std::vector<std::vector<double>> good, bad;
  for (std::size_t i = 0; i < n_good; ++i) good.push_back(observations[i].point);
  for (std::size_t i = n - n_bad; i < n; ++i) bad.push_back(observations[i].point);
  const Density below(cube, std::move(good), options_.min_bandwidth);
  const Density above(cube, std::move(bad), options_.min_bandwidth);

  Rng rng(seed_, "tune.bohb", static_cast<std::uint64_t>(trial.number));
  std::vector<double> best;
  double most = -inf;
  for (std::int64_t i = 0; i < options_.n_candidates; ++i) {
    auto candidate = below.draw(rng, options_.bandwidth_factor);
    const double ratio = below.log_pdf(candidate) - above.log_pdf(candidate);
    if (best.empty() || ratio > most) {
      most = ratio;
      best = std::move(candidate);
    }
  }
  return cube.to_params(best);
}

Value BOHBSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                      const Distribution& distribution) {
  return random_.sample_independent(study, trial, name, distribution);
}

}  // namespace levin::tune
