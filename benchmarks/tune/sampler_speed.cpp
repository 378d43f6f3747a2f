// Seconds that a study in memory takes with a method, without the cost of an objective: the sum of squares.
// Usage: sampler_speed METHOD [trials] [parameters] [repeats]. Prints one line of JSON.
#include <levin/tune/samplers/registry.h>
#include <levin/tune/study.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  namespace tune = levin::tune;
  const auto argument = [&](int i, std::int64_t fallback) { return argc > i ? std::atoll(argv[i]) : fallback; };
  const std::string method = argc > 1 ? argv[1] : "tpe";
  const std::int64_t n_trials = argument(2, 1000), n_params = argument(3, 10), repeats = argument(4, 3);
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < n_params; ++i) names.push_back("x" + std::to_string(i));
  std::cout << "{\"method\": \"" << method << "\", \"trials\": " << n_trials << ", \"parameters\": " << n_params
            << ", \"seconds\": [";
  for (std::int64_t r = 0; r < repeats; ++r) {
    auto study =
        tune::create_study({.sampler = tune::make_sampler(method, {{"seed", r}}), .pruner = tune::NopPruner()});
    const auto start = std::chrono::steady_clock::now();
    study.optimize(
        [&](tune::Trial& trial) {
          double sum = 0;
          for (const auto& name : names) {
            const double x = trial.suggest_float(name, -5, 5);
            sum += x * x;
          }
          return sum;
        },
        {.n_trials = n_trials});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::cout << (r > 0 ? ", " : "") << seconds.count() << std::flush;
  }
  std::cout << "]}\n";
}
