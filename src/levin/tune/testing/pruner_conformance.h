// What every pruner must do, as tests: instantiate PrunerConformance with the ways to make your pruner.
#pragma once

#include <levin/tune/pruners/pruner.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

namespace levin::tune::testing {

struct PrunerFactory {
  std::string name;
  std::function<PrunerRef()> make;
  friend std::ostream& operator<<(std::ostream& out, const PrunerFactory& factory) { return out << factory.name; }
};

class PrunerConformance : public ::testing::TestWithParam<PrunerFactory> {
 protected:
  static Study study(Direction direction = Direction::minimize) {
    return create_study({.sampler = RandomSampler({.seed = 1}), .pruner = GetParam().make(), .direction = direction});
  }
};

TEST_P(PrunerConformance, NothingIsPrunedBeforeAReport) {
  auto s = study();
  for (int i = 0; i < 10; ++i) {
    auto trial = s.ask();
    EXPECT_FALSE(trial.should_prune());
    s.tell(trial, 1.0);
  }
}

TEST_P(PrunerConformance, TheBestTrialIsNotPruned) {
  for (const auto direction : {Direction::minimize, Direction::maximize}) {
    auto s = study(direction);
    const double sign = direction == Direction::minimize ? 1 : -1;
    for (int i = 0; i < 20; ++i) {
      auto trial = s.ask();
      for (int step = 0; step < 20; ++step) {
        trial.report(sign * (100 - i - step), step);  // each trial is better than all before it
        EXPECT_FALSE(trial.should_prune()) << "trial " << i << " step " << step;
      }
      s.tell(trial, sign * (100 - i));
    }
  }
}

TEST_P(PrunerConformance, AskingChangesNothing) {
  auto s = study();
  for (int i = 0; i < 30; ++i) {
    auto trial = s.ask();
    bool pruned = false;
    for (int step = 1; step <= 9 && !pruned; ++step) {
      trial.report(i + 1.0 / step, step);
      const auto before = trial.frozen().intermediate_values.size();
      pruned = trial.should_prune();
      EXPECT_EQ(trial.frozen().intermediate_values.size(), before);
      EXPECT_EQ(trial.frozen().state, TrialState::running);
    }
    pruned ? s.tell(trial, TrialState::pruned) : s.tell(trial, 1.0 * i);
  }
}

TEST_P(PrunerConformance, OddReportsDoNoHarm) {
  auto s = study();
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  s.optimize(
      [&](Trial& trial) {
        const double values[] = {1.0, inf, nan, -inf, 0.0};
        for (int step = 0; step < 10; ++step) {
          trial.report(values[(trial.number() + step) % 5], step * step);
          if (trial.should_prune()) throw TrialPruned();
        }
        return 1.0;
      },
      {.n_trials = 40});
  EXPECT_TRUE(s.trials({TrialState::running}).empty());
}

TEST_P(PrunerConformance, ThreadsMayAskAtOnce) {
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1);
        for (int step = 1; step <= 16; ++step) {
          trial.report(x + 1.0 / step, step);
          if (trial.should_prune()) throw TrialPruned();
        }
        return x;
      },
      {.n_trials = 60, .n_jobs = 6});
  EXPECT_EQ(s.trials({TrialState::complete}).size() + s.trials({TrialState::pruned}).size(), 60u);
}

/** The same for pruners that say that they judge several objectives. */
class MultiObjectivePrunerConformance : public ::testing::TestWithParam<PrunerFactory> {
 protected:
  static Study study() {
    return create_study({.sampler = RandomSampler({.seed = 1}),
                         .pruner = GetParam().make(),
                         .directions = {Direction::minimize, Direction::maximize}});
  }
};

TEST_P(MultiObjectivePrunerConformance, SaysThatItJudgesThem) {
  const PrunerRef pruner = GetParam().make();
  EXPECT_TRUE(pruner.get()->judges_several_objectives());
}

TEST_P(MultiObjectivePrunerConformance, ATrialThatDominatesAllIsNotPruned) {
  auto s = study();
  for (int i = 0; i < 20; ++i) {
    auto trial = s.ask();
    EXPECT_FALSE(trial.should_prune());
    for (int step = 0; step < 20; ++step) {
      trial.report({100.0 - i - step, 1.0 * i + step}, step);
      EXPECT_FALSE(trial.should_prune()) << "trial " << i << " step " << step;
    }
    s.tell(trial, {100.0 - i, 1.0 * i});
  }
}

TEST_P(MultiObjectivePrunerConformance, OddReportsDoNoHarm) {
  auto s = study();
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  s.optimize(
      [&](Trial& trial) {
        const double values[] = {1.0, inf, nan, -inf, 0.0};
        for (int step = 0; step < 10; ++step) {
          trial.report({values[(trial.number() + step) % 5], values[(trial.number() * 3 + step) % 5]}, step * step);
          if (trial.should_prune()) throw TrialPruned();
        }
        return std::vector<double>{1.0, 1.0};
      },
      {.n_trials = 40, .n_jobs = 4});
  EXPECT_TRUE(s.trials({TrialState::running}).empty());
}

}  // namespace levin::tune::testing
