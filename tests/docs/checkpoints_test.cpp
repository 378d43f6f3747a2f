// The code blocks of docs/checkpoints.md, compiled and run.
#include "train/toy.h"

#include <levin/train/checkpoint.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>

namespace {

struct Regressor : levin::Module {
  explicit Regressor(const levin::Map& hparams) {
    save_hyperparameters(hparams);
    net = register_module("net",
                          torch::nn::Sequential(torch::nn::Linear(2, hparams.get<int64_t>("width")), torch::nn::ReLU(),
                                                torch::nn::Linear(hparams.get<int64_t>("width"), 1),
                                                torch::nn::Dropout(hparams.get<double>("dropout", 0.1))));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    return torch::mse_loss(net->forward(batch[0]), batch[1]);
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    log("val_loss", torch::mse_loss(net->forward(batch[0]), batch[1]));
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = 0.01}); }
  torch::nn::Sequential net{nullptr};
};

TEST(CheckpointDocs, Blocks) {
  levin::testing::TempDir dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  Regressor model({{"width", 4}}), other({{"width", 4}});
  const levin::DataLoader train(levin::testing::golden_data(), {.batch_size = 2}), val(levin::testing::golden_data());

  levin::ModelCheckpoint checkpoints({.dirpath = "runs/checkpoints",
                                      .filename = "{epoch:02d}-{val_loss:.3f}",
                                      .monitor = "val_loss",
                                      .save_last = true,
                                      .save_top_k = 3,
                                      .async_save = true});
  auto options = levin::testing::quiet(2);
  options.enable_checkpointing = true;
  options.callbacks = {checkpoints};
  levin::Trainer trainer(options);
  trainer.fit(model, train, val, {.ckpt_path = "last"});
  EXPECT_TRUE(std::filesystem::exists("runs/checkpoints/last.ckpt"));
  EXPECT_EQ(checkpoints->best_k_models().size(), 2u);

  levin::save_weights(model, "weights.safetensors");
  auto report = levin::load_weights(other, "weights.safetensors", {.strict = false, .ignore = {"net.2.*"}});
  std::cout << report.to_string() << '\n';
  EXPECT_EQ(report.loaded.size(), 2u);

  trainer.save_checkpoint("model.ckpt");
  auto rebuilt = levin::load_from_checkpoint<Regressor>("model.ckpt", {{"dropout", 0.0}});
  EXPECT_TRUE(torch::equal(rebuilt->net->parameters()[0], model.net->parameters()[0]));
  std::filesystem::current_path(before);
}

}  // namespace
