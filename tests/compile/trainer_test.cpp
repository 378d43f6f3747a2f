// Trainer({.compile = true}) against the same training run eagerly.
#include <levin/levin.h>

#include <gtest/gtest.h>

#include <filesystem>

namespace nn = torch::nn;

namespace {

struct Net : levin::Module {
  explicit Net(double dropout = 0) {
    net = register_module("net", nn::Sequential(nn::Linear(nn::LinearOptions(4, 16).bias(false)), nn::BatchNorm1d(16), nn::ReLU(),
                                                nn::Dropout(dropout), nn::Linear(16, 3)));
    accuracy = register_metric("accuracy", levin::metrics::Accuracy({.num_classes = 3}));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    ++training_steps;
    auto loss = torch::cross_entropy_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.on_step = true, .on_epoch = true});
    log("twice", loss * 2);
    return loss;
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    ++validation_steps;
    auto logits = net->forward(batch[0]);
    accuracy->update(logits, batch[1]);
    log("val_acc", accuracy);
    log("val_loss", torch::cross_entropy_loss(logits, batch[1]));
  }
  void test_step(const levin::Batch& batch, int64_t) override {
    log("test_loss", torch::cross_entropy_loss(net->forward(batch[0]), batch[1]));
  }
  levin::Batch predict_step(const levin::Batch& batch, int64_t) override { return {net->forward(batch[0]).argmax(1)}; }
  levin::Optimizers configure_optimizers() override {
    levin::optim::AdamW adamw(parameters(), {.lr = 0.02});
    return {adamw, {.scheduler = levin::optim::StepLR(adamw, {.step_size = 2, .gamma = 0.5})}};
  }

  nn::Sequential net{nullptr};
  levin::metrics::Accuracy accuracy{nullptr};
  int training_steps = 0, validation_steps = 0;
};

levin::DataLoader loader(int64_t samples, bool shuffle) {
  torch::manual_seed(5);
  auto x = torch::randn({samples, 4});
  auto y = x.slice(1, 0, 3).argmax(1);
  return {levin::TensorDataset({x, y}), {.batch_size = 16, .shuffle = shuffle}};
}

struct Outcome {
  levin::Map metrics;
  std::vector<torch::Tensor> parameters, buffers;
  std::vector<torch::Tensor> predictions;
  int training_steps, validation_steps;
};

Outcome run(levin::TrainerOptions options, bool compile, double dropout = 0) {
  options.compile = compile;
  options.logger = false;
  options.enable_checkpointing = options.enable_progress_bar = false;
  if (!options.max_epochs) options.max_epochs = 4;
  levin::seed_everything(3);
  Net net(dropout);
  levin::Trainer trainer(options);
  auto train = loader(72, true), val = loader(40, false);
  levin::seed_everything(4);
  trainer.fit(net, train, val);
  Outcome run{.metrics = trainer.callback_metrics(), .parameters = net.parameters(), .buffers = net.buffers(),
          .predictions = {}, .training_steps = net.training_steps, .validation_steps = net.validation_steps};
  for (const auto& [name, value] : trainer.test(net, val)) run.metrics[name] = value;
  for (const auto& batch : trainer.predict(net, val)) run.predictions.push_back(batch[0]);
  return run;
}

void expect_alike(const Outcome& eager, const Outcome& compiled) {
  for (const auto& [name, value] : eager.metrics) {
    ASSERT_TRUE(compiled.metrics.contains(name)) << name;
    EXPECT_NEAR(value.as_double(), compiled.metrics.at(name).as_double(), 1e-4) << name;
  }
  EXPECT_EQ(eager.metrics.size(), compiled.metrics.size());
  for (size_t i = 0; i < eager.parameters.size(); ++i) {
    EXPECT_TRUE(torch::allclose(eager.parameters[i], compiled.parameters[i], 1e-3, 1e-4)) << i;
  }
  for (size_t i = 0; i < eager.buffers.size(); ++i) {
    EXPECT_TRUE(torch::allclose(eager.buffers[i], compiled.buffers[i], 1e-3, 1e-4)) << i;
  }
  ASSERT_EQ(eager.predictions.size(), compiled.predictions.size());
  for (size_t i = 0; i < eager.predictions.size(); ++i) {
    EXPECT_TRUE(torch::equal(eager.predictions[i], compiled.predictions[i]));
  }
}

TEST(CompiledTrainer, TrainsAsTheEagerOne) {
  const Outcome eager = run({}, false), compiled = run({}, true);
  expect_alike(eager, compiled);
  // The short last batch has a program of its own; the code of the steps ran for captures alone.
  EXPECT_EQ(eager.training_steps, 4 * 5);
  EXPECT_EQ(compiled.training_steps, 2);
  EXPECT_LE(compiled.validation_steps, 2);
}

TEST(CompiledTrainer, AccumulatesClipsAndSchedules) {
  levin::TrainerOptions options{.accumulate_grad_batches = 2, .gradient_clip_val = 0.1};
  expect_alike(run(options, false), run(options, true));
  options.gradient_clip_algorithm = levin::ClipAlgorithm::value;
  options.gradient_clip_val = 0.01;
  expect_alike(run(options, false), run(options, true));
}

TEST(CompiledTrainer, DropsOutTheSameElements) { expect_alike(run({}, false, 0.3), run({}, true, 0.3)); }

// Handwritten digits: 1,437 to learn from, 360 to judge by.
struct DigitsNet : levin::Module {
  DigitsNet() {
    net = register_module("net", nn::Sequential(nn::Linear(64, 64), nn::BatchNorm1d(64), nn::ReLU(), nn::Dropout(0.3),
                                                nn::Linear(64, 10)));
    accuracy = register_metric("accuracy", levin::metrics::Accuracy({.num_classes = 10}));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    return torch::cross_entropy_loss(net->forward(batch[0]), batch[1]);
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    const auto logits = net->forward(batch[0]);
    accuracy->update(logits, batch[1]);
    log("val_acc", accuracy);
    log("val_loss", torch::cross_entropy_loss(logits, batch[1]));
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::AdamW(parameters(), {.lr = 3e-3}); }
  nn::Sequential net{nullptr};
  levin::metrics::Accuracy accuracy{nullptr};
};

TEST(CompiledTrainer, LearnsRealDataAsWell) {
  const auto table = levin::read_csv(LEVIN_SOURCE_DIR "/data/digits/digits.csv");
  const levin::TensorDataset all({table.drop("target").to_tensor() / 16, table.column("target").to(torch::kLong)});
  constexpr int kSeeds = 5;
  double accuracy[2] = {}, loss[2] = {};
  for (int seed = 0; seed < kSeeds; ++seed) {
    const auto parts = levin::random_split(all, {0.8, 0.2}, {.seed = static_cast<std::uint64_t>(seed)});
    for (const bool compile : {false, true}) {
      levin::seed_everything(seed);
      DigitsNet net;
      levin::Trainer trainer({.logger = false, .max_epochs = 8, .enable_checkpointing = false,
                              .enable_progress_bar = false, .compile = compile});
      trainer.fit(net, levin::DataLoader(parts[0], {.batch_size = 64, .shuffle = true}),
                  levin::DataLoader(parts[1], {.batch_size = 360}));
      accuracy[compile] += trainer.metric("val_acc") / kSeeds;
      loss[compile] += trainer.metric("val_loss") / kSeeds;
    }
  }
  // Half a percentage point is two of 360 digits.
  EXPECT_GT(accuracy[0], 0.95);
  EXPECT_NEAR(accuracy[1], accuracy[0], 0.005);
  EXPECT_NEAR(loss[1], loss[0], 0.02 * loss[0]);
}

struct AsksForTheEpoch : Net {
  torch::Tensor training_step(const levin::Batch& batch, int64_t idx) override {
    return Net::training_step(batch, idx) * (1.0 + static_cast<double>(current_epoch()));
  }
};

TEST(CompiledTrainer, RunsEagerlyWhatAsksForTheEpoch) {
  AsksForTheEpoch net;
  levin::Trainer trainer({.logger = false, .max_epochs = 2, .enable_checkpointing = false,
                          .enable_progress_bar = false, .compile = true});
  testing::internal::CaptureStderr();
  trainer.fit(net, loader(32, false));
  const std::string messages = testing::internal::GetCapturedStderr();
  EXPECT_NE(messages.find("training_step runs eagerly, not compiled"), std::string::npos) << messages;
  EXPECT_NE(messages.find("current_epoch()"), std::string::npos) << messages;
  EXPECT_GE(net.training_steps, 4);
}

struct Hooked : Net {
  void on_after_backward() override {
    auto grad = net->parameters()[0].grad();
    norms.push_back(grad.defined() ? grad.norm().item<double>() : -1);
  }
  std::vector<double> norms;
};

TEST(CompiledTrainer, ShowsGradientsToHooks) {
  std::vector<double> norms[2];
  for (const bool compile : {false, true}) {
    levin::seed_everything(1);
    Hooked net;
    levin::Trainer trainer({.logger = false, .max_epochs = 2, .enable_checkpointing = false,
                            .enable_progress_bar = false, .compile = compile});
    trainer.fit(net, loader(48, false));
    norms[compile] = net.norms;
  }
  ASSERT_EQ(norms[0].size(), norms[1].size());
  for (size_t i = 0; i < norms[0].size(); ++i) EXPECT_NEAR(norms[0][i], norms[1][i], 1e-5);
}

struct Adversaries : levin::Module {
  Adversaries() {
    a = register_module("a", nn::Linear(4, 4));
    b = register_module("b", nn::Linear(4, 1));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t, int64_t optimizer) override {
    auto out = b->forward(torch::tanh(a->forward(batch[0]))).mean();
    log(optimizer == 0 ? "first" : "second", out);
    return optimizer == 0 ? out : -out;
  }
  levin::Optimizers configure_optimizers() override {
    return {{.optimizer = levin::optim::SGD(a->parameters(), {.lr = 0.1})},
            {.optimizer = levin::optim::SGD(b->parameters(), {.lr = 0.1})}};
  }
  nn::Linear a{nullptr}, b{nullptr};
};

TEST(CompiledTrainer, StepsSeveralOptimizers) {
  std::vector<torch::Tensor> ends[2];
  for (const bool compile : {false, true}) {
    levin::seed_everything(1);
    Adversaries net;
    levin::Trainer trainer({.logger = false, .max_epochs = 2, .enable_checkpointing = false,
                            .enable_progress_bar = false, .compile = compile});
    trainer.fit(net, loader(48, false));
    ends[compile] = net.parameters();
  }
  for (size_t i = 0; i < ends[0].size(); ++i) EXPECT_TRUE(torch::allclose(ends[0][i], ends[1][i], 1e-5, 1e-6));
}

}  // namespace
