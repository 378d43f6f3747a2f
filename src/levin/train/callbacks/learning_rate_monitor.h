// LearningRateMonitor: the learning rate beside the other metrics.
#pragma once

#include <levin/train/callbacks/callback.h>
#include <levin/train/optimizers.h>

#include <optional>

namespace levin {

struct LearningRateMonitorOptions {
  std::optional<Interval> logging_interval = {};  ///< by default each scheduler's own interval
};

/** Gives the learning rate of each scheduler's optimizer to the loggers as "lr-<optimizer>" ("/pg1", ... by group). */
class LEVIN_API LearningRateMonitorImpl : public CallbackImpl {
 public:
  explicit LearningRateMonitorImpl(LearningRateMonitorOptions options = {}) : options_(options) {}
  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_batch_start(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  std::int64_t batches_to_skip(const Trainer& trainer, Stage stage) const override;
  void on_train_epoch_start(Trainer& trainer, Module& module) override;

 private:
  void record(Trainer& trainer, Interval interval) const;

  LearningRateMonitorOptions options_;
};

using LearningRateMonitor = CallbackHolder<LearningRateMonitorImpl>;

}  // namespace levin
