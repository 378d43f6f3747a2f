// Small models and data for the trainer's tests.
#pragma once

#include <levin/levin.h>

#include <filesystem>
#include <string>
#include <vector>

namespace levin::testing {

/** A folder that is gone after the test. */
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "levin_test_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/** The model and data of tests/golden/scripts/lightning_csv.py. */
struct GoldenNet : Module {
  GoldenNet() {
    layer = register_module("layer", torch::nn::Linear(2, 1));
    torch::NoGradGuard no_grad;
    layer->weight.copy_(torch::tensor({{0.5, -0.25}}));
    layer->bias.zero_();
  }
  torch::Tensor loss(const Batch& batch) { return torch::mse_loss(layer->forward(batch[0]), batch[1]); }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    auto value = loss(batch);
    log("train_loss", value, {.on_step = true, .on_epoch = true});
    log("batch_max", batch[0].max(), {.on_step = false, .on_epoch = true, .reduce_fx = Reduce::max});
    return value;
  }
  void validation_step(const Batch& batch, std::int64_t) override { log("val_loss", loss(batch)); }
  Optimizers configure_optimizers() override {
    optim::SGD sgd(parameters(), {.lr = 0.1, .momentum = 0.9});
    return {sgd, {.scheduler = optim::StepLR(sgd, {.step_size = 2, .gamma = 0.5})}};
  }
  torch::nn::Linear layer{nullptr};
};

inline TensorDataset golden_data() {
  auto x = torch::arange(10, torch::kFloat).reshape({5, 2}) / 10;
  return TensorDataset({x, x.sum(1, true)});
}

/** Options that leave no files and print nothing. */
inline TrainerOptions quiet(std::int64_t max_epochs) {
  return {.logger = false,
          .max_epochs = max_epochs,
          .enable_checkpointing = false,
          .enable_progress_bar = false,
          .enable_model_summary = false};
}

}  // namespace levin::testing
