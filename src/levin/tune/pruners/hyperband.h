// HyperbandPruner: several successive halvings at once, from the boldest to the most patient.
#pragma once

#include <levin/tune/pruners/successive_halving.h>

#include <cstdint>
#include <memory>
#include <optional>

namespace levin::tune {

/** A largest resource in steps, or "auto": the steps of the first complete trial that reported. */
class MaxResource {
 public:
  MaxResource(int steps) : steps_(steps) {}
  MaxResource(std::int64_t steps) : steps_(steps) {}
  /** Takes "auto" only; throws Error otherwise. */
  LEVIN_API MaxResource(const char* word);

  const std::optional<std::int64_t>& steps() const noexcept { return steps_; }

 private:
  std::optional<std::int64_t> steps_;
};

struct HyperbandPrunerOptions {
  std::int64_t min_resource = 1;      ///< the step of the first rung of the boldest bracket
  MaxResource max_resource = "auto";  ///< the steps of a whole trial
  std::int64_t reduction_factor = 3;
  std::int64_t bootstrap_count = 0;  ///< as SuccessiveHalvingPruner; needs a max_resource in steps
};

/**
 * Divides the trials among floor(log(max_resource / min_resource) / log(reduction_factor)) + 1 brackets. Bracket b is a
 * SuccessiveHalvingPruner with min_early_stopping_rate b, and gets a share of the trials such that all brackets cost
 * about the same (Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization").
 *
 * As Optuna's HyperbandPruner: a trial's bracket is the CRC-32 of "<study name>_<number>" by shares, so that workers
 * agree on it without a word, and samplers learn from trials of the same bracket alone, except those that know budgets
 * (BOHBSampler, DEHBSampler). Name the study to have its brackets again. Nothing is pruned before max_resource is
 * known. Throws Error for options out of range.
 */
class LEVIN_API HyperbandPruner : public Pruner {
 public:
  HyperbandPruner(HyperbandPrunerOptions options = {});

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override { return true; }
  Grouping grouping(StudyView& study) override;

 private:
  struct State;  // max_resource of the studies seen last, once it is known, and the brackets

  HyperbandPrunerOptions options_;
  std::shared_ptr<State> state_;
};

}  // namespace levin::tune
