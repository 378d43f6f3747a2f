// ModuleTrainable: a Module and its data as a trial of a Tuner, an epoch a step.
#pragma once

#include <levin/train/trainer.h>
#include <levin/tune/trainable.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace levin::tune {

/** A module together with what keeps it alive: from `std::make_shared<MyModule>(...)`. */
class OwnedModule {
 public:
  template <std::derived_from<Module> M>
  OwnedModule(std::shared_ptr<M> module) : owner_(module), ref_(*module) {}

  ModuleRef ref() const { return ref_; }

 private:
  std::shared_ptr<void> owner_;
  ModuleRef ref_;
};

struct ModuleTrainableOptions {
  std::function<OwnedModule(const Config&)> model = {};  ///< a new module for a config
  std::function<DataLoader(const Config&)> train = {};   ///< its training data
  std::function<DataLoader(const Config&)> val = {};     ///< its validation data; none by default
  /**
   * Options of its Trainer: asked anew for every step, so that trials share no callbacks. By default, and where they
   * are not set: no logger, no checkpoints, no progress bar. `max_epochs` and `max_steps` are the Tuner's affair.
   */
  std::function<TrainerOptions(const Config&)> trainer = {};
  std::int64_t epochs_per_step = 1;
};

/**
 * Trains modules under a Tuner. A step is `epochs_per_step` epochs; its metrics are what the module logged. The state
 * is the Trainer's whole state in memory (TrainState), so a paused trial goes on to the same bits; what
 * `CheckpointConfig::folder` gets are checkpoints that Lightning opens.
 *
 * A trial that goes on from the state of one with another config (population-based training) keeps its own optimizer
 * settings: weights and moments are the other's, learning rate, momentum, weight decay and so on those that its module
 * configures; where a scheduler has changed the learning rate, the change is carried over as a factor. Hyperparameters
 * that change shapes must not be mutated.
 *
 * Initial weights and dropout are drawn from torch's process-wide generator: with a seed, results repeat for one trial
 * at a time.
 */
LEVIN_API TrainableFactory module_trainable(ModuleTrainableOptions options);

}  // namespace levin::tune
