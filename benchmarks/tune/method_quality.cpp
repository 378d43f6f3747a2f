// The best feasible values that methods reach on test functions and on five tasks of the LCBench surrogate after 50 and
// 100 trials. Usage: method_quality METHODS FUNCTIONS [seeds] [first seed] (comma-separated lists; "all"); run it where
// benchmarks/tune/lcbench lies, or set LEVIN_LCBENCH to that folder. Prints one line of JSON:
// {"tpe/branin": {"50": [...], "100": [...], "seconds": ...}, ...}. The same as optuna_quality.py does with Optuna.
#include "functions.h"
#include "lcbench/surrogate.h"

#include <levin/tune/samplers/registry.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <map>
#include <numbers>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace tune = levin::tune;
using tune::Trial;

constexpr double nothing = 1e9;  // no feasible trial
constexpr double pi = std::numbers::pi;

template <std::size_t n>
std::array<double, n> floats(Trial& trial, double low, double high) {
  std::array<double, n> x;
  for (std::size_t i = 0; i < n; ++i) x[i] = trial.suggest_float("x" + std::to_string(i), low, high);
  return x;
}

double branin(Trial& trial) {
  const double x = trial.suggest_float("x", -5, 10);
  return levin::benchmarks::branin(x, trial.suggest_float("y", 0, 15));
}

double hartmann6(Trial& trial) { return levin::benchmarks::hartmann6(floats<6>(trial, 0, 1)); }

double ackley5(Trial& trial) {
  double squares = 0, cosines = 0;
  for (const double x : floats<5>(trial, -32.768, 32.768)) squares += x * x / 5, cosines += std::cos(2 * pi * x) / 5;
  return -20 * std::exp(-0.2 * std::sqrt(squares)) - std::exp(cosines) + 20 + std::numbers::e;
}

double rosenbrock4(Trial& trial) {
  const auto x = floats<4>(trial, -5, 10);
  double sum = 0;
  for (std::size_t i = 0; i < 3; ++i) sum += 100 * std::pow(x[i + 1] - x[i] * x[i], 2) + std::pow(1 - x[i], 2);
  return sum;
}

double levy10(Trial& trial) {
  auto w = floats<10>(trial, -10, 10);
  for (double& v : w) v = 1 + (v - 1) / 4;
  double sum = std::pow(std::sin(pi * w[0]), 2) + std::pow(w[9] - 1, 2) * (1 + std::pow(std::sin(2 * pi * w[9]), 2));
  for (std::size_t i = 0; i < 9; ++i) sum += std::pow(w[i] - 1, 2) * (1 + 10 * std::pow(std::sin(pi * w[i] + 1), 2));
  return sum;
}

double mixed(Trial& trial) {
  const std::string kind = trial.suggest_categorical("kind", {"a", "b", "c", "d"});
  const auto n = static_cast<double>(trial.suggest_int("n", 1, 100, {.log = true}));
  const double lr = trial.suggest_float("lr", 1e-5, 1, {.log = true});
  static const std::map<std::string, double> base{{"a", 0.5}, {"b", 0.2}, {"c", 0.0}, {"d", 0.3}};
  const double loss = base.at(kind) + 0.1 * std::pow(std::log10(lr) + 3, 2) + 0.3 * std::pow(std::log10(n) - 1.2, 2);
  if (kind == "a" || kind == "b") {
    return loss + 0.02 * std::pow(static_cast<double>(trial.suggest_int("depth", 1, 8)) - 5, 2);
  }
  return loss + std::pow(trial.suggest_float("momentum", 0, 1) - 0.9, 2);
}

// Gardner et al. 2014, "Bayesian optimization with inequality constraints".
double gardner(Trial& trial) {
  const double x = trial.suggest_float("x", 0, 6), y = trial.suggest_float("y", 0, 6);
  trial.set_constraint("c", std::cos(x) * std::cos(y) - std::sin(x) * std::sin(y) + 0.5);
  return std::cos(2 * x) * std::cos(y) + std::sin(x);
}

double branin_disk(Trial& trial) {
  const double x = trial.suggest_float("x", -5, 10), y = trial.suggest_float("y", 0, 15);
  trial.set_constraint("c", std::pow(x - 2.5, 2) + std::pow(y - 7.5, 2) - 50);
  return levin::benchmarks::branin(x, y);
}

// The validation error in per cent after 52 epochs.
double lcbench(const std::string& task, Trial& trial) {
  static const levin::benchmarks::LCBench surrogate = [] {
    const char* folder = std::getenv("LEVIN_LCBENCH");
    levin::benchmarks::LCBench out(folder != nullptr ? folder : "benchmarks/tune/lcbench");
    if (const double difference = out.largest_difference(); !(difference < 3e-4)) {
      throw levin::Error({.what = "the surrogate does not compute what ONNX Runtime computes",
                          .value = "largest relative difference " + std::to_string(difference),
                          .where = {},
                          .hint = "run benchmarks/tune/lcbench/extract.py again"});
    }
    return out;
  }();
  const auto integer = [&](const char* name, std::int64_t low, std::int64_t high, bool log) {
    return static_cast<double>(trial.suggest_int(name, low, high, {.log = log}));
  };
  levin::benchmarks::LCBenchConfig config;
  config.batch_size = integer("batch_size", 16, 512, true);
  config.learning_rate = trial.suggest_float("learning_rate", 1e-4, 1e-1, {.log = true});
  config.momentum = trial.suggest_float("momentum", 0.1, 0.99);
  config.weight_decay = trial.suggest_float("weight_decay", 1e-5, 1e-1);
  config.num_layers = integer("num_layers", 1, 5, false);
  config.max_units = integer("max_units", 64, 1024, true);
  config.max_dropout = trial.suggest_float("max_dropout", 0, 1);
  return 100 - surrogate(task, config).val_accuracy;
}

using Objective = std::function<double(Trial&)>;
std::vector<std::pair<std::string, Objective>> all_functions() {
  std::vector<std::pair<std::string, Objective>> out{
      {"branin", branin}, {"hartmann6", hartmann6}, {"ackley5", ackley5}, {"rosenbrock4", rosenbrock4},
      {"levy10", levy10}, {"mixed", mixed},         {"gardner", gardner}, {"branin_disk", branin_disk}};
  for (const std::string task : {"3945", "7593", "34539", "126026", "189906"}) {
    out.emplace_back("lcbench_" + task, [task](Trial& trial) { return lcbench(task, trial); });
  }
  return out;
}

tune::SamplerRef sampler(const std::string& method, std::int64_t seed) {
  if (method == "tpe_univariate") return tune::make_sampler("tpe", {{"seed", seed}, {"multivariate", false}});
  if (method == "qmc") return tune::make_sampler("qmc", {{"seed", seed}, {"scramble", true}});
  return tune::make_sampler(method, {{"seed", seed}});
}

std::vector<std::string> list(const std::string& text, const std::vector<std::string>& all) {
  if (text == "all") return all;
  std::vector<std::string> out{""};
  for (const char c : text) {
    if (c == ',') {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

std::string json(const std::vector<double>& values) {
  std::string out;
  for (const double v : values) out += (out.empty() ? "[" : ", ") + levin::Value(v).to_string();
  return out + "]";
}

}  // namespace

int main(int argc, char** argv) {
  const auto functions = all_functions();
  std::vector<std::string> names;
  for (const auto& [name, objective] : functions) names.push_back(name);
  const auto methods = list(argc > 1 ? argv[1] : "all", {"random", "qmc", "tpe", "tpe_univariate", "cma", "nsga2", "gp", "auto"});
  const auto wanted = list(argc > 2 ? argv[2] : "all", names);
  const std::int64_t seeds = argc > 3 ? std::atoll(argv[3]) : 20;
  const std::int64_t first_seed = argc > 4 ? std::atoll(argv[4]) : 0;
  std::string out;
  for (const auto& method : methods) {
    for (const auto& [name, objective] : functions) {
      if (std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
      std::vector<double> at_50, at_100, seconds;
      for (std::int64_t seed = first_seed; seed < first_seed + seeds; ++seed) {
        auto study = tune::create_study({.sampler = sampler(method, seed), .pruner = tune::NopPruner()});
        const auto start = std::chrono::steady_clock::now();
        double best = nothing;
        const auto callback = [&](tune::Study&, const tune::FrozenTrial& trial) {
          if (trial.infeasibility() <= 0) best = std::min(best, trial.value());
          if (trial.number == 49) at_50.push_back(best);
        };
        study.optimize(objective, {.n_trials = 100, .callbacks = {callback}});
        at_100.push_back(best);
        seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
      }
      out += (out.empty() ? "{" : ", ") + ("\"" + method + "/" + name + "\": {\"50\": ") + json(at_50) +
             ", \"100\": " + json(at_100) + ", \"seconds\": " + json(seconds) + "}";
    }
  }
  std::cout << out << "}\n";
}
