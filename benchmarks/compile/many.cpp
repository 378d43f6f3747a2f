// Many small trainings in one process, all of the blog post's network (1-16-1, batch 100, Adam, squared error). A line
// of JSON a measurement: {"what", "name", "values": [...]}. Usage: many [rounds]
#include <levin/compile/code_cache.h>
#include <levin/levin.h>

#include <malloc.h>

#include <chrono>
#include <cstdlib>
#include <ctime>
#include <functional>
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
  return levin::compile_step(
      model, optimizer, [model](const levin::Batch& b) mutable { return torch::mse_loss(model->forward(b[0]), b[1]); });
}

/** Millions of steps a second of 64 trials on two threads, or a second of their cores; captures are done. */
double together(bool of_cores) {
  constexpr std::int64_t kTrials = 64, kSteps = 3000;
  const std::vector<levin::Batch> batches = {line()};
  std::vector<levin::CompiledStep> trials;
  for (int i = 0; i < kTrials; ++i) trials.push_back(make_step(1e-4 * (i + 1)));
  levin::run_together(trials, batches, 10, 2);
  const auto since = Clock::now();
  const std::clock_t cores = std::clock();
  levin::run_together(trials, batches, kSteps, 2);
  const double used = static_cast<double>(std::clock() - cores) / CLOCKS_PER_SEC;
  return kTrials * kSteps / (of_cores ? used : seconds(since)) / 1e6;
}

double study(int trials, const std::function<double(double lr)>& train) {
  auto study = tune::create_study();
  const auto since = Clock::now();
  study.optimize(
      [&](tune::Trial& trial) { return train(trial.suggest_float("lr", 1e-4, 1e-1, {.log = true})); },
      {.n_trials = trials, .n_jobs = 2});
  return seconds(since);
}

double by_steps(double lr) {
  static const std::vector<levin::Batch> batches = {line()};
  return make_step(lr).run(batches, 100);
}

struct Lit : levin::Module {
  explicit Lit(double rate) : lr(rate), net(register_module("net", ::net())) {}
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss);
    return loss;
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = lr}); }
  double lr;
  nn::Sequential net;
};

double by_trainer(double lr) {
  static const levin::TensorDataset data({line()[0].repeat({100, 1}), line()[1].repeat({100, 1})});
  Lit module(lr);
  levin::Trainer trainer({.logger = false, .max_epochs = 1, .enable_checkpointing = false,
                          .enable_progress_bar = false, .enable_model_summary = false, .compile = true});
  trainer.fit(module, levin::DataLoader(data, {.batch_size = 100}));
  return trainer.metric("train_loss");
}

/** KB that a trial takes on the heap: module, optimizer, step and program. */
double kilobytes() {
  constexpr int kTrials = 500;
  const auto batch = line();
  std::vector<levin::CompiledStep> trials;
  make_step(0.01)(batch);
  const auto before = mallinfo2().uordblks;
  for (int i = 0; i < kTrials; ++i) {
    trials.push_back(make_step(0.01));
    trials.back()(batch);
  }
  return static_cast<double>(mallinfo2().uordblks - before) / kTrials / 1024;
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 5;
  torch::set_num_threads(1);
  levin::seed_everything(1);
  levin::console::set_level(levin::console::Level::warning);
  struct Row {
    std::string what, name;
    std::function<double()> measure;
    std::vector<double> values = {};
  };
  std::vector<Row> rows = {
      {"64 trials on two threads, million steps a second", "Levin, run_together", [] { return together(false); }},
      {"64 trials, million steps a second of one core", "Levin, run_together", [] { return together(true); }},
      {"Study of 100 trials of 100 steps, seconds", "Levin, compile_step", [] { return study(100, by_steps); }},
      {"Study of 100 trials of 100 steps, seconds", "Levin, Trainer", [] { return study(100, by_trainer); }},
      {"Study of 1,000 trials of 100 steps, seconds", "Levin, compile_step", [] { return study(1000, by_steps); }},
      {"Study of 1,000 trials of 100 steps, seconds", "Levin, Trainer", [] { return study(1000, by_trainer); }},
      {"KB a trial, module and optimizer included", "Levin, compile_step", kilobytes},
  };
  for (int round = 0; round < rounds; ++round) {
    for (Row& row : rows) {
      levin::compile::CodeCache::instance().clear();
      row.values.push_back(row.measure());
    }
  }
  for (const Row& row : rows) {
    std::cout << "{\"what\": \"" << row.what << "\", \"name\": \"" << row.name << "\", \"values\": [";
    for (size_t i = 0; i < row.values.size(); ++i) std::cout << (i ? ", " : "") << row.values[i];
    std::cout << "]}" << std::endl;
  }
}
