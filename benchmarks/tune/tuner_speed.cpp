// What a Tuner costs when trials cost nothing: 10,000 trials of one step, and a population of 64 over 100
// perturbations. Prints `name seconds` lines, each the median of five runs.
#include <levin/tune/schedulers/async_hyperband.h>
#include <levin/tune/schedulers/pbt.h>
#include <levin/tune/tuner.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <vector>

namespace tune = levin::tune;

namespace {

struct Toy : tune::Trainable {
  void setup(const tune::Config& config) override { lr = config.get<double>("lr"); }
  tune::Metrics step() override { return {{"loss", loss *= 1 - lr}}; }
  tune::State save() const override { return {{"loss", loss}}; }
  void load(const tune::State& state) override { loss = state.get<double>("loss"); }
  double lr = 0, loss = 1;
};

void measure(const char* name, const std::function<void()>& body) {
  std::vector<double> seconds;
  for (int i = 0; i < 5; ++i) {
    const auto start = std::chrono::steady_clock::now();
    body();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::sort(seconds.begin(), seconds.end());
  std::printf("%s %.3f %.3f %.3f\n", name, seconds[2], seconds[1], seconds[3]);
}

}  // namespace

int main() {
  const tune::SearchSpace space{{"lr", tune::loguniform(1e-4, 1e-1)}};
  const auto search = [&](std::int64_t n, std::int64_t steps, const tune::SchedulerRef& scheduler) {
    tune::Tuner(tune::trainable<Toy>(), space,
                {.metric = "loss",
                 .num_samples = n,
                 .scheduler = scheduler,
                 .stop = {{"training_iteration", static_cast<double>(steps)}},
                 .seed = 0})
        .fit();
  };
  measure("fifo_10000_trials", [&] { search(10'000, 1, {}); });
  measure("asha_10000_trials", [&] { search(10'000, 27, tune::ASHAScheduler({.max_t = 27, .reduction_factor = 3})); });
  measure("pbt_64_members_100_perturbations", [&] {
    search(64, 401,
           tune::PopulationBasedTraining(
               {.perturbation_interval = 4, .mutations = {{"lr", tune::loguniform(1e-4, 1e-1)}}}));
  });
}
