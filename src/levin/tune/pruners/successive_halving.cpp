#include <levin/tune/pruners/successive_halving.h>

#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {
namespace {

void require(bool holds, const char* what, const std::string& value) {
  if (!holds) throw Error({.what = what, .value = value, .where = "SuccessiveHalvingPruner", .hint = {}});
}

std::string rung_key(std::int64_t rung) { return "completed_rung_" + std::to_string(rung); }

// A hundredth of the steps of the longest complete trial that reported.
std::optional<std::int64_t> estimated_resource(const TrialsSnapshot& trials,
                                               const std::function<bool(const FrozenTrial&)>& competes) {
  std::optional<std::int64_t> longest;
  for (const auto& trial : trials.finished()) {
    if (trial->state != TrialState::complete || !competes(*trial)) continue;
    if (const auto step = trial->last_step()) longest = std::max(longest.value_or(0), *step);
  }
  if (!longest) return std::nullopt;
  return std::max<std::int64_t>(*longest / 100, 1);
}

std::vector<double> rung_values(const Value& stored) {
  if (stored.is_number()) return {stored.as_double()};
  std::vector<double> out;
  if (stored.is_list()) {
    for (const auto& value : stored.as_list()) out.push_back(value.is_number() ? value.as_double() : std::nan(""));
  }
  return out;
}

// Whether the first point is one of the best `n`; with one objective, ties are.
bool among_the_best(const std::vector<std::vector<double>>& pool, std::size_t n) {
  if (pool.front().size() > 1) return best_by_dominance(pool, n).front() == 0;
  const auto better = std::count_if(pool.begin(), pool.end(), [&](const auto& p) { return p[0] < pool.front()[0]; });
  return std::cmp_less(better, n);
}

}  // namespace

MinResource::MinResource(const char* word) {
  require(std::string_view(word) == "auto", "min_resource is a number of steps or \"auto\"",
          std::string("\"") + word + "\"");
}

SuccessiveHalvingPruner::SuccessiveHalvingPruner(SuccessiveHalvingPrunerOptions options) : options_(options) {
  const auto& steps = options.min_resource.steps();
  require(!steps || *steps >= 1, "min_resource must be at least 1", std::to_string(steps.value_or(0)));
  require(options.reduction_factor >= 2, "reduction_factor must be at least 2",
          std::to_string(options.reduction_factor));
  require(options.min_early_stopping_rate >= 0, "min_early_stopping_rate must not be negative",
          std::to_string(options.min_early_stopping_rate));
  require(options.bootstrap_count >= 0, "bootstrap_count must not be negative",
          std::to_string(options.bootstrap_count));
  require(options.bootstrap_count == 0 || steps.has_value(), "bootstrap_count needs a min_resource in steps",
          std::to_string(options.bootstrap_count) + " with min_resource \"auto\"");
}

bool SuccessiveHalvingPruner::prune(StudyView& study, const FrozenTrial& trial) {
  return prune_among(study, trial, [](const FrozenTrial&) { return true; });
}

bool SuccessiveHalvingPruner::prune_among(StudyView& study, const FrozenTrial& trial,
                                          const std::function<bool(const FrozenTrial&)>& competes) const {
  if (trial.intermediate_values.empty()) return false;
  const std::int64_t step = trial.intermediate_values.back().first;
  const std::vector<double> values = trial.reported(step);
  std::int64_t rung = 0;
  while (trial.system_attrs.contains(rung_key(rung))) ++rung;
  std::optional<std::int64_t> resource = options_.min_resource.steps();
  if (!resource) resource = estimated_resource(study.trials(), competes);
  if (!resource) return false;

  const double eta = static_cast<double>(options_.reduction_factor);
  for (;; ++rung) {
    const double rung_step =
        static_cast<double>(*resource) * std::pow(eta, static_cast<double>(options_.min_early_stopping_rate + rung));
    if (static_cast<double>(step) < rung_step) return false;
    if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return true;

    // Losses of the trials that have reached this rung, this trial's first.
    const std::string key = rung_key(rung);
    std::vector<std::vector<double>> pool{to_losses(values, study.directions())};
    const auto collect = [&](std::span<const TrialPtr> trials) {
      for (const auto& other : trials) {
        if (other->number == trial.number) continue;
        const Value* reached = other->system_attrs.find(key);
        if (reached == nullptr || !competes(*other)) continue;
        auto others_values = rung_values(*reached);
        if (others_values.size() == values.size()) pool.push_back(to_losses(others_values, study.directions()));
      }
    };
    collect(study.trials().finished());
    collect(study.trials().unfinished());
    study.set_system_attr(key, values.size() == 1 ? Value(values.front()) : Value(List(values.begin(), values.end())));

    const auto n = static_cast<std::int64_t>(pool.size());
    if (n <= options_.bootstrap_count) return true;
    // Of the first few the best goes on: nothing waits here for a rung to fill.
    const std::int64_t n_kept = std::max<std::int64_t>(n / options_.reduction_factor, 1);
    if (!among_the_best(pool, static_cast<std::size_t>(n_kept))) return true;
  }
}

}  // namespace levin::tune
