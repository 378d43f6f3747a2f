// Microseconds a training step of several models: eager LibTorch, eager Levin, compiled, the Trainer. A line of JSON a
// run: {"model", "name", "us": [...]}. Usage: step_compiled [rounds [part of a model's name
// [threads]]]. On one thread it is the processor's time, on several that of the clock.
// step_compiled memory eager|compiled [part of a model's name]: some steps of one model, and the process's peak of memory
// over what it had before: {"model", "name", "mib": [...]}.
#include "limit.h"
#include "models.h"

#include <levin/compile/code_cache.h>
#include <levin/levin.h>

#include <malloc.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>

namespace nn = torch::nn;
using levin::benchmarks::Model;
using torch::Tensor;

namespace {

/** What the processor has worked for this process, which other work on the machine disturbs least; of threads the clock. */
double now() {
  timespec time;
  clock_gettime(torch::get_num_threads() == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) * 1e-3;
}

double microseconds(double since, int steps) { return (now() - since) / steps; }

void print(const std::string& model, const std::string& name, const std::vector<double>& us) {
  std::cout << "{\"model\": \"" << model << "\", \"name\": \"" << name << "\", \"us\": [";
  for (size_t i = 0; i < us.size(); ++i) std::cout << (i ? ", " : "") << us[i];
  std::cout << "]}" << std::endl;
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

levin::CompiledStep compiled_step(const Model& model, levin::CompileOptions options) {
  auto net = model.make();
  levin::optim::Adam optimizer(net->parameters(), {.lr = 1e-3});
  return levin::compile_step(
      net, optimizer,
      [net, loss = model.loss](const levin::Batch& b) mutable { return loss(net->forward(b[0]), b[1]); },
      {.compile = options});
}

std::function<void()> compiled(const Model& model, const levin::Batch& batch, levin::CompileOptions options) {
  return [step = compiled_step(model, options), batch]() mutable { step(batch); };
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

// A whole fit over a dataset of so many batches.
double fit(const Model& model, const levin::Batch& batch, int batches, int steps) {
  Lit module(model);
  const auto folder = std::filesystem::temp_directory_path() / "levin_step_compiled";
  levin::Trainer trainer({.logger = levin::CSVLogger({.save_dir = folder.string()}),
                          .max_epochs = steps / batches,
                          .enable_checkpointing = false,
                          .enable_progress_bar = false,
                          .compile = true});
  const std::vector<Tensor> x(static_cast<size_t>(batches), batch[0]), y(static_cast<size_t>(batches), batch[1]);
  levin::DataLoader loader(levin::TensorDataset({torch::cat(x), torch::cat(y)}), {.batch_size = batch.batch_size()});
  const auto since = now();
  trainer.fit(module, loader);
  const double us = now() - since;
  std::filesystem::remove_all(folder);
  return us;
}

// A step of the Trainer: what a longer run takes more, which leaves the capture out.
double trainer(const Model& model, const levin::Batch& batch, int batches, int steps) {
  const auto whole_epochs = [&](int of) { return (of + batches - 1) / batches * batches; };
  const int longer = whole_epochs(steps), shorter = whole_epochs(std::max(steps / 4, 1));
  fit(model, batch, batches, shorter);  // the first of its structure, whose capture takes longer
  const double begin = fit(model, batch, batches, shorter);
  return (fit(model, batch, batches, shorter + longer) - begin) / longer;
}

/** A step whose memory the system supplies anew, as it does for the one that is recorded. */
double in_new_memory(const std::function<void()>& step) {
  malloc_trim(0);
  const auto since = now();
  step();
  return microseconds(since, 1);
}

/** The first step of a new training: capture, and where no step of its structure was met before, all that follows. */
double first_step(const Model& model, const levin::Batch& batch, bool met_before, std::string& parts) {
  if (!met_before) levin::compile::CodeCache::instance().clear();
  auto step = compiled_step(model, {});
  const auto since = now();
  step(batch);
  const double us = microseconds(since, 1);
  const std::string text = step.explain();
  const auto line = std::min(text.find("captured in"), text.size());
  parts = step.compiled() ? text.substr(line, text.find('\n', line) - line) : "refused";
  return us;
}

/** A number of /proc/self/status, in MiB. */
double memory(const std::string& what) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != what) continue;
    double kib = 0;
    status >> kib;
    return kib / 1024;
  }
  return 0;
}

int measure_memory(const std::string& way, const std::string& wanted) {
  for (const Model& model : levin::benchmarks::models()) {
    if (model.name.find(wanted) == std::string::npos) continue;
    {
      // What LibTorch takes for itself.
      const auto small = levin::benchmarks::models().front();
      const auto step = eager_libtorch(small, small.batch());
      step();
    }
    const double before = memory("VmRSS:");
    const auto batch = model.batch();
    const auto step = way == "eager" ? eager_libtorch(model, batch) : compiled(model, batch, {});
    for (int i = 0; i < 5; ++i) step();
    std::cout << "{\"model\": \"" << model.name << "\", \"name\": \"" << (way == "eager" ? "LibTorch, eager" : "Levin, compiled")
              << "\", \"mib\": [" << memory("VmHWM:") - before << "]}" << std::endl;
    return 0;
  }
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  torch::set_num_threads(argc > 3 && std::string(argv[1]) != "memory" ? std::atoi(argv[3]) : 1);
  levin::seed_everything(1);
  if (argc > 2 && std::string(argv[1]) == "memory") return measure_memory(argv[2], argc > 3 ? argv[3] : "");
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 7;
  const std::string wanted = argc > 2 ? argv[2] : "";
  for (const Model& model : levin::benchmarks::models()) {
    if (model.name.find(wanted) == std::string::npos) continue;
    const auto batch = model.batch();
    std::vector<std::pair<std::string, std::function<void()>>> ways = {
        {"LibTorch, eager", eager_libtorch(model, batch)},
        {"Levin, eager", eager_levin(model, batch)},
        {"Levin, compiled without fusion", compiled(model, batch, {.fuse = false})},
        {"Levin, compiled", compiled(model, batch, {})}};
    if (model.name.find("dropout") != std::string::npos) {
      ways.emplace_back("Levin, compiled, fast dropout", compiled(model, batch, {.fast_dropout = true}));
    }
    std::vector<double> captures, further, new_memory;
    std::string parts, parts_again;
    std::vector<std::vector<double>> us(ways.size() + 3);
    for (const auto& way : ways) {
      for (int i = 0; i < 3; ++i) way.second();
    }
    // In turns, so that a drift of the machine meets all.
    for (int round = 0; round < rounds; ++round) {
      captures.push_back(first_step(model, batch, false, parts));
      further.push_back(first_step(model, batch, true, parts_again));
      new_memory.push_back(in_new_memory(ways[0].second));
      for (size_t w = 0; w < ways.size(); ++w) {
        ways[w].second();  // fetches its memory again, which the others have driven out of the caches
        const auto since = now();
        for (int i = 0; i < model.steps; ++i) ways[w].second();
        us[w].push_back(microseconds(since, model.steps));
      }
      us[ways.size()].push_back(trainer(model, batch, 1, model.trainer_steps));
      if (model.has_limit) us[ways.size() + 1].push_back(trainer(model, batch, 10, model.trainer_steps));
      if (model.has_limit) {
        const auto parameters = torch::randn(levin::benchmarks::Limit::kParameters);
        levin::benchmarks::Limit limit(parameters.data_ptr<float>(), batch[0].const_data_ptr<float>(),
                                       batch[1].const_data_ptr<float>());
        const auto since = now();
        for (int i = 0; i < model.steps; ++i) limit.step();
        us[ways.size() + 2].push_back(microseconds(since, model.steps));
      }
    }
    for (size_t w = 0; w < ways.size(); ++w) print(model.name, ways[w].first, us[w]);
    print(model.name, "Levin, compiled, Trainer with one log, a batch an epoch", us[ways.size()]);
    if (model.has_limit) {
      print(model.name, "Levin, compiled, Trainer with one log, ten batches an epoch", us[ways.size() + 1]);
    }
    print(model.name, "LibTorch, eager, in new memory", new_memory);
    print(model.name, "Levin, first step: capture, lowering, check", captures);
    print(model.name, "Levin, first step of a further trial", further);
    std::cout << "{\"model\": \"" << model.name << "\", \"capture\": \"" << parts << "\", \"further\": \"" << parts_again
              << "\"}" << std::endl;
    if (!us.back().empty()) print(model.name, "written by hand, all fused", us.back());
  }
}
