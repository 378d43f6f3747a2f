// The search alone: no LibTorch on the link line.
#include <levin/tune/tune.h>

#include <cmath>
#include <iostream>

int main() {
  auto study = levin::tune::create_study({.sampler = levin::tune::TPESampler({.seed = 1})});
  study.optimize([](levin::tune::Trial& trial) { return std::pow(trial.suggest_float("x", -10, 10) - 2, 2); },
                 {.n_trials = 60});
  std::cout << "best x " << study.best_params().get<double>("x") << '\n';
  return study.best_value() < 0.5 ? 0 : 1;
}
