// Microseconds a training step on the accelerator: eager, and as a graph of the device. A line of JSON a run:
// {"model", "name", "us": [...]}. Usage: device_step [rounds]
#include <levin/levin.h>

#include <ATen/DeviceAccelerator.h>
#include <torch/torch.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

namespace nn = torch::nn;

namespace {

using Clock = std::chrono::steady_clock;

struct Model {
  std::string name;
  std::function<nn::Sequential()> make;
  levin::Batch batch;
};

double microseconds(const std::function<void()>& step, int steps) {
  at::accelerator::synchronizeDevice(0);
  const auto since = Clock::now();
  for (int i = 0; i < steps; ++i) step();
  at::accelerator::synchronizeDevice(0);
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count() / steps;
}

torch::Tensor loss(const torch::Tensor& out, const torch::Tensor& y) {
  return y.is_floating_point() ? torch::mse_loss(out, y) : torch::cross_entropy_loss(out, y);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7, steps = 200;
  const auto type = at::accelerator::getAccelerator();
  if (!type) {
    std::fprintf(stderr, "device_step: this LibTorch sees no accelerator\n");
    return 1;
  }
  const torch::Device device(*type, 0);
  const std::vector<Model> models = {
      {"1-16-1, b 100",
       [] { return nn::Sequential(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1)); },
       {torch::randn({100, 1}, device), torch::randn({100, 1}, device)}},
      {"MLP 784-128-10, b 64",
       [] { return nn::Sequential(nn::Linear(784, 128), nn::ReLU(), nn::Linear(128, 10)); },
       {torch::randn({64, 784}, device), torch::randint(10, {64}, device)}},
      {"CNN 32-64, b 64",
       [] {
         return nn::Sequential(nn::Conv2d(nn::Conv2dOptions(1, 32, 5)), nn::ReLU(), nn::MaxPool2d(2),
                               nn::Conv2d(nn::Conv2dOptions(32, 64, 5)), nn::ReLU(), nn::MaxPool2d(2), nn::Flatten(),
                               nn::Linear(1024, 10));
       },
       {torch::randn({64, 1, 28, 28}, device), torch::randint(10, {64}, device)}},
  };
  for (const Model& model : models) {
    auto eager = model.make(), graphed = model.make();
    eager->to(device);
    graphed->to(device);
    levin::optim::Adam by_hand(eager->parameters(), {.lr = 1e-3}), stepped(graphed->parameters(), {.lr = 1e-3});
    auto compiled = levin::compile_step(
        graphed, stepped, [&](const levin::Batch& batch) { return loss(graphed->forward(batch[0]), batch[1]); });
    std::vector<double> us[2];
    for (int round = -1; round < rounds; ++round) {
      const double a = microseconds(
          [&] {
            by_hand.zero_grad();
            loss(eager->forward(model.batch[0]), model.batch[1]).backward();
            by_hand.step();
          },
          steps);
      const double b = microseconds([&] { compiled(model.batch); }, steps);
      if (round >= 0) us[0].push_back(a), us[1].push_back(b);
    }
    if (!compiled.compiled()) std::fprintf(stderr, "%s", compiled.explain().c_str());
    for (int way = 0; way < 2; ++way) {
      std::printf(R"({"model": "%s", "name": "Levin, %s", "us": [)", model.name.c_str(), way ? "compiled" : "eager");
      for (std::size_t i = 0; i < us[way].size(); ++i) std::printf("%s%.3f", i ? ", " : "", us[way][i]);
      std::printf("]}\n");
    }
  }
}
