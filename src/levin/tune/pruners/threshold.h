// ThresholdPruner: stops trials whose reports leave given bounds.
#pragma once

#include <levin/tune/pruners/pruner.h>

#include <cstdint>
#include <optional>

namespace levin::tune {

struct ThresholdPrunerOptions {
  std::optional<double> lower = std::nullopt;  ///< prune below it
  std::optional<double> upper = std::nullopt;  ///< prune above it
  std::int64_t n_warmup_steps = 0;
  std::int64_t interval_steps = 1;
};

/**
 * Prunes when the last report lies outside [lower, upper] or is NaN. As Optuna's ThresholdPruner. With several
 * objectives it looks at the first; a MetricPruner leads it to another number. Throws Error when neither bound is
 * given, when they are in the wrong order, and for options out of range.
 */
class LEVIN_API ThresholdPruner : public Pruner {
 public:
  explicit ThresholdPruner(ThresholdPrunerOptions options);

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override { return true; }

 private:
  ThresholdPrunerOptions options_;
};

}  // namespace levin::tune
