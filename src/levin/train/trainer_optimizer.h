// TrainerOptimizer: an optimizer inside a Trainer's run, where a step has hooks and is counted.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace levin {

class Trainer;

/**
 * What `Module::optimizers()` gives for manual optimization, and what the `optimizer_step` hook gets (Lightning's
 * LightningOptimizer). A handle; valid during the run.
 */
class LEVIN_API TrainerOptimizer {
 public:
  TrainerOptimizer(Trainer& trainer, std::int64_t index) : trainer_(&trainer), index_(index) {}

  /**
   * Calls `closure`, if there is one, then the hooks of a step, clips where the Trainer clips (automatic optimization),
   * and updates the parameters. Counts in `global_step`.
   */
  void step(const std::function<void()>& closure = {});
  void zero_grad();

  /**
   * Leaves `requires_grad` on for this optimizer's parameters alone, so that a loss reaches no other optimizer's; until
   * `untoggle`, which puts every flag back. Throws Error when another one is toggled.
   */
  void toggle();
  void untoggle();

  std::int64_t index() const { return index_; }
  optim::Optimizer& optimizer() const;
  optim::Optimizer* operator->() const { return &optimizer(); }

 private:
  Trainer* trainer_;
  std::int64_t index_;
};

/** Toggles an optimizer for a scope. */
class LEVIN_API ToggledOptimizer {
 public:
  explicit ToggledOptimizer(TrainerOptimizer optimizer) : optimizer_(optimizer) { optimizer_.toggle(); }
  ~ToggledOptimizer() { optimizer_.untoggle(); }
  ToggledOptimizer(const ToggledOptimizer&) = delete;
  ToggledOptimizer& operator=(const ToggledOptimizer&) = delete;

 private:
  TrainerOptimizer optimizer_;
};

}  // namespace levin
