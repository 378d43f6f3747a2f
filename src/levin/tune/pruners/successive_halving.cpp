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

// The trials on one rung, as one of them sees it.
class Rung {
 public:
  Rung(const std::vector<double>& own, const std::vector<Direction>& directions)
      : directions_(directions), own_(to_losses(own, directions)) {
    if (own.size() > 1) pool_.push_back(own_);
  }

  /** Takes what another trial stored when it came here. */
  void add(const Value& stored) {
    if (own_.size() == 1) {
      if (!stored.is_number()) return;
      ++size_;
      const double value = stored.as_double();
      n_better_ += (directions_.front() == Direction::maximize ? -value : value) < own_.front();
    } else if (stored.is_list() && stored.as_list().size() == own_.size()) {
      ++size_;
      std::vector<double> values;
      for (const auto& value : stored.as_list()) values.push_back(value.is_number() ? value.as_double() : std::nan(""));
      pool_.push_back(to_losses(values, directions_));
    }
  }

  std::int64_t size() const { return size_; }

  /** Whether the trial is one of the best `n`; with one objective, ties are. */
  bool among_the_best(std::int64_t n) const {
    if (own_.size() == 1) return n_better_ < n;
    return best_by_dominance(pool_, static_cast<std::size_t>(n)).front() == 0;
  }

 private:
  const std::vector<Direction>& directions_;
  std::vector<double> own_;
  std::int64_t size_ = 1, n_better_ = 0;
  std::vector<std::vector<double>> pool_;  // losses of several objectives, the trial's own first
};

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

    const std::string key = rung_key(rung);
    Rung reached(values, study.directions());
    const auto collect = [&](std::span<const TrialPtr> trials) {
      for (const auto& other : trials) {
        if (other->number == trial.number) continue;
        const Value* stored = other->system_attrs.find(key);
        if (stored != nullptr && competes(*other)) reached.add(*stored);
      }
    };
    const TrialsSnapshot trials = study.trials();
    collect(trials.finished());
    collect(trials.unfinished());
    study.set_system_attr(key, values.size() == 1 ? Value(values.front()) : Value(List(values.begin(), values.end())));

    if (reached.size() <= options_.bootstrap_count) return true;
    // Of the first few the best goes on: nothing waits here for a rung to fill.
    const std::int64_t n_kept = std::max<std::int64_t>(reached.size() / options_.reduction_factor, 1);
    if (!reached.among_the_best(n_kept)) return true;
  }
}

}  // namespace levin::tune
