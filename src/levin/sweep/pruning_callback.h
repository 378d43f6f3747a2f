// PruningCallback: lets a study's pruner stop a Trainer's fit.
#pragma once

#include <levin/train/callbacks/callback.h>
#include <levin/tune/trial.h>

#include <string>
#include <utility>

namespace levin::tune {

/**
 * Reports the monitored metric to the trial after each validation (or after each training epoch when there is no
 * validation), with the epoch as the step, and throws TrialPruned when the pruner says so.
 *
 * A metric that was not logged is an error naming those that were; a NaN is reported as it is, and pruners treat it
 * as the worst.
 */
class LEVIN_API PruningCallbackImpl : public CallbackImpl {
 public:
  PruningCallbackImpl(Trial trial, std::string monitor) : trial_(std::move(trial)), monitor_(std::move(monitor)) {}

  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  bool monitors() const override { return true; }

 private:
  void report(Trainer& trainer);

  Trial trial_;
  std::string monitor_;
};

/** See PruningCallbackImpl. */
class PruningCallback : public CallbackHolder<PruningCallbackImpl> {
 public:
  PruningCallback(Trial& trial, std::string monitor)
      : CallbackHolder(std::make_shared<PruningCallbackImpl>(trial, std::move(monitor))) {}
};

}  // namespace levin::tune
