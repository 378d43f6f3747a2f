// The best value that TPE reaches on Branin and Hartmann6 after 50 and 100 trials, for seeds 0 to 19.
// Usage: tpe_quality [seeds]. Prints one line of JSON: {"branin": {"50": [...], "100": [...]}, ...}.
#include "functions.h"

#include <levin/tune/samplers/tpe.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

namespace {

namespace tune = levin::tune;

double branin(tune::Trial& trial) {
  const double x = trial.suggest_float("x", -5, 10);
  return levin::benchmarks::branin(x, trial.suggest_float("y", 0, 15));
}

double hartmann6(tune::Trial& trial) {
  std::array<double, 6> x;
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = trial.suggest_float("x" + std::to_string(i), 0, 1);
  return levin::benchmarks::hartmann6(x);
}

void run(const std::string& name, const std::function<double(tune::Trial&)>& objective, std::int64_t seeds) {
  std::vector<double> at_50, at_100;
  for (std::int64_t seed = 0; seed < seeds; ++seed) {
    auto study = tune::create_study({.sampler = tune::TPESampler({.seed = static_cast<std::uint64_t>(seed)})});
    double best = std::numeric_limits<double>::infinity();
    study.optimize(objective, {.n_trials = 100, .callbacks = {[&](tune::Study&, const tune::FrozenTrial& trial) {
                                                  best = std::min(best, trial.value());
                                                  if (trial.number == 49) at_50.push_back(best);
                                                }}});
    at_100.push_back(best);
  }
  const auto print = [](const std::vector<double>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) std::cout << (i > 0 ? ", " : "") << values[i];
  };
  std::cout << '"' << name << "\": {\"50\": [";
  print(at_50);
  std::cout << "], \"100\": [";
  print(at_100);
  std::cout << "]}";
}

}  // namespace

int main(int argc, char** argv) {
  const std::int64_t seeds = argc > 1 ? std::atoll(argv[1]) : 20;
  std::cout.precision(17);
  std::cout << '{';
  run("branin", branin, seeds);
  std::cout << ", ";
  run("hartmann6", hartmann6, seeds);
  std::cout << "}\n";
}
