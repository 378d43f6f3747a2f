#include <levin/tune/pruners/successive_halving.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

namespace levin::tune {
namespace {

void require(bool holds, const char* what, const std::string& value) {
  if (!holds) throw Error({.what = what, .value = value, .where = "SuccessiveHalvingPruner", .hint = {}});
}

std::string rung_key(std::int64_t rung) { return "completed_rung_" + std::to_string(rung); }

// A hundredth of the steps of the longest complete trial that reported.
std::optional<std::int64_t> estimated_resource(const TrialsSnapshot& trials) {
  std::optional<std::int64_t> longest;
  for (const auto& trial : trials.finished()) {
    if (trial->state != TrialState::complete) continue;
    if (const auto step = trial->last_step()) longest = std::max(longest.value_or(0), *step);
  }
  if (!longest) return std::nullopt;
  return std::max<std::int64_t>(*longest / 100, 1);
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
  if (trial.intermediate_values.empty()) return false;
  const auto [step, value] = trial.intermediate_values.back();
  std::int64_t rung = 0;
  while (trial.system_attrs.contains(rung_key(rung))) ++rung;
  std::optional<std::int64_t> resource = options_.min_resource.steps();
  if (!resource) resource = estimated_resource(study.trials());
  if (!resource) return false;

  const double eta = static_cast<double>(options_.reduction_factor);
  const bool maximize = study.direction() == Direction::maximize;
  for (;; ++rung) {
    const double rung_step =
        static_cast<double>(*resource) * std::pow(eta, static_cast<double>(options_.min_early_stopping_rate + rung));
    if (static_cast<double>(step) < rung_step) return false;
    if (std::isnan(value)) return true;

    const std::string key = rung_key(rung);
    std::vector<double> pool{value};
    const auto collect = [&](std::span<const TrialPtr> trials) {
      for (const auto& other : trials) {
        if (other->number == trial.number) continue;
        if (const Value* reached = other->system_attrs.find(key)) pool.push_back(reached->as_double());
      }
    };
    collect(study.trials().finished());
    collect(study.trials().unfinished());
    study.set_system_attr(key, value);

    const auto n = static_cast<std::int64_t>(pool.size());
    if (n <= options_.bootstrap_count) return true;
    // Of the first few the best goes on: nothing waits here for a rung to fill.
    const std::int64_t place = std::max<std::int64_t>(n / options_.reduction_factor - 1, 0);
    const auto nth = pool.begin() + place;
    if (maximize) {
      std::nth_element(pool.begin(), nth, pool.end(), std::greater<>());
    } else {
      std::nth_element(pool.begin(), nth, pool.end());
    }
    if (maximize ? value < *nth : value > *nth) return true;
  }
}

}  // namespace levin::tune
