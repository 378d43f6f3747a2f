#include <levin/tune/pruners/patient.h>

#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace levin::tune {
namespace {

// Whether `earlier` beats `later` by more than `delta` everywhere it counts.
bool clearly_better(std::vector<double> earlier, const std::vector<double>& later, double delta) {
  for (double& value : earlier) value += delta;
  return dominates(earlier, later);
}

}  // namespace

PatientPruner::PatientPruner(PatientPrunerOptions options) : PatientPruner(PrunerRef(), options) {}

PatientPruner::PatientPruner(PrunerRef wrapped, PatientPrunerOptions options)
    : wrapped_(std::move(wrapped)), options_(options) {
  if (options.patience < 0) {
    throw Error({.what = "patience must not be negative",
                 .value = std::to_string(options.patience),
                 .where = "PatientPruner",
                 .hint = {}});
  }
  if (!(options.min_delta >= 0)) {
    throw Error({.what = "min_delta must not be negative",
                 .value = format_double(options.min_delta),
                 .where = "PatientPruner",
                 .hint = {}});
  }
}

bool PatientPruner::prune(StudyView& study, const FrozenTrial& trial) {
  const auto n_last = static_cast<std::size_t>(options_.patience) + 1;
  if (trial.intermediate_values.size() <= n_last) return false;
  std::vector<std::vector<double>> earlier, last;
  const std::size_t n_earlier = trial.intermediate_values.size() - n_last;
  std::size_t i = 0;
  for (const auto& entry : trial.intermediate_values) {
    auto losses = trial.reported(entry.first);
    auto& side = i++ < n_earlier ? earlier : last;
    if (losses.size() != study.directions().size()) continue;
    if (std::any_of(losses.begin(), losses.end(), [](double v) { return std::isnan(v); })) continue;
    side.push_back(to_losses(losses, study.directions()));
  }
  if (earlier.empty() || last.empty()) return false;
  const bool stagnant = std::all_of(last.begin(), last.end(), [&](const auto& later) {
    return std::any_of(earlier.begin(), earlier.end(),
                       [&](const auto& before) { return clearly_better(before, later, options_.min_delta); });
  });
  return stagnant && (!wrapped_ || wrapped_.get()->prune(study, trial));
}

bool PatientPruner::judges_several_objectives() const {
  return !wrapped_ || wrapped_.get()->judges_several_objectives();
}

Grouping PatientPruner::grouping(StudyView& study) { return wrapped_ ? wrapped_.get()->grouping(study) : Grouping(); }

}  // namespace levin::tune
