// What every sampler must do, as tests: instantiate SamplerConformance with the ways to make your sampler.
#pragma once

#include <levin/tune/samplers/sampler.h>
#include <levin/tune/samplers/space_sampler.h>
#include <levin/tune/space.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

namespace levin::tune::testing {

struct SamplerFactory {
  std::string name;
  std::function<SamplerRef(std::uint64_t seed)> make;
  bool deterministic = true;  ///< the same seed and trials give the same values
  friend std::ostream& operator<<(std::ostream& out, const SamplerFactory& factory) { return out << factory.name; }
};

class SamplerConformance : public ::testing::TestWithParam<SamplerFactory> {
 protected:
  static Study study(std::uint64_t seed = 1, Direction direction = Direction::minimize) {
    return create_study({.sampler = GetParam().make(seed), .pruner = NopPruner(), .direction = direction});
  }

  /** Runs trials over one parameter and checks that every value lies in its range. */
  static void check_range(const Distribution& distribution, std::int64_t n_trials = 40) {
    auto s = study();
    s.optimize(
        [&](Trial& trial) {
          const Value value = trial.suggest("p", distribution);
          const double internal = distribution.to_internal(value);
          EXPECT_TRUE(distribution.contains(internal)) << value << " in " << distribution.to_text();
          EXPECT_EQ(value.is_int(), distribution.kind() == Distribution::Kind::integer);
          return internal;
        },
        {.n_trials = n_trials});
    EXPECT_EQ(s.trials({TrialState::complete}).size(), static_cast<std::size_t>(n_trials));
  }
};

TEST_P(SamplerConformance, FloatsStayInRange) {
  for (const auto& range :
       {FloatDistribution{.low = -1, .high = 1}, FloatDistribution{.low = 1e-300, .high = 1e300, .log = true},
        FloatDistribution{.low = 1e-5, .high = 1e-1, .log = true}, FloatDistribution{.low = 0, .high = 1, .step = 0.1},
        FloatDistribution{.low = -1e9, .high = 1e9, .step = 1e8}, FloatDistribution{.low = 1, .high = 1 + 1e-12},
        FloatDistribution{.low = 2, .high = 2}}) {
    check_range(range);
  }
}

TEST_P(SamplerConformance, IntsStayInRange) {
  for (const auto& range :
       {IntDistribution{.low = -3, .high = 3}, IntDistribution{.low = 0, .high = 1},
        IntDistribution{.low = 1, .high = 1000, .log = true}, IntDistribution{.low = 3, .high = 20, .step = 4},
        IntDistribution{.low = -(std::int64_t{1} << 52), .high = std::int64_t{1} << 52},
        IntDistribution{.low = 7, .high = 7}}) {
    check_range(range);
  }
}

TEST_P(SamplerConformance, ChoicesAreChoices) {
  check_range(CategoricalDistribution{{"a", "b", "c"}});
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        const Value value = trial.suggest_categorical("c", List{Value(), true, 3, 0.5, "x"});
        return value.is_null() ? 0.0 : 1.0;
      },
      {.n_trials = 40});
  EXPECT_EQ(s.best_value(), 0);
}

TEST_P(SamplerConformance, RelationsHold) {
  // Floats, logarithms, ints and choices; orders, sums, an equality and a function at once.
  SearchSpace space{{"a", FloatDistribution{.low = 0, .high = 1}},
                    {"b", FloatDistribution{.low = 1e-3, .high = 1, .log = true}},
                    {"p", FloatDistribution{.low = 0, .high = 1}},
                    {"q", FloatDistribution{.low = 0, .high = 1}},
                    {"n", IntDistribution{.low = 1, .high = 20}},
                    {"m", IntDistribution{.low = 1, .high = 64, .log = true}},
                    {"k", CategoricalDistribution{{"wide", "deep"}}}};
  space.relate({param("a") < param("b"), param("n") <= param("m"), param("p") + param("q") == 1,
                param("b") + 0.05 * param("n") <= 1.2,
                Relation("no wide m", {"k", "m"}, [](const Map& m) {
                  return m.at("k") == Value("deep") || m.get<std::int64_t>("m") <= 48;
                })});
  auto s = create_study({.sampler = SpaceSampler(space, GetParam().make(1), {.seed = 1}), .pruner = NopPruner()});
  s.optimize(
      [&](Trial& trial) {
        const Config config = suggest(trial, space);
        for (const auto& relation : space.relations()) {
          EXPECT_TRUE(relation.holds(config)) << relation.description() << " in " << config.to_string();
        }
        for (const auto& [name, distribution] : space) {
          EXPECT_TRUE(distribution.contains(distribution.to_internal(config.at(name)))) << name;
        }
        const double a = config.get<double>("a"), b = config.get<double>("b"), p = config.get<double>("p");
        return (a - 0.3) * (a - 0.3) + (b - 0.4) * (b - 0.4) + p * p + config.get<double>("n") / 20;
      },
      {.n_trials = 30});
  EXPECT_EQ(s.trials({TrialState::complete}).size(), 30u);
}

TEST_P(SamplerConformance, ConditionalParametersWork) {
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        double sum = 0;
        const auto layers = trial.suggest_int("layers", 1, 3);
        for (std::int64_t i = 0; i < layers; ++i) {
          sum += static_cast<double>(trial.suggest_int("width_" + std::to_string(i), 8, 128, {.log = true}));
        }
        if (trial.suggest_categorical("kind", {"a", "b"}) == "a") sum += trial.suggest_float("only_a", 0, 1);
        return sum;
      },
      {.n_trials = 60});
  for (const auto& trial : s.trials()) {
    EXPECT_EQ(trial.state, TrialState::complete);
    EXPECT_EQ(trial.params.contains("only_a"), trial.params.at("kind") == Value("a"));
  }
}

TEST_P(SamplerConformance, RangesMayChange) {
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        const double low = static_cast<double>(trial.number() % 7), high = low + 1;
        const double x = trial.suggest_float("x", low, high);
        EXPECT_GE(x, low);
        EXPECT_LE(x, high);
        return x;
      },
      {.n_trials = 50});
}

TEST_P(SamplerConformance, FailedPrunedAndInfiniteTrialsDoNoHarm) {
  for (const auto direction : {Direction::minimize, Direction::maximize}) {
    auto s = study(1, direction);
    s.optimize(
        [](Trial& trial) -> double {
          const double x = trial.suggest_float("x", 0, 1);
          const auto n = trial.number() % 6;
          if (n == 0) return std::numeric_limits<double>::quiet_NaN();
          if (n == 1) throw TrialPruned();
          if (n == 2) {
            trial.report(std::numeric_limits<double>::quiet_NaN(), n);
            throw TrialPruned();
          }
          if (n == 3) return std::numeric_limits<double>::infinity();
          if (n == 4) return -std::numeric_limits<double>::infinity();
          trial.set_constraint("c", x - 0.5);
          return x;
        },
        {.n_trials = 60});
    EXPECT_EQ(s.trials().size(), 60u);
    EXPECT_TRUE(s.trials({TrialState::running}).empty());
  }
}

TEST_P(SamplerConformance, EverySpaceOfOneKindWorks) {
  // Nothing but values that leave no choice, nothing but choices, nothing at all.
  auto single = study();
  single.optimize(
      [](Trial& trial) {
        EXPECT_EQ(trial.suggest_int("i", 3, 3), 3);
        EXPECT_EQ(trial.suggest_float("f", 0.5, 0.5), 0.5);
        EXPECT_EQ(trial.suggest_categorical("c", {"only"}), "only");
        return 0.0;
      },
      {.n_trials = 15});
  auto choices = study();
  choices.optimize(
      [](Trial& trial) {
        return trial.suggest_categorical("a", {0.0, 1.0}) + trial.suggest_categorical("b", {0.0, 1.0, 2.0});
      },
      {.n_trials = 30});
  EXPECT_EQ(choices.trials({TrialState::complete}).size(), 30u);
  auto nothing = study();
  nothing.optimize([](Trial&) { return 1.0; }, {.n_trials = 15});
  EXPECT_EQ(nothing.trials({TrialState::complete}).size(), 15u);
}

TEST_P(SamplerConformance, EqualValuesDoNoHarm) {
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", -1, 1) + static_cast<double>(trial.suggest_int("k", 0, 2));
        return 0 * x;
      },
      {.n_trials = 30});
  EXPECT_EQ(s.trials({TrialState::complete}).size(), 30u);
}

TEST_P(SamplerConformance, InfeasibleTrialsDoNoHarm) {
  // Nothing is feasible; then constraints that not every trial sets.
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1);
        if (trial.number() < 20 || trial.number() % 3 == 0) trial.set_constraint("a", 1 + x);
        if (trial.number() % 4 == 0) trial.set_constraint("b", x - 0.5);
        return x;
      },
      {.n_trials = 40});
  EXPECT_EQ(s.trials({TrialState::complete}).size(), 40u);
}

TEST_P(SamplerConformance, OpenTrialsDoNotBlockOthers) {
  auto s = study();
  s.optimize([](Trial& trial) { return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1); },
             {.n_trials = 20});
  std::vector<Trial> open;
  for (int i = 0; i < 6; ++i) {
    open.push_back(s.ask());
    if (i % 2 == 0) open.back().suggest_float("x", 0, 1);  // the others have suggested nothing yet
  }
  for (auto& trial : open) {
    const double x = trial.suggest_float("x", 0, 1), y = trial.suggest_float("y", 0, 1);
    EXPECT_TRUE(x >= 0 && x <= 1 && y >= 0 && y <= 1);
  }
  for (auto it = open.rbegin(); it != open.rend(); ++it) s.tell(*it, 0.0);  // finished in another order
  s.optimize([](Trial& trial) { return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1); },
             {.n_trials = 5});
  EXPECT_EQ(s.trials({TrialState::complete}).size(), 31u);
}

TEST_P(SamplerConformance, EnqueuedParametersAreKept) {
  auto s = study();
  const auto objective = [](Trial& trial) { return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1); };
  s.optimize(objective, {.n_trials = 20});
  s.enqueue_trial({{"x", 0.125}});
  s.optimize(objective, {.n_trials = 1});
  EXPECT_EQ(s.trials().back().params.at("x"), Value(0.125));
  const double y = s.trials().back().params.at("y").as_double();
  EXPECT_TRUE(y >= 0 && y <= 1);
}

TEST_P(SamplerConformance, SeedsDecide) {
  if (!GetParam().deterministic) GTEST_SKIP() << "this sampler promises no determinism";
  const auto run = [](std::uint64_t seed) {
    auto s = study(seed);
    s.optimize([](Trial& trial) { return trial.suggest_float("x", 0, 1) - trial.suggest_float("y", 1, 2); },
               {.n_trials = 30});
    std::vector<double> values;
    for (const auto& trial : s.trials()) values.push_back(trial.value());
    return values;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST_P(SamplerConformance, ANewSamplerContinuesAStudy) {
  // What a sampler keeps between calls only makes it faster: a fresh one in its place chooses the same.
  if (!GetParam().deterministic) GTEST_SKIP() << "this sampler promises no determinism";
  const auto objective = [](Trial& trial) {
    const double x = trial.suggest_float("x", -1, 1);
    const double k = static_cast<double>(trial.suggest_int("k", 1, 20));
    const double c = trial.suggest_categorical("c", {0.0, 1.0});
    if (trial.number() % 5 == 4) throw TrialPruned();
    return x * x + k + c;
  };
  auto whole = study();
  whole.optimize(objective, {.n_trials = 45});
  const auto storage = open_storage("memory://");
  for (int i = 0; i < 9; ++i) {
    auto part = create_study({.storage = storage,
                              .sampler = GetParam().make(1),
                              .pruner = NopPruner(),
                              .study_name = "s",
                              .load_if_exists = true});
    part.optimize(objective, {.n_trials = 5});
  }
  const auto a = whole.trials(), b = load_study({.study_name = "s", .storage = storage}).trials();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].params, b[i].params) << "trial " << i;
}

TEST_P(SamplerConformance, ThreadsMaySampleAtOnce) {
  auto s = study();
  s.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1);
        return x + static_cast<double>(trial.suggest_int("k", 0, 3));
      },
      {.n_trials = 80, .n_jobs = 8});
  EXPECT_EQ(s.trials({TrialState::complete}).size(), 80u);
}

/** The same for samplers that search several objectives. */
class MultiObjectiveSamplerConformance : public ::testing::TestWithParam<SamplerFactory> {};

TEST_P(MultiObjectiveSamplerConformance, ConstraintsOddValuesAndPrunedTrialsDoNoHarm) {
  auto s = create_study({.sampler = GetParam().make(1),
                         .pruner = NopPruner(),
                         .directions = {Direction::minimize, Direction::maximize, Direction::minimize}});
  s.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1), inf = std::numeric_limits<double>::infinity();
        const double k = static_cast<double>(trial.suggest_int("k", 1, 9));
        const std::string c = trial.suggest_categorical("c", {"a", "b"});
        const auto n = trial.number() % 6;
        if (n == 1) throw TrialPruned();
        if (n == 2) {
          trial.report({x, k, 1.0}, n);
          throw TrialPruned();
        }
        trial.set_constraint("c", x - 0.5);
        if (n == 3) return std::vector<double>{inf, -inf, 0.0};
        if (n == 4) return std::vector<double>{-inf, inf, 0.0};
        return std::vector<double>{x, k, c == "a" ? 0.0 : x};
      },
      {.n_trials = 70});
  EXPECT_EQ(s.trials({TrialState::complete}).size() + s.trials({TrialState::pruned}).size(), 70u);
}

TEST_P(MultiObjectiveSamplerConformance, SeedsDecide) {
  if (!GetParam().deterministic) GTEST_SKIP() << "this sampler promises no determinism";
  const auto run = [](std::uint64_t seed) {
    auto s = create_study({.sampler = GetParam().make(seed), .directions = {Direction::minimize, Direction::minimize}});
    s.optimize(
        [](Trial& trial) {
          const double x = trial.suggest_float("x", 0, 1), y = trial.suggest_float("y", 0, 1);
          return std::vector<double>{x + y, 1 - x + y * y};
        },
        {.n_trials = 40});
    std::vector<double> values;
    for (const auto& trial : s.trials()) values.insert(values.end(), trial.values.begin(), trial.values.end());
    return values;
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

}  // namespace levin::tune::testing
