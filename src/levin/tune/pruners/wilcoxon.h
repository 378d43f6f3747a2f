// WilcoxonPruner: stops trials that a signed-rank test finds worse than the best one.
#pragma once

#include <levin/tune/pruners/pruner.h>

#include <cstdint>
#include <vector>

namespace levin::tune {

struct WilcoxonPrunerOptions {
  double p_threshold = 0.1;          ///< prune below this probability; larger prunes more
  std::int64_t n_startup_steps = 2;  ///< steps in common with the best trial before which nothing is pruned; at least 2
};

/**
 * For objectives that are the mean over instances (folds, problems, questions), each reported under its own step, in
 * any order: compares a trial with the best complete one instance by instance, and prunes when a one-sided Wilcoxon
 * signed-rank test finds it worse, unless its own mean is the better one. As Optuna's WilcoxonPruner.
 *
 * Trials with infinite or NaN reports are neither pruned nor compared with. For one objective. Throws Error for options
 * out of range.
 */
class LEVIN_API WilcoxonPruner : public Pruner {
 public:
  WilcoxonPruner(WilcoxonPrunerOptions options = {});

  bool prune(StudyView& study, const FrozenTrial& trial) override;

 private:
  WilcoxonPrunerOptions options_;
};

enum class Alternative { less, greater };

/**
 * The p-value of the Wilcoxon signed-rank test of `differences` against a median that is not less (not greater) than 0.
 * Zeros count half on each side; ranks of equals are shared. The null distribution is exact up to 50 values without
 * ties and up to 13 with ties or zeros, otherwise normal with tie correction: as `scipy.stats.wilcoxon` with
 * zero_method="zsplit". NaN for no values.
 */
LEVIN_API double wilcoxon_p_value(const std::vector<double>& differences, Alternative alternative);

}  // namespace levin::tune
