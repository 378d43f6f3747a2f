// SuccessiveHalvingPruner: asynchronous successive halving, stopping only.
#pragma once

#include <levin/tune/pruners/pruner.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

namespace levin::tune {

/** A smallest resource in steps, or "auto": a hundredth of what the longest complete trial took. */
class MinResource {
 public:
  MinResource(int steps) : steps_(steps) {}
  MinResource(std::int64_t steps) : steps_(steps) {}
  /** Takes "auto" only; throws Error otherwise. */
  LEVIN_API MinResource(const char* word);

  const std::optional<std::int64_t>& steps() const noexcept { return steps_; }

 private:
  std::optional<std::int64_t> steps_;
};

struct SuccessiveHalvingPrunerOptions {
  MinResource min_resource = "auto";         ///< the step of the first rung
  std::int64_t reduction_factor = 4;         ///< rungs are spaced by this factor; of as many trials one goes on
  std::int64_t min_early_stopping_rate = 0;  ///< rungs left out at the start
  std::int64_t bootstrap_count = 0;          ///< trials that a rung must see before one may pass it
};

/**
 * Judges a trial when its steps reach min_resource * reduction_factor^(min_early_stopping_rate + rung): it goes on when
 * it is among the best 1/reduction_factor of those that have reached that rung so far (Li et al. 2018, "A system for
 * massively parallel hyperparameter tuning"). As Optuna's SuccessiveHalvingPruner, with which it shares a study through
 * the attributes `completed_rung_<k>`.
 *
 * With several objectives the best of a rung are those of the first nondominated fronts, and of the front that fits in
 * part, those that one after the other add most hypervolume (Schmucker et al. 2021, "Multi-objective asynchronous
 * successive halving", with hypervolume in place of the epsilon net); the attributes then hold lists.
 *
 * Throws Error for options out of range.
 */
class LEVIN_API SuccessiveHalvingPruner : public Pruner {
 public:
  SuccessiveHalvingPruner(SuccessiveHalvingPrunerOptions options = {});

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override { return true; }

  /** As `prune`, among those other trials of the study that `competes` names: always the same ones for one pruner. */
  bool prune_among(StudyView& study, const FrozenTrial& trial,
                   const std::function<bool(const FrozenTrial&)>& competes) const;

 private:
  struct State;  // the values on each rung, in order, for the studies seen last

  SuccessiveHalvingPrunerOptions options_;
  std::shared_ptr<State> state_;
};

}  // namespace levin::tune
