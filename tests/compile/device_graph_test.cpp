// Graphs of a device, on one that is made of host memory and whose streams can be captured.
#include "train/fake_device.h"

#include <levin/levin.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/GraphImplInterface.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

namespace levin::testing::fake {

// Repeats the calls on the memory that they were captured with.
class FakeGraph final : public at::GraphImplInterface {
 public:
  explicit FakeGraph(const at::GraphImplArgs&) {}
  void capture_begin(at::MempoolId_t, at::GraphCaptureMode) override {
    TORCH_CHECK(Guard::current != 0, "the default stream cannot be captured");
    capturing = &calls_;
  }
  void capture_end() override { capturing = nullptr; }
  void instantiate() override {}
  void replay() override {
    const Inside kernel;
    for (const auto& call : calls_) call();
    ++replays;
  }
  void reset() override { calls_.clear(); }
  at::MempoolId_t pool() const override { return {0, 0}; }
  void enable_debug_mode() override {}
  void debug_dump(const std::string&) override {}

  static inline int replays = 0;

 private:
  std::vector<std::function<void()>> calls_;
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
};

}  // namespace levin::testing::fake

namespace at {
REGISTER_GRAPH_IMPL(FAKE, levin::testing::fake::FakeGraph);
}

namespace levin {
namespace {

namespace nn = torch::nn;
namespace fake = testing::fake;

class DeviceGraphs : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    static fake::Hooks hooks;
    if (at::isPrivateUse1HooksRegistered()) return;
    c10::register_privateuse1_backend("fake");
    at::RegisterPrivateUse1HooksInterface(&hooks);
  }
};

// Module::to cannot move parameters to this device, so they are made on it.
struct NetImpl : nn::Module {
  NetImpl() {
    torch::manual_seed(1);
    const auto parameter = [&](const char* name, at::IntArrayRef sizes) {
      return register_parameter(name, (torch::randn(sizes) * 0.3).to(fake::kType));
    };
    w1 = parameter("w1", {8, 6});
    b1 = parameter("b1", {8});
    w2 = parameter("w2", {3, 8});
    b2 = parameter("b2", {3});
    mean = register_buffer("mean", torch::zeros({8}).to(fake::kType));
  }
  torch::Tensor forward(const torch::Tensor& x) {
    auto h = torch::linear(x, w1, b1);
    if (is_training()) mean.mul_(0.9).add_(h.detach().mean(0), 0.1);
    h = h - mean;
    h = torch::dropout(torch::relu(h), 0.25, is_training());
    return torch::linear(h, w2, b2);
  }
  torch::Tensor w1, b1, w2, b2, mean;
};
TORCH_MODULE(Net);

std::vector<Batch> batches(int count, std::int64_t rows = 16) {
  torch::manual_seed(7);
  std::vector<Batch> list;
  for (int i = 0; i < count; ++i) {
    list.push_back({torch::randn({rows, 6}).to(fake::kType), torch::randn({rows, 3}).to(fake::kType)});
  }
  return list;
}

torch::Tensor host(const torch::Tensor& tensor) { return fake::on_host(tensor.detach()).clone(); }

TEST_F(DeviceGraphs, TrainAsEagerSteps) {
  Net a, b;
  optim::SGD by_hand(a->parameters(), {.lr = 0.05, .momentum = 0.9}), stepped(b->parameters(), {.lr = 0.05, .momentum = 0.9});
  auto step = compile_step(b, stepped, [&](const Batch& batch) {
    return (b->forward(batch[0]) - batch[1]).square().mean();
  });
  const int before = fake::FakeGraph::replays;
  int n = 0;
  for (const Batch& batch : batches(6)) {
    if (++n == 4) {
      by_hand.param_groups()[0].lr = 0.01;
      stepped.param_groups()[0].lr = 0.01;
    }
    torch::manual_seed(100 + static_cast<std::uint64_t>(n));
    by_hand.zero_grad();
    const auto expected = (a->forward(batch[0]) - batch[1]).square().mean();
    expected.backward();
    by_hand.step();
    torch::manual_seed(100 + static_cast<std::uint64_t>(n));
    const auto loss = step(batch);
    EXPECT_EQ(loss.device().type(), fake::kType);
    EXPECT_EQ(host(loss).item<float>(), host(expected).item<float>()) << n;
  }
  EXPECT_TRUE(step.compiled());
  EXPECT_EQ(fake::FakeGraph::replays - before, 6) << "each step is one replay, the first one included";
  const auto expected = a->named_parameters(), seen = b->named_parameters();
  for (const auto& item : expected) {
    EXPECT_TRUE(torch::allclose(host(item.value()), host(seen[item.key()]), 1e-6, 1e-7)) << item.key();
  }
  const auto buffers = a->named_buffers();
  for (const auto& item : buffers) {
    EXPECT_TRUE(torch::equal(host(item.value()), host(b->named_buffers()[item.key()]))) << item.key();
  }
  EXPECT_NE(step.explain().find("a graph of the device"), std::string::npos) << step.explain();
}

TEST_F(DeviceGraphs, OtherShapesAndModesHaveGraphsOfTheirOwn) {
  Net net;
  optim::SGD optimizer(net->parameters(), {.lr = 0.05});
  auto step = compile_step(net, optimizer, [&](const Batch& batch) {
    return (net->forward(batch[0]) - batch[1]).square().mean();
  });
  const Batch full = batches(1)[0], rest = batches(1, 5)[0];
  step(full);
  step(rest);
  net->eval();
  const auto expected = host((net->forward(full[0]) - full[1]).square().mean());
  EXPECT_EQ(host(step(full)).item<float>(), expected.item<float>());
  EXPECT_TRUE(step.compiled()) << step.explain();
}

TEST_F(DeviceGraphs, LossesStayAsTheyAreWhenTheGraphRunsAgain) {
  Net net;
  optim::SGD optimizer(net->parameters(), {.lr = 0.05});
  auto step = compile_step(net, optimizer, [&](const Batch& batch) {
    return (net->forward(batch[0]) - batch[1]).square().mean();
  });
  const auto list = batches(2);
  const auto first = step(list[0]);
  const float value = host(first).item<float>();
  step(list[1]);
  EXPECT_EQ(host(first).item<float>(), value);
}

struct Refused {
  std::string name;
  std::function<torch::Tensor(const torch::Tensor&)> loss;
  std::string because;
};

TEST_F(DeviceGraphs, StepsThatCannotBeCapturedRunEagerlyAndSayWhy) {
  const torch::Tensor stranger = torch::ones({3}).to(fake::kType), on_host = torch::ones({3});
  const std::vector<Refused> all = {
      {"a value read", [](const torch::Tensor& out) { return out.square().mean() * (out.sum().item<float>() > 0 ? 1 : 2); },
       "read by the host"},
      {"a stranger", [&](const torch::Tensor& out) { return (out * stranger).square().mean(); }, "neither in the batch"},
      {"a host tensor", [&](const torch::Tensor& out) { return (out * on_host.to(fake::kType)).square().mean(); },
       "works on cpu"},
  };
  for (const Refused& row : all) {
    SCOPED_TRACE(row.name);
    Net net;
    optim::SGD optimizer(net->parameters(), {.lr = 0.05});
    auto step = compile_step(net, optimizer, [&](const Batch& batch) { return row.loss(net->forward(batch[0])); });
    const torch::Tensor before = host(net->mean);
    ::testing::internal::CaptureStderr();
    const auto loss = step(batches(1)[0]);
    const std::string warning = ::testing::internal::GetCapturedStderr();
    EXPECT_FALSE(step.compiled());
    EXPECT_NE(warning.find(row.because), std::string::npos) << warning;
    EXPECT_TRUE(host(loss).isfinite().item<bool>());
    // One eager step has moved the statistics by a tenth of the batch's: trials of the step have left no trace.
    Net other;
    other->forward(batches(1)[0][0]);
    EXPECT_TRUE(torch::equal(host(net->mean), host(other->mean)));
    EXPECT_FALSE(torch::equal(before, host(net->mean)));
  }
}

}  // namespace
}  // namespace levin
