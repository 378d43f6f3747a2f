// Seconds that a study in memory takes with a method, without the cost of an objective: the sum of squares of its
// parameters, and for the genetic methods the first of them as a second objective.
// Usage: sampler_speed METHOD [trials] [parameters] [repeats]. Prints one line of JSON: the seconds, and of the last
// repeat how long a trial took around some numbers of trials, as [[trials, microseconds], ...].
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
  using Clock = std::chrono::steady_clock;
  const auto argument = [&](int i, std::int64_t fallback) { return argc > i ? std::atoll(argv[i]) : fallback; };
  const std::string method = argc > 1 ? argv[1] : "tpe";
  const std::int64_t n_trials = argument(2, 1000), n_params = argument(3, 10), repeats = argument(4, 3);
  const std::size_t n_objectives = method == "nsga2" || method == "nsga3" ? 2 : 1;
  std::vector<std::string> names;
  for (std::int64_t i = 0; i < n_params; ++i) names.push_back("x" + std::to_string(i));
  std::cout << "{\"method\": \"" << method << "\", \"trials\": " << n_trials << ", \"parameters\": " << n_params
            << ", \"seconds\": [";
  std::vector<Clock::time_point> moments;
  for (std::int64_t r = 0; r < repeats; ++r) {
    auto study = tune::create_study({.sampler = tune::make_sampler(method, {{"seed", r}}),
                                     .pruner = tune::NopPruner(),
                                     .directions = std::vector(n_objectives, tune::Direction::minimize)});
    moments.assign(1, Clock::now());
    study.optimize(
        [&](tune::Trial& trial) {
          double sum = 0, first = 0;
          for (const auto& name : names) {
            const double x = trial.suggest_float(name, -5, 5);
            if (&name == &names.front()) first = x;
            sum += x * x;
          }
          moments.push_back(Clock::now());
          return n_objectives == 1 ? std::vector{sum} : std::vector{first, sum};
        },
        {.n_trials = n_trials});
    std::cout << (r > 0 ? ", " : "") << std::chrono::duration<double>(Clock::now() - moments.front()).count()
              << std::flush;
  }
  std::cout << "], \"growth\": [";
  const char* separator = "";
  for (std::size_t at = 500; at < moments.size(); at *= 2) {
    const std::size_t first = at - at / 10;  // a mean over the tenth before
    const std::chrono::duration<double, std::micro> time = moments[at] - moments[first];
    std::cout << separator << '[' << at << ", " << time.count() / static_cast<double>(at - first) << ']';
    separator = ", ";
  }
  std::cout << "]}\n";
}
