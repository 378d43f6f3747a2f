// MetricPruner: any pruner, judging by a further metric of the reports. AnyPruner: several pruners at once.
#pragma once

#include <levin/tune/pruners/pruner.h>

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

struct MetricPrunerOptions {
  std::string metric;                         ///< the name given to `Trial::report`
  Direction direction = Direction::minimize;  ///< which way the metric should go
};

/**
 * Shows the wrapped pruner a study with one objective, the named metric: its reports are the intermediate values, the
 * last of them the value of a complete trial. Works in studies with several objectives, too. What the pruner notes on
 * trials is kept under the metric's name, so that pruners of several metrics do not meet.
 *
 * Throws Error without a pruner or with an empty name.
 */
class LEVIN_API MetricPruner : public Pruner {
 public:
  MetricPruner(PrunerRef pruner, MetricPrunerOptions options);

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override { return true; }
  Grouping grouping(StudyView& study) override;

 private:
  struct Views;

  StudyView view_of(StudyView& study);

  PrunerRef pruner_;
  MetricPrunerOptions options_;
  std::string prefix_;
  std::shared_ptr<Views> views_;
};

/** Prunes when one of its pruners does. Groups are those of the first pruner that has them. */
class LEVIN_API AnyPruner : public Pruner {
 public:
  explicit AnyPruner(std::vector<PrunerRef> pruners);

  bool prune(StudyView& study, const FrozenTrial& trial) override;
  bool judges_several_objectives() const override;
  Grouping grouping(StudyView& study) override;

 private:
  std::vector<PrunerRef> pruners_;
};

}  // namespace levin::tune
