#include <levin/tune/pruners/percentile.h>

#include <levin/tune/pareto.h>
#include <levin/tune/pruners/ordered_reports.h>
#include <levin/tune/samplers/per_study.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <vector>

namespace levin::tune {
namespace {

// The percentile of sorted values as numpy has it, linear between neighbours; NaN when there are none.
double percentile_of(const std::vector<double>& sorted, double percent) {
  if (sorted.empty()) return std::nan("");
  const double position = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(std::floor(position));
  const double a = sorted[low];
  const double t = position - static_cast<double>(low);
  if (t == 0) return a;
  const double b = sorted[low + 1];
  if (a == b) return a;  // also where both are infinite
  return t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t);
}

bool has_nan(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); });
}

// What the completed trials of a study reported, by step, as far as the list of finished trials was read.
struct StudyReports {
  std::size_t n_read = 0;
  std::int64_t n_complete = 0;
  std::map<std::int64_t, detail::SortedReports> steps;
  std::map<std::int64_t, NondominatedFronts> fronts;  // of losses, with several objectives

  void read(std::span<const TrialPtr> finished, const std::vector<Direction>& directions) {
    if (n_read > finished.size()) *this = {};  // a view of an earlier moment
    for (; n_read < finished.size(); ++n_read) {
      const FrozenTrial& trial = *finished[n_read];
      if (trial.state != TrialState::complete) continue;
      ++n_complete;
      for (const auto& [step, value] : trial.intermediate_values) {
        if (directions.size() == 1) {
          steps[step].add(value);
        } else if (auto values = trial.reported(step); values.size() == directions.size() && !has_nan(values)) {
          fronts[step].add(to_losses(values, directions));
        }
      }
    }
  }
};

void require(bool holds, const char* what, double value) {
  if (!holds) throw Error({.what = what, .value = format_double(value), .where = "pruner", .hint = {}});
}

}  // namespace

struct PercentilePruner::Reports {
  std::mutex mutex;
  PerStudy<StudyReports> studies;
};

PercentilePruner::PercentilePruner(PercentilePrunerOptions options)
    : options_(options), reports_(std::make_shared<Reports>()) {
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
  const TrialsSnapshot trials = study.trials();
  const std::lock_guard lock(reports_->mutex);
  StudyReports& reports = reports_->studies.of(trials);
  reports.read(trials.finished(), study.directions());
  if (reports.n_complete == 0 || reports.n_complete < options_.n_startup_trials) return false;
  if (study.is_multi_objective()) return behind_too_many(reports.fronts[step], trial, study.directions());

  const bool maximize = study.direction() == Direction::maximize;
  double best = std::nan("");
  for (const auto& [s, value] : trial.intermediate_values) {
    if (!std::isnan(value) && (std::isnan(best) || (maximize ? value > best : value < best))) best = value;
  }
  if (std::isnan(best)) return true;
  detail::SortedReports& at_step = reports.steps[step];
  if (at_step.count() < options_.n_min_trials) return false;
  const double bar = percentile_of(at_step.sorted(), maximize ? 100 - options_.percentile : options_.percentile);
  if (std::isnan(bar)) return false;
  return maximize ? best < bar : best > bar;
}

bool PercentilePruner::behind_too_many(const NondominatedFronts& others, const FrozenTrial& trial,
                                       const std::vector<Direction>& directions) const {
  std::size_t place = others.n_fronts();  // of the best of its reports
  bool any = false;
  for (const auto& entry : trial.intermediate_values) {
    const auto values = trial.reported(entry.first);
    if (values.size() != directions.size() || has_nan(values)) continue;
    any = true;
    place = std::min(place, others.rank(to_losses(values, directions)));
  }
  if (!any) return true;
  if (others.size() == 0 || std::cmp_less(others.size(), options_.n_min_trials)) return false;
  return static_cast<double>(others.n_before(place)) > options_.percentile / 100 * static_cast<double>(others.size());
}

MedianPruner::MedianPruner(MedianPrunerOptions options)
    : PercentilePruner({.percentile = 50,
                        .n_startup_trials = options.n_startup_trials,
                        .n_warmup_steps = options.n_warmup_steps,
                        .interval_steps = options.interval_steps,
                        .n_min_trials = options.n_min_trials}) {}

}  // namespace levin::tune
