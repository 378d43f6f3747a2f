// Microseconds a training step of several models: eager LibTorch, eager Levin, compiled, the Trainer. A line of JSON a
// run: {"model", "name", "us": [...]}. Usage: step_compiled [rounds]
#include "limit.h"

#include <levin/levin.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>

namespace nn = torch::nn;
using torch::Tensor;

namespace {

using Clock = std::chrono::steady_clock;

struct Model {
  std::string name;
  std::function<nn::Sequential()> make;
  std::function<levin::Batch()> batch;
  std::function<Tensor(const Tensor&, const Tensor&)> loss;
  int steps;
};

double microseconds(Clock::time_point since, int steps) {
  return std::chrono::duration<double, std::micro>(Clock::now() - since).count() / steps;
}

void print(const std::string& model, const std::string& name, const std::vector<double>& us) {
  std::cout << "{\"model\": \"" << model << "\", \"name\": \"" << name << "\", \"us\": [";
  for (size_t i = 0; i < us.size(); ++i) std::cout << (i ? ", " : "") << us[i];
  std::cout << "]}" << std::endl;
}

Tensor cross_entropy(const Tensor& logits, const Tensor& target) { return torch::cross_entropy_loss(logits, target); }

levin::Batch images(int64_t rows, int64_t channels, int64_t size) {
  return {torch::randn({rows, channels, size, size}), torch::randint(10, {rows})};
}

nn::Conv2d conv(int64_t in, int64_t out, int64_t size) { return nn::Conv2d(nn::Conv2dOptions(in, out, size)); }

std::vector<Model> models() {
  return {
      {"1-16-1, b 100", [] { return nn::Sequential(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1)); },
       [] {
         auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
         return levin::Batch{x, 2 * x + 1};
       },
       [](const Tensor& a, const Tensor& b) { return torch::mse_loss(a, b); }, 2000},
      {"MLP 784-128-10, b 64",
       [] { return nn::Sequential(nn::Linear(784, 128), nn::ReLU(), nn::Linear(128, 10)); },
       [] { return levin::Batch{torch::randn({64, 784}), torch::randint(10, {64})}; }, cross_entropy, 100},
      {"MLP with BatchNorm and dropout, b 64",
       [] {
         return nn::Sequential(nn::Linear(784, 128), nn::BatchNorm1d(128), nn::ReLU(), nn::Dropout(0.1),
                                             nn::Linear(128, 10));
       },
       [] { return levin::Batch{torch::randn({64, 784}), torch::randint(10, {64})}; }, cross_entropy, 100},
      {"CNN 8-16, b 64",
       [] {
         return nn::Sequential(conv(1, 8, 3), nn::ReLU(), nn::MaxPool2d(2), conv(8, 16, 3), nn::ReLU(),
                                             nn::MaxPool2d(2), nn::Flatten(), nn::Linear(400, 10));
       },
       [] { return images(64, 1, 28); }, cross_entropy, 10},
      {"LeNet 32-64, b 64",
       [] {
         return nn::Sequential(conv(1, 32, 5), nn::ReLU(), nn::MaxPool2d(2), conv(32, 64, 5), nn::ReLU(),
                                             nn::MaxPool2d(2), nn::Flatten(), nn::Linear(1024, 128), nn::ReLU(),
                                             nn::Linear(128, 10));
       },
       [] { return images(64, 1, 28); }, cross_entropy, 2},
  };
}

// Each way of taking a step, made anew for every model.
std::function<void()> eager_libtorch(const Model& model, const levin::Batch& batch) {
  auto net = model.make();
  auto optimizer = std::make_shared<torch::optim::Adam>(net->parameters(), torch::optim::AdamOptions(1e-3));
  return [=, loss = model.loss]() mutable {
    optimizer->zero_grad();
    loss(net->forward(batch[0]), batch[1]).backward();
    optimizer->step();
  };
}

std::function<void()> eager_levin(const Model& model, const levin::Batch& batch) {
  auto net = model.make();
  levin::optim::Adam optimizer(net->parameters(), {.lr = 1e-3});
  return [=, loss = model.loss]() mutable {
    optimizer.zero_grad();
    loss(net->forward(batch[0]), batch[1]).backward();
    optimizer.step();
  };
}

std::function<void()> compiled(const Model& model, const levin::Batch& batch, levin::CompileOptions options) {
  auto net = model.make();
  levin::optim::Adam optimizer(net->parameters(), {.lr = 1e-3});
  auto step = levin::compile_step(
      net, optimizer,
      [net, loss = model.loss](const levin::Batch& b) mutable { return loss(net->forward(b[0]), b[1]); },
      {.compile = options});
  return [step, batch]() mutable { step(batch); };
}

struct Lit : levin::Module {
  explicit Lit(const Model& model) : loss(model.loss), net(register_module("net", model.make())) {}
  Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto value = loss(net->forward(batch[0]), batch[1]);
    log("train_loss", value);
    return value;
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = 1e-3}); }
  std::function<Tensor(const Tensor&, const Tensor&)> loss;
  nn::Sequential net;
};

double trainer(const Model& model, const levin::Batch& batch, int steps) {
  Lit module(model);
  const auto folder = std::filesystem::temp_directory_path() / "levin_step_compiled";
  levin::Trainer trainer({.logger = levin::CSVLogger({.save_dir = folder.string()}), .max_epochs = steps,
                          .enable_checkpointing = false, .enable_progress_bar = false, .compile = true});
  levin::DataLoader loader(levin::TensorDataset({batch[0], batch[1]}), {.batch_size = batch.batch_size()});
  const auto since = Clock::now();
  trainer.fit(module, loader);
  const double us = microseconds(since, steps);
  std::filesystem::remove_all(folder);
  return us;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  torch::set_num_threads(1);
  levin::seed_everything(1);
  for (const Model& model : models()) {
    const auto batch = model.batch();
    const std::vector<std::pair<std::string, std::function<void()>>> ways = {
        {"LibTorch, eager", eager_libtorch(model, batch)},
        {"Levin, eager", eager_levin(model, batch)},
        {"Levin, compiled without fusion", compiled(model, batch, {.fuse = false})},
        {"Levin, compiled", compiled(model, batch, {})}};
    std::vector<std::vector<double>> us(ways.size() + 2);
    for (const auto& way : ways) {
      for (int i = 0; i < 3; ++i) way.second();
    }
    // In turns, so that a drift of the machine meets all.
    for (int round = 0; round < rounds; ++round) {
      for (size_t w = 0; w < ways.size(); ++w) {
        const auto since = Clock::now();
        for (int i = 0; i < model.steps; ++i) ways[w].second();
        us[w].push_back(microseconds(since, model.steps));
      }
      us[ways.size()].push_back(trainer(model, batch, 20 * model.steps));
      if (model.steps == 2000) {
        const auto parameters = torch::randn(levin::benchmarks::Limit::kParameters);
        levin::benchmarks::Limit limit(parameters.data_ptr<float>(), batch[0].const_data_ptr<float>(),
                                       batch[1].const_data_ptr<float>());
        const auto since = Clock::now();
        for (int i = 0; i < model.steps; ++i) limit.step();
        us[ways.size() + 1].push_back(microseconds(since, model.steps));
      }
    }
    for (size_t w = 0; w < ways.size(); ++w) print(model.name, ways[w].first, us[w]);
    print(model.name, "Levin, compiled, Trainer with one log", us[ways.size()]);
    if (!us.back().empty()) print(model.name, "written by hand, all fused", us.back());
  }
}
