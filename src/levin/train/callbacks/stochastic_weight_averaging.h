// StochasticWeightAveraging: the mean of the weights of the last epochs, trained at a constant learning rate.
#pragma once

#include <levin/optim/lr_schedules.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/limits.h>

#include <ATen/core/Tensor.h>

#include <optional>
#include <variant>
#include <vector>

namespace levin {

struct StochasticWeightAveragingOptions {
  double swa_lrs;  ///< the learning rate of the epochs that are averaged; required
  /** Where averaging begins: a share of max_epochs, or the number of an epoch from 1. */
  std::variant<double, std::int64_t> swa_epoch_start = 0.8;
  std::int64_t annealing_epochs = 10;  ///< epochs on the way to swa_lrs
  optim::AnnealStrategy annealing_strategy = optim::AnnealStrategy::cos;
};

/**
 * Averages weights (Izmailov and others 2018, arXiv:1803.05407), as Lightning's callback of the name: from
 * swa_epoch_start on, a SWALR takes the place of the learning rate's schedule, and the weights are taken into the mean
 * at the start of each epoch. At the end the module gets the mean, and the statistics of its batch normalisations are
 * computed anew by one pass over the training data; Lightning counts that pass as one epoch more.
 *
 * For one optimizer with at most one schedule. Checkpoints hold the weights in training; the mean is part of the
 * callback's state, in Lightning's layout.
 */
class LEVIN_API StochasticWeightAveragingImpl : public CallbackImpl {
 public:
  explicit StochasticWeightAveragingImpl(StochasticWeightAveragingOptions options);

  void setup(Trainer& trainer, Module& module, Stage stage) override;
  void on_fit_start(Trainer& trainer, Module& module) override;
  void on_train_epoch_start(Trainer& trainer, Module& module) override;
  void on_train_end(Trainer& trainer, Module& module) override;
  void on_save_checkpoint(Trainer& trainer, Module& module, Checkpoint& checkpoint) override;
  void on_load_checkpoint(Trainer& trainer, Module& module, const Checkpoint& checkpoint) override;

  /** How many times weights were taken in. */
  std::int64_t n_averaged() const { return n_averaged_; }

 private:
  void take_over_schedule(Trainer& trainer) const;

  StochasticWeightAveragingOptions options_;
  std::int64_t start_ = 0;  // the first epoch (from 0) whose weights count
  std::vector<at::Tensor> average_;
  std::int64_t n_averaged_ = 0, latest_update_epoch_ = -1;
  bool begun_ = false;
};

/** See StochasticWeightAveragingImpl. */
class StochasticWeightAveraging : public CallbackHolder<StochasticWeightAveragingImpl> {
 public:
  explicit StochasticWeightAveraging(StochasticWeightAveragingOptions options)
      : CallbackHolder(std::make_shared<StochasticWeightAveragingImpl>(options)) {}
};

}  // namespace levin
