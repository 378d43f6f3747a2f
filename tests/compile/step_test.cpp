// Compiled steps against eager ones: the same numbers, the same errors, an honest way back.
#include <levin/levin.h>

#include <gtest/gtest.h>

namespace nn = torch::nn;

namespace {

std::vector<torch::Tensor> clones(const std::vector<torch::Tensor>& tensors) {
  std::vector<torch::Tensor> out;
  for (const auto& tensor : tensors) out.push_back(tensor.detach().clone());
  return out;
}

nn::Sequential small_net() { return nn::Sequential(nn::Linear(3, 8), nn::Tanh(), nn::Linear(8, 2)); }

TEST(CompileStep, FollowsTheEagerTrajectory) {
  levin::seed_everything(1);
  auto eager = small_net();
  auto compiled = small_net();
  {
    torch::NoGradGuard no_grad;
    for (size_t i = 0; i < eager->parameters().size(); ++i) compiled->parameters()[i].copy_(eager->parameters()[i]);
  }
  levin::optim::Adam a(eager->parameters(), {.lr = 0.01});
  levin::optim::Adam b(compiled->parameters(), {.lr = 0.01});
  auto step = levin::compile_step(b, [&](const levin::Batch& batch) {
    return torch::mse_loss(compiled->forward(batch[0]), batch[1]);
  });
  for (int i = 0; i < 20; ++i) {
    auto x = torch::randn({5, 3}), y = torch::randn({5, 2});
    a.zero_grad();
    auto loss = torch::mse_loss(eager->forward(x), y);
    loss.backward();
    a.step();
    auto compiled_loss = step({x, y});
    ASSERT_NEAR(loss.item<double>(), compiled_loss.item<double>(), 1e-6) << i;
  }
  EXPECT_TRUE(step.compiled()) << step.explain();
  for (size_t i = 0; i < eager->parameters().size(); ++i) {
    EXPECT_TRUE(torch::allclose(eager->parameters()[i], compiled->parameters()[i], 1e-5, 1e-6)) << i;
  }
}

TEST(CompileStep, KeepsLossesApart) {
  levin::seed_everything(2);
  auto net = small_net();
  levin::optim::SGD optimizer(net->parameters(), {.lr = 0.1});
  auto step = levin::compile_step(optimizer, [&](const levin::Batch& batch) {
    return torch::mse_loss(net->forward(batch[0]), batch[1]);
  });
  auto x = torch::randn({5, 3}), y = torch::randn({5, 2});
  std::vector<torch::Tensor> losses;
  std::vector<double> read;
  for (int i = 0; i < 10; ++i) {
    losses.push_back(step({x, y}));
    read.push_back(losses.back().item<double>());
  }
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_EQ(losses[i].item<double>(), read[i]);
  EXPECT_LT(read.back(), read.front());
}

TEST(CompileStep, RunsEagerlyWhatReadsValues) {
  levin::seed_everything(3);
  auto net = small_net();
  levin::optim::SGD optimizer(net->parameters(), {.lr = 0.1});
  auto step = levin::compile_step(optimizer, [&](const levin::Batch& batch) {
    auto out = net->forward(batch[0]);
    if (out.sum().item<float>() > 1e9) out = out * 2;
    return torch::mse_loss(out, batch[1]);
  });
  auto before = clones(net->parameters());
  step({torch::randn({5, 3}), torch::randn({5, 2})});
  EXPECT_FALSE(step.compiled());
  EXPECT_NE(step.explain().find("read by the host"), std::string::npos) << step.explain();
  EXPECT_FALSE(torch::equal(before[0], net->parameters()[0]));
}

}  // namespace
