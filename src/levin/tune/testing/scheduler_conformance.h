// What every scheduler must do, as tests: instantiate SchedulerConformance with the ways to make your scheduler.
#pragma once

#include <levin/tune/tuner.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace levin::tune::testing {

/** How to make a scheduler for trials of at most 27 steps that mutate, if at all, the parameter "x" in [0, 1]. */
struct SchedulerFactory {
  std::string name;
  std::function<SchedulerRef()> make;
  friend std::ostream& operator<<(std::ostream& out, const SchedulerFactory& factory) { return out << factory.name; }
};

class SchedulerConformance : public ::testing::TestWithParam<SchedulerFactory> {
 protected:
  /** Its loss is its quality, an entry of `grid_search`, plus what falls with every step. */
  struct Curve : Trainable {
    void setup(const Config& config) override {
      quality = config.get<double>("quality");
      x = config.get<double>("x");
    }
    Metrics step() override {
      ++steps;
      return {{"loss", sign * (quality + 1.0 / static_cast<double>(steps))}, {"x", x}};
    }
    State save() const override { return {{"steps", steps}}; }
    void load(const State& state) override { steps = state.get<std::int64_t>("steps"); }

    double quality = 0, x = 0, sign = 1;
    std::int64_t steps = 0;
  };
  /** Fails at its third step for some configs, again and again. */
  struct Failing : Curve {
    Metrics step() override {
      if (steps == 2 && std::lround(quality) % 5 == 2) throw std::runtime_error("on purpose");
      return Curve::step();
    }
  };
  struct Odd : Curve {
    Metrics step() override {
      Metrics metrics = Curve::step();
      const double odd[] = {1.0, std::numeric_limits<double>::infinity(), std::nan(""), -1.0};
      metrics["loss"] = odd[(steps + std::lround(quality)) % 4];
      return metrics;
    }
  };
  struct Rising : Curve {
    Rising() { sign = -1; }
  };

  static SearchSpace space(int n = 30) {
    List qualities;
    for (int i = 0; i < n; ++i) qualities.push_back(static_cast<double>((7 * i + 9) % n));  // trial 3 is the best of 30
    return {{"quality", grid_search(qualities)}, {"x", uniform(0, 1)}};
  }
  static TunerOptions options() {
    return {.metric = "loss", .scheduler = GetParam().make(), .stop = {{"training_iteration", 27}}, .seed = 1};
  }
  static void expect_accounted(const Tuner& tuner, const ResultGrid& results, std::size_t n) {
    EXPECT_EQ(results.size(), n);
    const auto trials = tuner.study().trials();
    ASSERT_EQ(trials.size(), n);
    for (std::size_t i = 0; i < n; ++i) {
      EXPECT_TRUE(is_finished(trials[i].state)) << "trial " << i;
      EXPECT_EQ(trials[i].state, results[i].state) << "trial " << i;
    }
  }
};

TEST_P(SchedulerConformance, EveryTrialEnds) {
  Tuner tuner(trainable<Curve>(), space(), options());
  const auto results = tuner.fit();
  expect_accounted(tuner, results, 30);
  EXPECT_TRUE(results.errors().empty());
  for (const auto& result : results) EXPECT_LE(result.history.back().first, 27);
}

TEST_P(SchedulerConformance, TheBestTrialGoesAsFarAsAny) {
  const auto results = Tuner(trainable<Curve>(), space(), options()).fit();
  std::int64_t furthest = 0, best = 0;
  for (const auto& result : results) {
    const auto steps = result.metrics.get<std::int64_t>("training_iteration");
    furthest = std::max(furthest, steps);
    if (result.config.get<double>("quality") == 0) best = std::max(best, steps);
  }
  EXPECT_EQ(best, furthest);
}

TEST_P(SchedulerConformance, BothDirectionsAreAlike) {
  const auto falling = Tuner(trainable<Curve>(), space(), options()).fit();
  TunerOptions other = options();
  other.mode = Mode::max;
  const auto rising = Tuner(trainable<Rising>(), space(), other).fit();
  ASSERT_EQ(falling.size(), rising.size());
  for (std::size_t i = 0; i < falling.size(); ++i) {
    EXPECT_EQ(falling[i].state, rising[i].state);
    EXPECT_EQ(falling[i].config, rising[i].config);
    EXPECT_EQ(falling[i].history.size(), rising[i].history.size());
  }
}

TEST_P(SchedulerConformance, ASeedMakesItRepeatable) {
  const auto run = [] {
    TunerOptions opts = options();
    opts.max_concurrent_trials = 3;
    return Tuner(trainable<Curve>(), space(), opts).fit();
  };
  const auto first = run(), second = run();
  ASSERT_EQ(first.size(), second.size());
  for (std::size_t i = 0; i < first.size(); ++i) {
    EXPECT_EQ(first[i].state, second[i].state) << "trial " << i;
    EXPECT_EQ(first[i].config, second[i].config) << "trial " << i;
    EXPECT_EQ(first[i].history, second[i].history) << "trial " << i;
  }
}

TEST_P(SchedulerConformance, FailuresDoNoHarm) {
  for (const std::int64_t retries : {0, 2}) {
    TunerOptions opts = options();
    opts.failure.max_failures = retries;
    Tuner tuner(trainable<Failing>(), space(), opts);
    const auto results = tuner.fit();
    expect_accounted(tuner, results, 30);
    EXPECT_GE(results.num_errors(), 1u);
    EXPECT_LE(results.num_errors(), 6u);
    for (const auto* failed : results.errors()) EXPECT_EQ(failed->error, "on purpose");
  }
}

TEST_P(SchedulerConformance, OddMetricsDoNoHarm) {
  Tuner tuner(trainable<Odd>(), space(12), options());
  expect_accounted(tuner, tuner.fit(), 12);
}

TEST_P(SchedulerConformance, TrialsMayRunAtOnce) {
  TunerOptions opts = options();
  opts.seed.reset();
  opts.max_concurrent_trials = 4;
  Tuner tuner(trainable<Curve>(), space(), opts);
  const auto results = tuner.fit();
  expect_accounted(tuner, results, 30);
  EXPECT_TRUE(results.errors().empty());
}

TEST_P(SchedulerConformance, OneTrialRunsToItsEnd) {
  TunerOptions opts = options();
  Tuner tuner(trainable<Curve>(), {{"quality", 0.0}, {"x", uniform(0, 1)}}, opts);
  const auto results = tuner.fit();
  expect_accounted(tuner, results, 1);
}

TEST_P(SchedulerConformance, ASecondSearchStartsAnew) {
  TunerOptions opts = options();
  const auto first = Tuner(trainable<Curve>(), space(), opts).fit();
  const auto second = Tuner(trainable<Curve>(), space(), opts).fit();  // the same scheduler object
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_EQ(first[i].history, second[i].history) << "trial " << i;
}

}  // namespace levin::tune::testing
