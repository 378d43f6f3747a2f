#include <levin/tune/pruners/percentile.h>

#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace levin::tune {
namespace {

// The percentile as numpy has it: linear between neighbours, NaN left out; NaN when nothing is left.
double percentile_of(std::vector<double>& values, double percent) {
  std::erase_if(values, [](double v) { return std::isnan(v); });
  if (values.empty()) return std::nan("");
  const double position = percent / 100 * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::ptrdiff_t>(std::floor(position));
  std::nth_element(values.begin(), values.begin() + low, values.end());
  const double a = values[static_cast<std::size_t>(low)];
  const double t = position - static_cast<double>(low);
  if (t == 0) return a;
  const double b = *std::min_element(values.begin() + low + 1, values.end());
  if (a == b) return a;  // also where both are infinite
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}

void require(bool holds, const char* what, double value) {
  if (!holds) throw Error({.what = what, .value = format_double(value), .where = "pruner", .hint = {}});
}

}  // namespace

PercentilePruner::PercentilePruner(PercentilePrunerOptions options) : options_(options) {
  const auto number = [](std::int64_t value) { return static_cast<double>(value); };
  require(options.percentile >= 0 && options.percentile <= 100, "percentile must lie between 0 and 100",
          options.percentile);
  require(options.n_startup_trials >= 0, "n_startup_trials must not be negative", number(options.n_startup_trials));
  require(options.n_warmup_steps >= 0, "n_warmup_steps must not be negative", number(options.n_warmup_steps));
  require(options.interval_steps >= 1, "interval_steps must be at least 1", number(options.interval_steps));
  require(options.n_min_trials >= 1, "n_min_trials must be at least 1", number(options.n_min_trials));
}

bool PercentilePruner::prune(StudyView& study, const FrozenTrial& trial) {
  if (!judged_at_last_step(trial, options_.n_warmup_steps, options_.interval_steps)) return false;
  const std::int64_t step = trial.intermediate_values.back().first;
  if (study.is_multi_objective()) return prune_by_rank(study, trial, step);

  std::int64_t n_complete = 0;
  std::vector<double> at_step;
  for (const auto& other : study.trials().finished()) {
    if (other->state != TrialState::complete) continue;
    ++n_complete;
    if (const double* value = other->intermediate_values.find(step)) at_step.push_back(*value);
  }
  if (n_complete == 0 || n_complete < options_.n_startup_trials) return false;

  const bool maximize = study.direction() == Direction::maximize;
  double best = std::nan("");
  for (const auto& [s, value] : trial.intermediate_values) {
    if (!std::isnan(value) && (std::isnan(best) || (maximize ? value > best : value < best))) best = value;
  }
  if (std::isnan(best)) return true;
  if (std::cmp_less(at_step.size(), options_.n_min_trials)) return false;
  const double bar = percentile_of(at_step, maximize ? 100 - options_.percentile : options_.percentile);
  if (std::isnan(bar)) return false;
  return maximize ? best < bar : best > bar;
}

bool PercentilePruner::prune_by_rank(StudyView& study, const FrozenTrial& trial, std::int64_t step) const {
  const auto has_nan = [](const std::vector<double>& values) {
    return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
  };
  std::int64_t n_complete = 0;
  std::vector<std::vector<double>> others;
  for (const auto& other : study.trials().finished()) {
    if (other->state != TrialState::complete) continue;
    ++n_complete;
    const auto values = other->reported(step);
    if (values.size() == study.directions().size() && !has_nan(values)) {
      others.push_back(to_losses(values, study.directions()));
    }
  }
  if (n_complete == 0 || n_complete < options_.n_startup_trials) return false;

  std::vector<std::vector<double>> mine;
  for (const auto& entry : trial.intermediate_values) {
    const auto values = trial.reported(entry.first);
    if (values.size() == study.directions().size() && !has_nan(values)) {
      mine.push_back(to_losses(values, study.directions()));
    }
  }
  if (mine.empty()) return true;
  if (others.empty() || std::cmp_less(others.size(), options_.n_min_trials)) return false;

  const auto ranks = nondomination_ranks(others);
  std::size_t place = others.size();  // the front just behind those that dominate the best of its reports
  for (const auto& losses : mine) {
    std::size_t behind = 0;
    for (std::size_t i = 0; i < others.size(); ++i) {
      if (dominates(others[i], losses)) behind = std::max(behind, ranks[i] + 1);
    }
    place = std::min(place, behind);
  }
  const auto before = std::count_if(ranks.begin(), ranks.end(), [&](std::size_t rank) { return rank < place; });
  return static_cast<double>(before) > options_.percentile / 100 * static_cast<double>(others.size());
}

MedianPruner::MedianPruner(MedianPrunerOptions options)
    : PercentilePruner({.percentile = 50,
                        .n_startup_trials = options.n_startup_trials,
                        .n_warmup_steps = options.n_warmup_steps,
                        .interval_steps = options.interval_steps,
                        .n_min_trials = options.n_min_trials}) {}

}  // namespace levin::tune
