// PercentilePruner and MedianPruner: stop trials that do worse than most did at the same step.
#pragma once

#include <levin/tune/pruners/pruner.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace levin::tune {

class NondominatedFronts;

struct PercentilePrunerOptions {
  double percentile = 50;             ///< keep trials in this best part of the completed ones, in percent
  std::int64_t n_startup_trials = 5;  ///< prune nothing before so many trials are complete
  std::int64_t n_warmup_steps = 0;    ///< prune nothing before this step
  std::int64_t interval_steps = 1;    ///< judge once in so many steps
  std::int64_t n_min_trials = 1;      ///< judge only where so many trials reported at the same step
};

/**
 * Prunes when the best report so far of a trial is worse than the percentile of what the completed trials reported at
 * the same step, or when all its reports are NaN. As Optuna's PercentilePruner.
 *
 * With several objectives it goes by nondomination: the completed trials' reports at the step are ranked in fronts, a
 * trial stands just behind the last front that dominates its reports, and it is pruned when more than the percentile of
 * the completed trials stand before it. Throws Error for options out of range.
 */
class LEVIN_API PercentilePruner : public Pruner {
 public:
  explicit PercentilePruner(PercentilePrunerOptions options);

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override { return true; }

 private:
  struct Reports;  // of the completed trials, in order, for the studies seen last

  bool behind_too_many(const NondominatedFronts& others, const FrozenTrial& trial,
                       const std::vector<Direction>& directions) const;

  PercentilePrunerOptions options_;
  std::shared_ptr<Reports> reports_;
};

struct MedianPrunerOptions {
  std::int64_t n_startup_trials = 5;
  std::int64_t n_warmup_steps = 0;
  std::int64_t interval_steps = 1;
  std::int64_t n_min_trials = 1;
};

/** The PercentilePruner at the median (Golovin et al. 2017, "Google Vizier"). */
class LEVIN_API MedianPruner : public PercentilePruner {
 public:
  MedianPruner(MedianPrunerOptions options = {});
};

}  // namespace levin::tune
