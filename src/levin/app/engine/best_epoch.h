// BestEpoch: remembers in memory the weights and metrics of the epoch that a search judges a training by.
#pragma once

#include <levin/core/mode.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <optional>
#include <string>

namespace levin::app {

class BestEpochImpl : public CallbackImpl {
 public:
  BestEpochImpl(std::string monitor, Mode mode) : monitor_(std::move(monitor)), mode_(mode) {}

  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  bool monitors() const override { return true; }
  void on_save_checkpoint(Trainer& trainer, Module& module, Checkpoint& checkpoint) override;
  void on_load_checkpoint(Trainer& trainer, Module& module, const Checkpoint& checkpoint) override;

  /** The best value so far; nothing before the first epoch ends. */
  std::optional<double> value() const { return value_; }
  const Map& metrics() const { return metrics_; }
  std::int64_t epoch() const { return epoch_; }
  /** Whether a loss became NaN or infinite, which ends the fit. */
  bool diverged() const { return diverged_; }
  /** Puts the best epoch's weights into the module. */
  void restore(Module& module) const;

 private:
  void look(Trainer& trainer, Module& module);

  std::string monitor_;
  Mode mode_;
  std::optional<double> value_;
  Map metrics_;
  PickleDict weights_;
  std::int64_t epoch_ = 0;
  bool diverged_ = false;
};

using BestEpoch = CallbackHolder<BestEpochImpl>;

}  // namespace levin::app
