// NSGA-II and NSGA-III: seconds for a study in memory, and the hypervolumes they reach on ZDT and DTLZ problems.
// Usage: genetic speed TRIALS PARAMETERS REPEATS | genetic quality TRIALS SEEDS. Prints one line of JSON.
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/study.h>

#include <chrono>
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

void print(const std::string& name, const std::vector<double>& values, bool last) {
  std::cout << '"' << name << "\": [";
  for (std::size_t i = 0; i < values.size(); ++i) std::cout << (i > 0 ? ", " : "") << values[i];
  std::cout << (last ? "]" : "], ");
}

void speed(std::int64_t n_trials, std::int64_t n_params, std::int64_t repeats) {
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < n_params; ++i) names.push_back("x" + std::to_string(i));
  std::vector<double> seconds;
  for (std::int64_t r = 0; r < repeats; ++r) {
    auto study = tune::create_study({.sampler = tune::NSGAIISampler({.seed = static_cast<std::uint64_t>(r)}),
                                     .directions = {tune::Direction::minimize, tune::Direction::minimize}});
    const auto start = std::chrono::steady_clock::now();
    study.optimize(
        [&](tune::Trial& trial) {
          double sum = 0, first = 0;
          for (const auto& name : names) {
            const double x = trial.suggest_float(name, 0, 1);
            if (&name == &names.front()) first = x;
            sum += x;
          }
          return Values{first, sum};
        },
        {.n_trials = n_trials});
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  print("seconds", seconds, true);
}

void quality(std::int64_t n_trials, std::int64_t seeds) {
  struct Problem {
    std::string name;
    std::function<Values(tune::Trial&)> objective;
    Values reference;
  };
  const std::vector<Problem> problems{
      {"zdt1", zdt1, {1.1, 6}}, {"zdt2", zdt2, {1.1, 6}}, {"zdt3", zdt3, {1.1, 6}}, {"dtlz2", dtlz2, {2, 2, 2}}};
  for (const auto& sampler : {"nsga2", "nsga3"}) {
    for (const auto& problem : problems) {
      std::vector<double> volumes;
      for (std::int64_t s = 0; s < seeds; ++s) {
        const auto seed = static_cast<std::uint64_t>(s);
        const tune::SamplerRef ref = std::string(sampler) == "nsga2"
                                         ? tune::SamplerRef(tune::NSGAIISampler({.seed = seed}))
                                         : tune::SamplerRef(tune::NSGAIIISampler({.seed = seed}));
        auto study = tune::create_study(
            {.sampler = ref,
             .directions = std::vector<tune::Direction>(problem.reference.size(), tune::Direction::minimize)});
        study.optimize(problem.objective, {.n_trials = n_trials});
        volumes.push_back(tune::hypervolume(study.trials(), study.directions(), problem.reference));
      }
      const bool last = std::string(sampler) == "nsga3" && problem.name == problems.back().name;
      print(std::string(sampler) + " " + problem.name, volumes, last);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto argument = [&](int i, std::int64_t fallback) { return argc > i ? std::atoll(argv[i]) : fallback; };
  const std::string what = argc > 1 ? argv[1] : "speed";
  std::cout.precision(17);
  std::cout << '{';
  if (what == "speed") {
    speed(argument(2, 10000), argument(3, 10), argument(4, 3));
  } else {
    quality(argument(2, 500), argument(3, 20));
  }
  std::cout << "}\n";
}
