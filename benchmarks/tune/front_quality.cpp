// The hypervolumes that methods for several objectives reach on ZDT and DTLZ problems.
// Usage: front_quality METHOD [trials] [seeds]. Prints one line of JSON: {"zdt1": [...], ...}.
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/registry.h>
#include <levin/tune/study.h>

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <numbers>
#include <string>
#include <vector>

namespace {

namespace tune = levin::tune;
using Values = std::vector<double>;

Values ask(tune::Trial& trial, int n) {
  Values x;
  for (int i = 0; i < n; ++i) x.push_back(trial.suggest_float("x" + std::to_string(i), 0, 1));
  return x;
}

// Zitzler, Deb and Thiele 2000.
double zdt_g(const Values& x) {
  double sum = 0;
  for (std::size_t i = 1; i < x.size(); ++i) sum += x[i];
  return 1 + 9 * sum / static_cast<double>(x.size() - 1);
}
Values zdt1(tune::Trial& trial) {
  const auto x = ask(trial, 10);
  const double g = zdt_g(x);
  return {x[0], g * (1 - std::sqrt(x[0] / g))};
}
Values zdt2(tune::Trial& trial) {
  const auto x = ask(trial, 10);
  const double g = zdt_g(x);
  return {x[0], g * (1 - std::pow(x[0] / g, 2))};
}
Values zdt3(tune::Trial& trial) {
  const auto x = ask(trial, 10);
  const double g = zdt_g(x), r = x[0] / g;
  return {x[0], g * (1 - std::sqrt(r) - r * std::sin(10 * std::numbers::pi * x[0]))};
}
// Deb, Thiele, Laumanns and Zitzler 2005, with three objectives.
Values dtlz2(tune::Trial& trial) {
  const auto x = ask(trial, 7);
  double g = 0;
  for (std::size_t i = 2; i < x.size(); ++i) g += (x[i] - 0.5) * (x[i] - 0.5);
  const double a = x[0] * std::numbers::pi / 2, b = x[1] * std::numbers::pi / 2;
  return {(1 + g) * std::cos(a) * std::cos(b), (1 + g) * std::cos(a) * std::sin(b), (1 + g) * std::sin(a)};
}

struct Problem {
  std::string name;
  std::function<Values(tune::Trial&)> objective;
  Values reference;
};
const std::vector<Problem> problems{
    {"zdt1", zdt1, {1.1, 6}}, {"zdt2", zdt2, {1.1, 6}}, {"zdt3", zdt3, {1.1, 6}}, {"dtlz2", dtlz2, {2, 2, 2}}};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::int64_t fallback) { return argc > i ? std::atoll(argv[i]) : fallback; };
  const std::string method = argc > 1 ? argv[1] : "nsga2";
  const std::int64_t n_trials = argument(2, 500), n_seeds = argument(3, 20);
  std::cout.precision(17);
  for (const auto& problem : problems) {
    std::cout << (&problem == &problems.front() ? "{\"" : "], \"") << problem.name << "\": [";
    for (std::int64_t seed = 0; seed < n_seeds; ++seed) {
      auto study = tune::create_study(
          {.sampler = tune::make_sampler(method, {{"seed", seed}}),
           .directions = std::vector<tune::Direction>(problem.reference.size(), tune::Direction::minimize)});
      study.optimize(problem.objective, {.n_trials = n_trials});
      std::cout << (seed > 0 ? ", " : "")
                << tune::hypervolume(study.trials(), study.directions(), problem.reference);
    }
  }
  std::cout << "]}\n";
}
