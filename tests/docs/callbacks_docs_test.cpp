// The code blocks of docs/callbacks.md and docs/optimizers.md, compiled and run. check_docs.py looks for each block
// here, word for word.
#include <levin/levin.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <vector>

namespace {

struct Classifier : levin::Module {
  Classifier() {
    backbone = register_module("backbone", torch::nn::Linear(4, 8));
    head = register_module("head", torch::nn::Linear(8, 2));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    return torch::cross_entropy_loss(head(torch::relu(backbone(batch[0]))), batch[1]);
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    log("val_loss", torch::cross_entropy_loss(head(torch::relu(backbone(batch[0]))), batch[1]));
  }
  levin::Optimizers configure_optimizers() override {
    std::vector<torch::Tensor> trained;
    for (const auto& parameter : parameters()) {
      if (parameter.requires_grad()) trained.push_back(parameter);
    }
    return levin::optim::SGD(trained, {.lr = lr});
  }
  torch::nn::Linear backbone{nullptr}, head{nullptr};
  double lr = 0.1;
};

levin::TensorDataset blobs() {
  const auto y = torch::arange(64) % 2;
  return levin::TensorDataset({torch::randn({64, 4}) + y.unsqueeze(1), y});
}

TEST(CallbackDocs, BlocksRun) {
  levin::console::set_level(levin::console::Level::error);
  const auto here = std::filesystem::current_path();
  const auto folder = std::filesystem::path(::testing::TempDir()) / "levin-callback-docs";
  std::filesystem::create_directories(folder);
  std::filesystem::current_path(folder);  // checkpoints go there
  torch::manual_seed(0);
  const auto data = blobs();
  const levin::DataLoader train(data, {.batch_size = 8}), val(data, {.batch_size = 64});
  Classifier model;

  levin::EMAWeightAveraging average({.decay = 0.9});
  levin::Trainer trainer({.logger = false, .callbacks = {average}, .max_epochs = 3});
  trainer.fit(model, train, val);
  EXPECT_EQ(average->n_averaged(), 24);

  levin::StochasticWeightAveraging swa({.swa_lrs = 0.05, .swa_epoch_start = 0.6, .annealing_epochs = 2});

  levin::BackboneFinetuning finetuning({.unfreeze_backbone_at_epoch = 2, .backbone_initial_ratio_lr = 0.1});

  std::vector<int64_t> epochs_seen;
  levin::LambdaCallback hello({.on_train_epoch_end = [&](levin::Trainer& run, levin::Module&) {
    epochs_seen.push_back(run.current_epoch());
  }});

  Classifier other;
  levin::Trainer second({.logger = false, .callbacks = {finetuning, swa, hello}, .max_epochs = 5});
  second.fit(other, train, val);
  EXPECT_EQ(epochs_seen, (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(swa->n_averaged(), 3);

  const auto found = levin::lr_find(model, train, {.min_lr = 1e-5, .max_lr = 1, .num_training = 50});
  if (const auto lr = found.suggestion()) model.lr = *lr;

  const auto size = levin::scale_batch_size(model, [&](int64_t batch_size) -> levin::DataLoader {
    return {data, {.batch_size = batch_size, .shuffle = true}};
  });
  EXPECT_EQ(size, 64);
  std::filesystem::current_path(here);
  std::filesystem::remove_all(folder);
  levin::console::set_level(levin::console::Level::info);
}

TEST(OptimizerDocs, BlocksRun) {
  Classifier model;
  levin::optim::NAdam nadam(model.parameters(), {.lr = 1e-2});
  levin::optim::SequentialLR schedule(nadam,
                                      {levin::optim::LinearLR(nadam, {.start_factor = 0.1, .total_iters = 5}),
                                       levin::optim::CosineAnnealingLR(nadam, {.T_max = 20})},
                                      {5});
  EXPECT_NEAR(schedule.get_last_lr()[0], 1e-3, 1e-12);
  for (int step = 0; step < 5; ++step) schedule.step();
  EXPECT_NEAR(schedule.get_last_lr()[0], 1e-2, 1e-12);
}

}  // namespace
