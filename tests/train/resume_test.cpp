// A fit that is stopped anywhere and resumed gives the same bits as one that was never stopped.
#include "train/toy.h"

#include <gtest/gtest.h>

namespace levin {
namespace {

using testing::TempDir;

// Everything that could go wrong: shuffling, dropout, batch statistics, momentum, accumulation, two schedulers.
struct HardNet : Module {
  HardNet() {
    net = register_module("net",
                          torch::nn::Sequential(torch::nn::Linear(3, 8), torch::nn::BatchNorm1d(8), torch::nn::ReLU(),
                                                torch::nn::Dropout(0.3), torch::nn::Linear(8, 1)));
  }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.on_step = true, .on_epoch = true});
    return loss;
  }
  void validation_step(const Batch& batch, std::int64_t) override {
    log("val_loss", torch::mse_loss(net->forward(batch[0]), batch[1]));
  }
  Optimizers configure_optimizers() override {
    optim::AdamW adamw(parameters(), {.lr = 0.02, .weight_decay = 0.1});
    return {adamw,
            std::vector<LRSchedulerConfig>{
                {.scheduler = optim::StepLR(adamw, {.step_size = 3, .gamma = 0.7}), .interval = Interval::step},
                {.scheduler = optim::ReduceLROnPlateau(adamw, {.factor = 0.5, .patience = 0}), .monitor = "val_loss"}}};
  }
  torch::nn::Sequential net{nullptr};
};

TensorDataset data() {
  torch::manual_seed(1);
  auto x = torch::randn({22, 3});
  return TensorDataset({x, x.sum(1, true)});
}

// Saves a checkpoint after a given number of batches, or at the end of a given epoch.
struct SaverImpl : CallbackImpl {
  SaverImpl(std::string file, std::int64_t batches, std::int64_t epochs)
      : path(std::move(file)), at_batch(batches), at_epoch(epochs) {}
  void on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    if (++seen == at_batch) trainer.save_checkpoint(path);
  }
  void on_train_epoch_end(Trainer& trainer, Module&) override {
    if (trainer.current_epoch() + 1 == at_epoch) trainer.save_checkpoint(path);
  }
  bool is_checkpoint() const override { return true; }
  std::string path;
  std::int64_t at_batch, at_epoch, seen = 0;
};
using Saver = CallbackHolder<SaverImpl>;

struct Outcome {
  std::vector<torch::Tensor> tensors;
  double train_loss, val_loss, lr;
};

Outcome run(const std::string& resume_from, const std::string& save_to, std::int64_t batches, std::int64_t epochs) {
  seed_everything(resume_from.empty() ? 3 : 999);  // the resumed run must not depend on its own seed
  HardNet net;
  auto options = testing::quiet(4);
  options.enable_checkpointing = true;
  options.accumulate_grad_batches = 2;
  options.gradient_clip_val = 0.5;
  options.callbacks = {Saver(save_to, batches, epochs)};
  Trainer trainer(options);
  trainer.fit(net, DataLoader(data(), {.batch_size = 4, .shuffle = true, .seed = resume_from.empty() ? 3u : 77u}),
              DataLoader(data(), {.batch_size = 10}), {.ckpt_path = resume_from});
  Outcome outcome{.tensors = {},
                  .train_loss = trainer.metric("train_loss_epoch"),
                  .val_loss = trainer.metric("val_loss"),
                  .lr = trainer.optimizer().param_groups()[0].lr};
  for (const auto& p : net.named_parameters()) outcome.tensors.push_back(p.value().detach().clone());
  for (const auto& b : net.named_buffers()) outcome.tensors.push_back(b.value().clone());
  return outcome;
}

void expect_same_bits(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (std::size_t i = 0; i < a.tensors.size(); ++i)
    EXPECT_TRUE(torch::equal(a.tensors[i], b.tensors[i])) << "tensor " << i;
  EXPECT_EQ(a.train_loss, b.train_loss);
  EXPECT_EQ(a.val_loss, b.val_loss);
  EXPECT_EQ(a.lr, b.lr);
}

TEST(Resume, FromEveryBatchGivesTheSameBits) {
  TempDir dir;
  for (std::int64_t batch = 1; batch <= 23; ++batch) {  // 6 batches an epoch, 4 epochs
    SCOPED_TRACE("saved after batch " + std::to_string(batch));
    const std::string file = dir / "batch.ckpt";
    const Outcome whole = run("", file, batch, -1);
    expect_same_bits(run(file, dir / "unused.ckpt", -1, -1), whole);
  }
}

TEST(Resume, FromTheEndOfAnEpochGivesTheSameBits) {
  TempDir dir;
  for (std::int64_t epoch = 1; epoch <= 3; ++epoch) {
    SCOPED_TRACE("saved at the end of epoch " + std::to_string(epoch));
    const std::string file = dir / "epoch.ckpt";
    const Outcome whole = run("", file, -1, epoch);
    expect_same_bits(run(file, dir / "unused.ckpt", -1, -1), whole);
  }
}

TEST(Resume, OfAFinishedRunDoesNothing) {
  TempDir dir;
  const std::string file = dir / "end.ckpt";
  const Outcome whole = run("", file, -1, 4);
  seed_everything(1);
  HardNet net;
  Trainer trainer(testing::quiet(4));
  trainer.fit(net, DataLoader(data(), {.batch_size = 4}), DataLoader(), {.ckpt_path = file});
  EXPECT_EQ(trainer.current_epoch(), 4);
  EXPECT_EQ(trainer.global_step(), 12);
  std::size_t i = 0;
  for (const auto& p : net.parameters()) EXPECT_TRUE(torch::equal(p, whole.tensors[i++]));
}

TEST(Resume, OfAnotherModelIsExplainedAndChangesNothing) {
  TempDir dir;
  const std::string file = dir / "a.ckpt";
  run("", file, -1, 1);
  struct Other : Module {
    Other() { layer = register_module("net", torch::nn::Sequential(torch::nn::Linear(3, 5), torch::nn::Linear(5, 1))); }
    torch::Tensor training_step(const Batch& b, std::int64_t) override { return layer->forward(b[0]).mean(); }
    Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 0.1}); }
    torch::nn::Sequential layer{nullptr};
  } other;
  const auto before = other.parameters()[0].detach().clone();
  Trainer trainer(testing::quiet(1));
  try {
    trainer.fit(other, DataLoader(data(), {.batch_size = 4}), {.ckpt_path = file});
    FAIL();
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("another model"), std::string::npos) << text;
    EXPECT_NE(text.find("net.0.weight"), std::string::npos) << text;
    EXPECT_NE(text.find("[8, 3]"), std::string::npos) << text;
    EXPECT_NE(text.find("[5, 3]"), std::string::npos) << text;
  }
  EXPECT_TRUE(torch::equal(other.parameters()[0], before));
}

TEST(ModelCheckpoint, KeepsTheBestAndTheLast) {
  TempDir dir;
  struct Net : HardNet {
    void on_train_epoch_end() override {
      static constexpr double scores[] = {0.5, 0.9, 0.7, 0.8};
      log("score", scores[trainer().current_epoch()]);
    }
  } net;
  ModelCheckpoint best({.dirpath = dir.path(),
                        .filename = "{epoch}-{score:.1f}",
                        .monitor = "score",
                        .mode = Mode::max,
                        .save_last = true,
                        .save_top_k = 2});
  auto options = testing::quiet(4);
  options.enable_checkpointing = true;
  options.callbacks = {best};
  Trainer trainer(options);
  trainer.fit(net, DataLoader(data(), {.batch_size = 11}), DataLoader(data(), {.batch_size = 22}));
  EXPECT_EQ(best->best_model_path(), dir / "epoch=1-score=0.9.ckpt");
  EXPECT_EQ(best->best_model_score(), 0.9);
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) files.push_back(entry.path().filename());
  std::sort(files.begin(), files.end());
  EXPECT_EQ(files, (std::vector<std::string>{"epoch=1-score=0.9.ckpt", "epoch=3-score=0.8.ckpt", "last.ckpt"}));

  // "best" and "last" name those files.
  const auto final_weights = net.parameters()[0].detach().clone();
  trainer.validate(net, DataLoader(data(), {.batch_size = 22}), {.ckpt_path = "best", .verbose = false});
  EXPECT_FALSE(torch::equal(net.parameters()[0], final_weights));
  trainer.validate(net, DataLoader(data(), {.batch_size = 22}), {.ckpt_path = "last", .verbose = false});
  EXPECT_TRUE(torch::equal(net.parameters()[0], final_weights));
}

TEST(EarlyStopping, StopsAfterPatienceAndOnNaN) {
  struct Net : HardNet {
    void on_validation_epoch_end() override {
      log("score", scores.at(static_cast<std::size_t>(trainer().current_epoch())));
    }
    std::vector<double> scores;
  };
  const auto epochs_run = [](std::vector<double> scores, EarlyStoppingOptions stopping) {
    Net net;
    net.scores = std::move(scores);
    auto options = testing::quiet(static_cast<std::int64_t>(net.scores.size()));
    options.num_sanity_val_steps = 0;
    options.callbacks = {EarlyStopping(std::move(stopping))};
    Trainer trainer(options);
    trainer.fit(net, DataLoader(data(), {.batch_size = 22}), DataLoader(data(), {.batch_size = 22}));
    return trainer.current_epoch();
  };
  EXPECT_EQ(epochs_run({3, 2, 2, 2, 1, 1}, {.monitor = "score", .patience = 2}), 4);
  EXPECT_EQ(epochs_run({3, 2, 2, 1, 1, 1}, {.monitor = "score", .patience = 2}), 6);
  EXPECT_EQ(epochs_run({1, 2, 3, 4, 5, 6}, {.monitor = "score", .patience = 1, .mode = Mode::max}), 6);
  EXPECT_EQ(epochs_run({3, NAN, 1, 1, 1, 1}, {.monitor = "score", .patience = 5}), 2);
  EXPECT_EQ(epochs_run({3, 2, 1, 0, 0, 0}, {.monitor = "score", .patience = 5, .stopping_threshold = 1.5}), 3);
}

TEST(EarlyStopping, AndCheckpointsLeaveALaterValidationAlone) {
  TempDir dir;
  HardNet net;
  EarlyStopping stopping({.monitor = "val_loss", .patience = 1});
  ModelCheckpoint best({.dirpath = dir.path(), .save_top_k = -1, .save_on_train_epoch_end = false});
  auto options = testing::quiet(1);
  options.enable_checkpointing = true;
  options.callbacks = {stopping, best};
  Trainer trainer(options);
  trainer.fit(net, DataLoader(data(), {.batch_size = 22}), DataLoader(data(), {.batch_size = 22}));
  const auto waited = stopping->wait_count();
  const auto saved = best->best_k_models().size();
  for (int i = 0; i < 3; ++i) trainer.validate(net, DataLoader(data(), {.batch_size = 22}), {.verbose = false});
  EXPECT_EQ(stopping->wait_count(), waited);
  EXPECT_FALSE(trainer.should_stop());
  EXPECT_EQ(best->best_k_models().size(), saved);
  EXPECT_EQ(trainer.num_training_batches(), 1);
}

}  // namespace
}  // namespace levin
