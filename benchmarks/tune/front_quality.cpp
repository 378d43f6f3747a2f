// The hypervolumes that methods for several objectives reach on ZDT and DTLZ problems, and on one with constraints.
// Usage: front_quality METHOD [trials] [seeds] [zdt1,zdt2,...]. Prints one line of JSON: {"zdt1": [...], ...}.
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
#include <utility>
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

// Binh and Korn 1997.
Values bnh(tune::Trial& trial) {
  const double x = trial.suggest_float("x", 0, 5), y = trial.suggest_float("y", 0, 3);
  trial.set_constraint("near", std::pow(x - 5, 2) + y * y - 25);
  trial.set_constraint("far", 7.7 - std::pow(x - 8, 2) - std::pow(y + 3, 2));
  return {4 * x * x + 4 * y * y, std::pow(x - 5, 2) + std::pow(y - 5, 2)};
}

struct Problem {
  std::string name;
  std::function<Values(tune::Trial&)> objective;
  Values reference;
};
const std::vector<Problem> problems{
    {"zdt1", zdt1, {1.1, 6}}, {"zdt2", zdt2, {1.1, 6}}, {"zdt3", zdt3, {1.1, 6}}, {"dtlz2", dtlz2, {2, 2, 2}}, {"bnh", bnh, {140, 50}}};

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::int64_t fallback) { return argc > i ? std::atoll(argv[i]) : fallback; };
  const std::string method = argc > 1 ? argv[1] : "nsga2";
  const std::int64_t n_trials = argument(2, 500), n_seeds = argument(3, 20);
  const std::string wanted = "," + std::string(argc > 4 ? argv[4] : "zdt1,zdt2,zdt3,dtlz2") + ",";
  std::cout.precision(17);
  const char* separator = "{\"";
  for (const auto& problem : problems) {
    if (wanted.find("," + problem.name + ",") == std::string::npos) continue;
    std::cout << std::exchange(separator, "], \"") << problem.name << "\": [";
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
