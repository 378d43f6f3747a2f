// PatientPruner: lets another pruner speak only once a trial has stopped improving.
#pragma once

#include <levin/tune/pruners/pruner.h>

#include <cstdint>

namespace levin::tune {

struct PatientPrunerOptions {
  std::int64_t patience = 0;  ///< reports without improvement that are forgiven
  double min_delta = 0;       ///< how much better than before is not yet an improvement
};

/**
 * Prunes when the best report of the last patience + 1 is worse than the best before them by more than min_delta, and
 * the wrapped pruner (if there is one) prunes as well. As Optuna's PatientPruner. With several objectives: when each of
 * the last patience + 1 reports is dominated by an earlier one. Throws Error for negative options.
 */
class LEVIN_API PatientPruner : public Pruner {
 public:
  explicit PatientPruner(PatientPrunerOptions options);
  PatientPruner(PrunerRef wrapped, PatientPrunerOptions options);

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override;
  Grouping grouping(StudyView& study) override;

 private:
  PrunerRef wrapped_;
  PatientPrunerOptions options_;
};

}  // namespace levin::tune
