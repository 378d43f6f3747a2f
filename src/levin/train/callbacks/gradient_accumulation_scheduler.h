// GradientAccumulationScheduler: other accumulation windows in other epochs.
#pragma once

#include <levin/train/callbacks/callback.h>

#include <map>

namespace levin {

struct GradientAccumulationSchedulerOptions {
  std::map<std::int64_t, std::int64_t> scheduling;  ///< from an epoch (from 0) on, so many batches a step; required
};

/**
 * Sets the batches an optimizer step by epoch: `{.scheduling = {{0, 8}, {4, 2}}}` accumulates 8 batches in epochs 0 to
 * 3, and 2 from epoch 4 on; before the first epoch named, 1 (Lightning's callback of the name). Beside
 * `accumulate_grad_batches` of the Trainer it is an error, as it is in manual optimization.
 */
class LEVIN_API GradientAccumulationSchedulerImpl : public CallbackImpl {
 public:
  explicit GradientAccumulationSchedulerImpl(GradientAccumulationSchedulerOptions options);

  void on_fit_start(Trainer& trainer, Module& module) override;
  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_epoch_start(Trainer& trainer, Module& module) override;

  std::int64_t accumulate_grad_batches(std::int64_t epoch) const;

 private:
  std::map<std::int64_t, std::int64_t> scheduling_;
};

/** See GradientAccumulationSchedulerImpl. */
class GradientAccumulationScheduler : public CallbackHolder<GradientAccumulationSchedulerImpl> {
 public:
  explicit GradientAccumulationScheduler(GradientAccumulationSchedulerOptions options)
      : CallbackHolder(std::make_shared<GradientAccumulationSchedulerImpl>(std::move(options))) {}
};

}  // namespace levin
