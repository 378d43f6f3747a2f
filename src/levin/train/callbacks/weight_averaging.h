// WeightAveraging and EMAWeightAveraging: a model whose weights are the averages of those trained.
#pragma once

#include <levin/train/callbacks/callback.h>

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace levin {

/** The average after `current` was taken in; `n_averaged` (at least 1) were before. */
using AverageFunction =
    std::function<at::Tensor(const at::Tensor& average, const at::Tensor& current, std::int64_t n_averaged)>;

struct WeightAveragingOptions {
  bool use_buffers = true;      ///< average buffers, too; otherwise the average model has the latest ones
  AverageFunction avg_fn = {};  ///< by default the plain mean
  /** Whether to take the weights in after this optimizer step (from 0); by default after each. */
  std::function<bool(std::int64_t step)> update_at_step = {};
  /** Whether to take them in at the end of this epoch (from 0); by default never. */
  std::function<bool(std::int64_t epoch)> update_at_epoch = {};
};

/**
 * Keeps an average of the weights beside those in training (Lightning's WeightAveraging). Validation within a fit runs
 * with the average, and the fit ends with it in the module.
 *
 * Checkpoints are Lightning's: `state_dict` holds the average, what load_from_checkpoint and other tools should get;
 * `current_model_state` holds the weights in training and `averaging_state` the count, with which a fit goes on. As
 * long as nothing was averaged, the weights in training stand for the average.
 */
class LEVIN_API WeightAveragingImpl : public CallbackImpl {
 public:
  /** `key` names the state in checkpoints: the class's name in Lightning. */
  explicit WeightAveragingImpl(WeightAveragingOptions options = {}, std::string key = "WeightAveraging");

  void setup(Trainer& trainer, Module& module, Stage stage) override;
  void on_fit_start(Trainer& trainer, Module& module) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  void on_train_end(Trainer& trainer, Module& module) override;
  void on_validation_epoch_start(Trainer& trainer, Module& module) override;
  void on_validation_epoch_end(Trainer& trainer, Module& module) override;
  void on_exception(Trainer& trainer, Module& module, std::exception_ptr error) override;
  void on_save_checkpoint(Trainer& trainer, Module& module, Checkpoint& checkpoint) override;
  void on_load_checkpoint(Trainer& trainer, Module& module, const Checkpoint& checkpoint) override;
  std::string state_key() const override { return key_; }
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

  /** How many times weights were taken in. */
  std::int64_t n_averaged() const { return n_averaged_; }

 private:
  void update(Module& module);
  void swap(Module& module);

  WeightAveragingOptions options_;
  std::string key_;
  std::vector<at::Tensor> average_;  // parameters, then buffers
  std::int64_t n_averaged_ = 0;
  std::int64_t latest_update_step_ = 0, latest_update_epoch_ = -1;
  bool fitting_ = false, swapped_ = false;
};

/** See WeightAveragingImpl. */
class WeightAveraging : public CallbackHolder<WeightAveragingImpl> {
 public:
  explicit WeightAveraging(WeightAveragingOptions options = {})
      : CallbackHolder(std::make_shared<WeightAveragingImpl>(std::move(options))) {}
};

struct EMAWeightAveragingOptions {
  bool use_buffers = true;
  double decay = 0.999;                                        ///< share of the old average in the new one, in [0, 1]
  std::int64_t update_every_n_steps = 1;                       ///< optimizer steps between updates; 0: none by steps
  std::optional<std::int64_t> update_starting_at_step = {};    ///< the first step (from 0) that may update
  std::optional<std::int64_t> update_starting_at_epoch = {};   ///< update at the end of each epoch from this one on
};

/** WeightAveraging by an exponential moving average (Lightning's EMAWeightAveraging). */
class LEVIN_API EMAWeightAveraging : public CallbackHolder<WeightAveragingImpl> {
 public:
  explicit EMAWeightAveraging(EMAWeightAveragingOptions options = {});
};

}  // namespace levin
