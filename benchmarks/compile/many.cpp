// Many small trainings in one process, all of the blog post's network (1-16-1, batch 100, Adam, squared error): a line
// of JSON a measurement. Usage: many [rounds]
#include <levin/compile/code_cache.h>
#include <levin/levin.h>

#include <chrono>
#include <cstdlib>
#include <iostream>

namespace nn = torch::nn;
namespace tune = levin::tune;

namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); }

levin::Batch line() {
  auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
  return {x, 2 * x + 1};
}

nn::Sequential net() { return nn::Sequential(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1)); }

levin::CompiledStep make_step(double lr) {
  auto model = net();
  levin::optim::Adam optimizer(model->parameters(), {.lr = lr});
  return levin::compile_step(model, optimizer, [model](const levin::Batch& b) mutable {
    return torch::mse_loss(model->forward(b[0]), b[1]);
  });
}

double study(int trials, int jobs) {
  const auto batch = line();
  auto study = tune::create_study({.sampler = tune::RandomSampler({.seed = 0})});
  const auto since = Clock::now();
  study.optimize(
      [&](tune::Trial& trial) {
        auto step = make_step(trial.suggest_float("lr", 1e-4, 1e-1, {.log = true}));
        for (int i = 0; i < 99; ++i) step(batch);
        return step(batch).item<double>();
      },
      {.n_trials = trials, .n_jobs = jobs});
  return seconds(since);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  torch::set_num_threads(1);
  levin::seed_everything(1);
  levin::console::set_level(levin::console::Level::warning);
  const auto batch = line();
  for (int r = 0; r < rounds; ++r) {
    levin::compile::CodeCache::instance().clear();
    for (const char* name : {"capture", "hit"}) {
      auto since = Clock::now();
      auto step = make_step(0.01);
      const double made = seconds(since);
      since = Clock::now();
      step(batch);
      const double first = seconds(since);
      since = Clock::now();
      for (int i = 0; i < 1000; ++i) step(batch);
      std::cout << name << " make " << made * 1e6 << " first " << first * 1e6 << " us, step " << seconds(since) * 1e3 << " us\n";
    }
    for (int jobs : {1, 2}) {
      std::cout << "study " << jobs << ": 100 " << study(100, jobs) << " s, 1000 " << study(1000, jobs) << " s\n";
    }
  }
}
