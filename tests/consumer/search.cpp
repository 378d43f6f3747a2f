// The search alone: no LibTorch on the link line.
#include <levin/tune/tune.h>

#include <cmath>
#include <fstream>
#include <iostream>

namespace tune = levin::tune;

double objective(tune::Trial& trial) {
  const auto checkpoint = trial.checkpoint_dir() / "epoch";
  int epoch = 0;
  std::ifstream(checkpoint) >> epoch;  // nothing there: a first run
  const double lr = trial.suggest_float("lr", 1e-4, 1e-1, {.log = true});
  double loss = 1;
  for (; epoch < 10; ++epoch) {
    loss = std::abs(std::log10(lr) + 2.5) / (epoch + 1);
    std::ofstream(checkpoint) << epoch + 1;
  }
  return loss;
}

// A search that others may join and go on with.
void search_on_disk() {
  auto study = tune::create_study({.storage = "journal:///search.log",
                                   .study_name = "search",
                                   .load_if_exists = true,
                                   .heartbeat = tune::HeartbeatOptions{.interval = 60, .max_retry = 2}});
  study.optimize(objective, {.n_trials = 3});
}

int main() {
  search_on_disk();
  auto study = levin::tune::create_study({.sampler = levin::tune::TPESampler({.seed = 1})});
  study.optimize([](levin::tune::Trial& trial) { return std::pow(trial.suggest_float("x", -10, 10) - 2, 2); },
                 {.n_trials = 60});
  std::cout << "best x " << study.best_params().get<double>("x") << '\n';
  return study.best_value() < 0.5 ? 0 : 1;
}
