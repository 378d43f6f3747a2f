// The C++ blocks of docs/compile-fallback.md, and of docs/compiled-step.md what tests beside this do not show.
#include <levin/levin.h>

#include <gtest/gtest.h>

#include <iostream>
#include <vector>

namespace nn = torch::nn;

namespace {

struct FallbackPage : testing::Test {
  FallbackPage() { levin::seed_everything(1); }
  nn::Sequential model{nn::Linear(4, 8), nn::Tanh(), nn::Linear(8, 3)};
  levin::optim::Adam optimizer{model->parameters(), {.lr = 0.01}};
  torch::Tensor x = torch::randn({6, 4}), y = torch::randn({6, 3}), loss;
};

TEST_F(FallbackPage, ShowsAReadOfAValue) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  auto step = levin::compile_step(model, optimizer, [&](const levin::Batch& batch) {
    auto out = model->forward(batch[0]);
    if (out.abs().max().item<float>() > 100) out = out / 2;
    return torch::mse_loss(out, batch[1]);
  });
  step({x, y});
  std::cout << step.explain();
  const std::string because =
      "runs eagerly, not compiled: a value is read by the host (item(), a tensor used as a condition or as a number); "
      "keep it "
      "a tensor, or read it outside of the step (";
  const std::string seen = testing::internal::GetCapturedStderr();
  EXPECT_NE(seen.find(because), std::string::npos) << seen;
  EXPECT_NE(seen.find("soon after the use of 2.bias)"), std::string::npos) << seen;
  EXPECT_NE(testing::internal::GetCapturedStdout().find("read by the host"), std::string::npos);
}

TEST_F(FallbackPage, ShowsATensorInstead) {
  auto step = levin::compile_step(model, optimizer, [&](const levin::Batch& batch) {
    auto out = model->forward(batch[0]);
    out = torch::where(out.abs().max() > 100, out / 2, out);
    return torch::mse_loss(out, batch[1]);
  });
  step({x, y});
  EXPECT_TRUE(step.compiled()) << step.explain();
}

TEST_F(FallbackPage, ShowsAWeightInTheBatch) {
  auto annealed = levin::compile_step(model, optimizer, [&](const levin::Batch& batch) {
    auto out = model->forward(batch[0]);
    return torch::mse_loss(out, batch[1]) + batch[2] * out.abs().mean();
  });
  for (int epoch = 0; epoch < 10; ++epoch) loss = annealed({x, y, torch::full({}, 1.0 / (1 + epoch))});
  EXPECT_TRUE(annealed.compiled()) << annealed.explain();
  EXPECT_TRUE(loss.isfinite().item<bool>());
}

TEST_F(FallbackPage, ShowsEpochsThatDoNotLeaveTheProgram) {
  auto step = levin::compile_step(
      model, optimizer, [&](const levin::Batch& batch) { return torch::mse_loss(model->forward(batch[0]), batch[1]); });
  x = torch::randn({96, 4}), y = torch::randn({96, 3});
  testing::internal::CaptureStdout();
  levin::DataLoader loader(levin::TensorDataset({x, y}), {.batch_size = 32, .shuffle = true});
  for (int epoch = 0; epoch < 10; ++epoch) std::cout << "mean loss " << step.run(loader) << '\n';
  struct Module : levin::Module {
    Module() { net = register_module("net", nn::Linear(4, 3)); }
    torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
      return torch::mse_loss(net->forward(batch[0]), batch[1]);
    }
    levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = 0.01}); }
    nn::Linear net{nullptr};
  } module;
  levin::Trainer trainer(
      {.logger = false, .max_epochs = 3, .enable_checkpointing = false, .enable_progress_bar = false, .compile = true});
  trainer.fit(module, loader);
  std::cout << trainer.explain_compiled();
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_NE(text.find("mean loss "), std::string::npos) << text;
  EXPECT_NE(text.find("8 batches ran in blocks, without a call between them"), std::string::npos) << text;
}

TEST(CompilePage, ShowsManyTrainings) {
  const auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
  const std::vector<levin::Batch> batches = {{x, 2 * x + 1}};
  std::vector<levin::CompiledStep> trials;
  for (int i = 0; i < 64; ++i) {
    nn::Sequential net(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1));
    levin::optim::Adam adam(net->parameters(), {.lr = 1e-4 * (i + 1)});
    trials.push_back(levin::compile_step(
        net, adam, [net](const levin::Batch& b) mutable { return torch::mse_loss(net->forward(b[0]), b[1]); },
        {.seed = i}));
  }
  std::vector<double> losses = levin::run_together(trials, batches, 1000);
  EXPECT_EQ(losses.size(), 64U);
  EXPECT_LT(losses.back(), 1e-2);
}

}  // namespace
