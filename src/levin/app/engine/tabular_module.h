// TabularModule: the command line's model, a multilayer perceptron on rows of a table.
#pragma once

#include <levin/app/engine/problem.h>
#include <levin/app/settings.h>
#include <levin/data/transforms.h>
#include <levin/nn/mlp.h>
#include <levin/train/metrics.h>
#include <levin/train/module.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace levin::app {

/** What the data say of the model's ends. */
struct TabularShape {
  Problem problem = Problem::classification;
  std::int64_t features = 0;                ///< numeric inputs of a row
  std::vector<std::int64_t> cardinalities;  ///< codes of each embedded column
  std::int64_t outputs = 1;                 ///< classes, or 1
  double target_scale = 1;                  ///< a standardised unit in the target's own units
};

/** Where a checkpoint keeps what a model is built from. */
inline constexpr const char* kModelCardKey = "levin_model_card";

/**
 * An MLP with the loss and metrics of its problem. Batches hold (x, [categories,] y) as TablePreprocessor makes them;
 * training adds input noise and mixup as the settings say.
 *
 * Logs train_loss; val_loss and test_loss; for classes val_acc and test_acc; for numbers val_rmse (in the target's
 * own units), val_r2 and the same for test. Losses of numbers are in units of the standardised target.
 */
class TabularModule : public Module {
 public:
  /** `card` is what a checkpoint keeps beside the weights, to build the model again. */
  TabularModule(const Settings& settings, TabularShape shape, Map card);

  torch::Tensor training_step(const Batch& batch, std::int64_t batch_idx) override;
  void validation_step(const Batch& batch, std::int64_t batch_idx) override;
  void test_step(const Batch& batch, std::int64_t batch_idx) override;
  /** Class probabilities [N, classes], or standardised numbers [N, 1]. */
  Batch predict_step(const Batch& batch, std::int64_t batch_idx) override;
  Optimizers configure_optimizers() override;
  void on_save_checkpoint(Checkpoint& checkpoint) override;

 private:
  struct EvalMetrics {
    metrics::Accuracy accuracy{nullptr};
    metrics::RootMeanSquaredError rmse{nullptr};
    metrics::R2Score r2{nullptr};
  };
  EvalMetrics make_metrics(const std::string& stage);
  torch::Tensor forward(const Batch& batch);
  torch::Tensor loss(const torch::Tensor& output, const torch::Tensor& target) const;
  void evaluate(const Batch& batch, const std::string& stage, EvalMetrics& metrics);
  const torch::Tensor& target(const Batch& batch) const { return batch[shape_.cardinalities.empty() ? 1 : 2]; }

  OptimizerSettings optimizer_;
  SchedulerSettings scheduler_;
  TabularShape shape_;
  Map card_;
  std::string plateau_monitor_;
  std::optional<GaussianNoise> noise_;
  std::optional<Mixup> mixup_;
  nn::MLP net_{nullptr};
  EvalMetrics val_, test_;
};

}  // namespace levin::app
