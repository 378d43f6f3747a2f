// What configure_optimizers returns: the optimizers of a run and the schedulers of their learning rates.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/optimizer.h>

#include <cstdint>
#include <initializer_list>
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

/** One of several optimizers of a run. */
struct OptimizerConfig {
  optim::Optimizer optimizer;
  /** Takes part in every frequency-th optimizer step of an epoch; batches between are not its concern. */
  std::int64_t frequency = 1;
  std::vector<LRSchedulerConfig> schedulers = {};
};

/**
 * The optimizers of a run and the schedulers of their learning rates. Empty: the run trains nothing.
 *
 *     return adam;                                                                  // one optimizer
 *     return {adam, {.scheduler = cosine, .interval = Interval::step}};             // with a scheduler
 *     return {{.optimizer = generator, .frequency = 5}, {.optimizer = critic}};     // several
 *
 * With several, the Trainer asks training_step for the loss of each in turn (see Module::training_step).
 */
class LEVIN_API Optimizers {
 public:
  Optimizers() = default;
  Optimizers(optim::Optimizer optimizer) { add({.optimizer = std::move(optimizer)}); }
  Optimizers(optim::Optimizer optimizer, LRSchedulerConfig scheduler) {
    add({.optimizer = std::move(optimizer), .schedulers = {std::move(scheduler)}});
  }
  Optimizers(optim::Optimizer optimizer, std::vector<LRSchedulerConfig> schedulers) {
    add({.optimizer = std::move(optimizer), .schedulers = std::move(schedulers)});
  }
  Optimizers(std::initializer_list<OptimizerConfig> configs) {
    for (const OptimizerConfig& config : configs) add(config);
  }
  explicit Optimizers(const std::vector<OptimizerConfig>& configs) {
    for (const OptimizerConfig& config : configs) add(config);
  }

  bool defined() const { return !optimizers_.empty(); }
  std::int64_t size() const { return static_cast<std::int64_t>(optimizers_.size()); }
  optim::Optimizer& optimizer(std::int64_t index = 0) { return optimizers_.at(static_cast<std::size_t>(index)); }
  const optim::Optimizer& optimizer(std::int64_t index = 0) const {
    return optimizers_.at(static_cast<std::size_t>(index));
  }
  std::int64_t frequency(std::int64_t index) const { return frequencies_.at(static_cast<std::size_t>(index)); }
  /** The schedulers of all optimizers, in order. */
  std::vector<LRSchedulerConfig>& schedulers() { return schedulers_; }
  const std::vector<LRSchedulerConfig>& schedulers() const { return schedulers_; }

 private:
  void add(OptimizerConfig config);

  std::vector<optim::Optimizer> optimizers_;
  std::vector<std::int64_t> frequencies_;
  std::vector<LRSchedulerConfig> schedulers_;
};

/** Throws Error for an optimizer or scheduler that cannot be used. */
LEVIN_API void check(const Optimizers& optimizers);

}  // namespace levin
