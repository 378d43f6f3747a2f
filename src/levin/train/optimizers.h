// What configure_optimizers returns: the optimizer of a run and the schedulers of its learning rate.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/optimizer.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace levin {

/** When a scheduler steps: once an epoch or once an optimizer step. */
enum class Interval { epoch, step };

/** A scheduler and when it steps (Lightning's `lr_scheduler` dictionary). */
struct LRSchedulerConfig {
  optim::LRScheduler scheduler;
  Interval interval = Interval::epoch;
  std::int64_t frequency = 1;  ///< every so many intervals
  std::string monitor;         ///< the logged metric for ReduceLROnPlateau, for instance "val_loss"
  bool strict = true;          ///< a missing monitored metric is an error; otherwise the step is skipped
  std::string name;            ///< for LearningRateMonitor; by default "lr-" and the optimizer's name
};

/** The optimizer of a run, with any number of schedulers. Empty: the run trains nothing. */
class LEVIN_API Optimizers {
 public:
  Optimizers() = default;
  Optimizers(optim::Optimizer optimizer) : optimizer_(std::move(optimizer)) {}
  Optimizers(optim::Optimizer optimizer, LRSchedulerConfig scheduler)
      : optimizer_(std::move(optimizer)), schedulers_{std::move(scheduler)} {}
  Optimizers(optim::Optimizer optimizer, std::vector<LRSchedulerConfig> schedulers)
      : optimizer_(std::move(optimizer)), schedulers_(std::move(schedulers)) {}

  bool defined() const { return optimizer_.defined(); }
  optim::Optimizer& optimizer() { return optimizer_; }
  const optim::Optimizer& optimizer() const { return optimizer_; }
  std::vector<LRSchedulerConfig>& schedulers() { return schedulers_; }
  const std::vector<LRSchedulerConfig>& schedulers() const { return schedulers_; }

 private:
  optim::Optimizer optimizer_;
  std::vector<LRSchedulerConfig> schedulers_;
};

}  // namespace levin
