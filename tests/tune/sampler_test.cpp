// What single samplers promise beyond the conformance suite.
#include <levin/core/json.h>
#include <levin/core/rng.h>
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/grid.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/samplers/trial_table.h>
#include <levin/tune/samplers/vector_math.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

namespace levin::tune {
namespace {

TEST(RandomSampler, CoversRangesEvenly) {
  RandomSampler sampler({.seed = 0});
  StudyView view({Direction::minimize}, {});
  const Distribution steps = quniform(0, 0.9, 0.1), logs = loguniform(1e-4, 1), ints = lograndint(1, 3);
  constexpr int n = 4000;
  std::map<int, int> by_step, by_decade, by_int;
  for (int i = 0; i < n; ++i) {
    FrozenTrial trial;
    trial.number = i;
    ++by_step[static_cast<int>(std::lround(sampler.sample_independent(view, trial, "s", steps).as_double() * 10))];
    ++by_decade[static_cast<int>(
        std::floor(std::log10(sampler.sample_independent(view, trial, "l", logs).as_double())))];
    ++by_int[static_cast<int>(sampler.sample_independent(view, trial, "i", ints).as_int())];
  }
  // The seed is fixed; a right sampler with another seed would miss one of these 5 sigma bands once in 100,000 runs.
  const auto expect_share = [](int count, double share) {
    EXPECT_NEAR(count, n * share, 5 * std::sqrt(n * share * (1 - share)));
  };
  ASSERT_EQ(by_step.size(), 10u);
  for (const auto& [step, count] : by_step) expect_share(count, 0.1);
  ASSERT_EQ(by_decade.size(), 4u);
  for (const auto& [decade, count] : by_decade) expect_share(count, 0.25);
  ASSERT_EQ(by_int.size(), 2u);
  expect_share(by_int[1], std::log(3.0) / std::log(5.0));  // ln 0.5 .. ln 1.5 of ln 0.5 .. ln 2.5
}

TEST(TPESampler, RefusesBadOptions) {
  EXPECT_THROW(TPESampler({.n_startup_trials = -1}), Error);
  EXPECT_THROW(TPESampler({.n_ei_candidates = 0}), Error);
  EXPECT_THROW(TPESampler({.multivariate = false, .group = true}), Error);
}

TEST(TPESampler, BeatsRandomSearch) {
  const auto best = [](const SamplerRef& sampler) {
    auto study = create_study({.sampler = sampler, .pruner = NopPruner()});
    study.optimize(
        [](Trial& trial) {
          double sum = 0;
          for (const char* name : {"a", "b", "c"}) sum += std::pow(trial.suggest_float(name, -5, 5) - 1, 2);
          return sum + (trial.suggest_categorical("k", {"x", "y", "z"}) == "y" ? 0 : 3);
        },
        {.n_trials = 80});
    return study.best_value();
  };
  int wins = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed)
    wins += best(TPESampler({.seed = seed})) < best(RandomSampler({.seed = seed}));
  // It wins 85 in 100 (Optuna's does, too): with other seeds a right sampler would fall below once in 500 runs, and
  // random search would pass for it twice in 100.
  EXPECT_GE(wins, 27);
}

TEST(TPESampler, PublishesItsJointChoice) {
  auto study = create_study({.sampler = TPESampler({.n_startup_trials = 3, .seed = 0}), .pruner = NopPruner()});
  const std::string long_name = std::string(1500, 'n') + "\xC3\xBC" + std::string(700, 'n');
  const auto objective = [&](Trial& trial) {
    return trial.suggest_float("x", 0, 1) + trial.suggest_float(long_name, 0, 1) + trial.suggest_float("only", 1, 1);
  };
  study.optimize(objective, {.n_trials = 3});
  auto trial = study.ask();
  const double x = trial.suggest_float("x", 0, 1);
  const Map attrs = study.trials().back().system_attrs;
  std::string json;
  for (int i = 0; attrs.contains("tpe:relative_params:" + std::to_string(i)); ++i) {
    json += attrs.at("tpe:relative_params:" + std::to_string(i)).as_string();
  }
  EXPECT_TRUE(attrs.contains("tpe:relative_params:1"));
  EXPECT_FALSE(attrs.contains("tpe:relative_params:2"));
  const Map published = parse_json(json).as_map();
  EXPECT_EQ(published.at("x"), Value(x));
  EXPECT_EQ(published.at(long_name), Value(trial.suggest_float(long_name, 0, 1)));
  EXPECT_EQ(published.size(), 2u);  // a parameter with one value is not chosen
}

TEST(TPESampler, KeepsAwayFromWhatOthersTry) {
  const auto spread = [](bool liar) {
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 10; ++seed) {
      auto study = create_study({.sampler = TPESampler({.seed = seed, .constant_liar = liar}), .pruner = NopPruner()});
      study.optimize([](Trial& trial) { return std::abs(trial.suggest_float("x", -10, 10)); }, {.n_trials = 40});
      std::vector<Trial> running;
      std::vector<double> tried;
      for (int i = 0; i < 20; ++i) {
        running.push_back(study.ask());
        tried.push_back(running.back().suggest_float("x", -10, 10));
      }
      double mean = 0, variance = 0;
      for (const double x : tried) mean += x / 20;
      for (const double x : tried) variance += (x - mean) * (x - mean) / 20;
      sum += std::sqrt(variance);
    }
    return sum;
  };
  EXPECT_GT(spread(true), 1.2 * spread(false));
}

TEST(TPESampler, SearchesSeveralObjectives) {
  const auto volume = [](const SamplerRef& sampler) {
    auto study = create_study({.sampler = sampler, .directions = {Direction::minimize, Direction::minimize}});
    study.optimize(
        [](Trial& trial) {
          double f = 0, g = 0;
          for (const char* name : {"a", "b", "c", "d", "e"}) {
            const double x = trial.suggest_float(name, -5, 5);
            f += (x - 1) * (x - 1), g += (x + 1) * (x + 1);
          }
          return std::vector<double>{f, g};
        },
        {.n_trials = 100});
    std::vector<std::vector<double>> losses;
    for (const auto& trial : study.best_trials()) losses.push_back(trial.values);
    return hypervolume(losses, {200, 200});
  };
  int wins = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    wins += volume(TPESampler({.seed = seed})) > volume(RandomSampler({.seed = seed}));
  // Random search would pass for it once in 800 runs.
  EXPECT_GE(wins, 17) << wins;
}

TEST(TrialTable, GroupsParametersThatOccurTogether) {
  const auto trial = [](std::int64_t number, const std::vector<std::string>& names) {
    FrozenTrial out;
    out.number = number;
    out.state = TrialState::complete;
    out.values = {0};
    for (const auto& name : names) {
      out.params[name] = 0.5;
      out.distributions.set(name, uniform(0, 1));
    }
    return out;
  };
  const auto groups_of = [&](const std::vector<std::vector<std::string>>& trials) {
    std::vector<FrozenTrial> frozen;
    for (const auto& names : trials) frozen.push_back(trial(static_cast<std::int64_t>(frozen.size()), names));
    StudyView view({Direction::minimize}, frozen);
    TrialTable table({Direction::minimize});
    table.update(view.trials());
    std::set<std::set<std::string>> out;
    for (const auto& group : table.groups()) {
      std::set<std::string> names;
      for (const auto& entry : group) names.insert(entry.first);
      out.insert(names);
    }
    return out;
  };
  using Sets = std::set<std::set<std::string>>;
  EXPECT_EQ(groups_of({{"a", "b"}}), (Sets{{"a", "b"}}));
  EXPECT_EQ(groups_of({{"a", "b"}, {"a", "c"}}), (Sets{{"a"}, {"b"}, {"c"}}));
  EXPECT_EQ(groups_of({{"k", "a", "b"}, {"k", "c", "d"}}), (Sets{{"k"}, {"a", "b"}, {"c", "d"}}));
  EXPECT_EQ(groups_of({{}, {"a", "b"}, {"b", "a"}}), (Sets{{"a", "b"}}));
}

TEST(Pareto, HypervolumeOfKnownShapes) {
  EXPECT_DOUBLE_EQ(hypervolume({{1, 1}}, {3, 4}), 6);
  EXPECT_DOUBLE_EQ(hypervolume({{0, 2}, {2, 0}, {1, 1}}, {3, 3}), 6);
  EXPECT_DOUBLE_EQ(hypervolume({{0, 2}, {2, 0}, {1, 1}, {2, 2}}, {3, 3}), 6);  // a dominated point adds nothing
  EXPECT_DOUBLE_EQ(hypervolume({{0, 0, 1}, {1, 1, 0}}, {2, 2, 2}), 5);         // 4 + 2 less the 1 they share
  EXPECT_DOUBLE_EQ(hypervolume({}, {1, 1}), 0);
  Rng rng(0, "test");
  std::vector<std::vector<double>> points(12, std::vector<double>(4));
  for (auto& point : points) {
    for (double& x : point) x = rng.uniform();
  }
  int inside = 0;
  constexpr int n = 40000;
  for (int i = 0; i < n; ++i) {
    const std::vector<double> probe{rng.uniform(), rng.uniform(), rng.uniform(), rng.uniform()};
    inside += std::any_of(points.begin(), points.end(), [&](const auto& point) { return dominates(point, probe); });
  }
  EXPECT_NEAR(hypervolume(points, {1, 1, 1, 1}), inside / static_cast<double>(n), 5 * 0.5 / std::sqrt(n));
}

TEST(GridSampler, EndsWhenEveryCombinationRan) {
  const Grid grid{{"x", {-50, 0, 50}}, {"y", {"a", "b"}}};
  auto study = create_study({.sampler = GridSampler(grid), .pruner = NopPruner()});
  std::multiset<std::string> seen;
  study.optimize([&](Trial& trial) {
    seen.insert(trial.suggest_categorical("y", {"a", "b"}) + std::to_string(trial.suggest_int("x", -100, 100)));
    return 0.0;
  });
  EXPECT_EQ(seen, (std::multiset<std::string>{"a-50", "a0", "a50", "b-50", "b0", "b50"}));
  EXPECT_EQ(study.trials()[2].system_attrs.at("grid_id"), Value(2));
  study.optimize([](Trial&) { return 0.0; });  // one more, then it ends at once
  EXPECT_EQ(study.trials().size(), 7u);
}

TEST(GridSampler, ThreadsShareTheGrid) {
  auto study = create_study(
      {.sampler = GridSampler({{"x", {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}, {"y", {0, 1, 2, 3}}}), .pruner = NopPruner()});
  study.optimize(
      [&](Trial& trial) {
        return 10.0 * static_cast<double>(trial.suggest_int("y", 0, 3)) +
               static_cast<double>(trial.suggest_int("x", 0, 9));
      },
      {.n_jobs = 4});
  std::set<double> values;
  for (const auto& trial : study.trials({TrialState::complete})) values.insert(trial.value());
  EXPECT_EQ(values.size(), 40u);
  EXPECT_LT(study.trials().size(), 40u + 8u);
}

TEST(GridSampler, SaysWhatIsWrong) {
  EXPECT_THROW(GridSampler{Grid{}}, Error);
  EXPECT_THROW((GridSampler{Grid{{"x", List{}}}}), Error);
  auto study = create_study({.sampler = GridSampler({{"x", {1, 2}}}), .pruner = NopPruner()});
  auto trial = study.ask();
  EXPECT_THROW(trial.suggest_int("z", 0, 3), Error);
  study.enqueue_trial({{"y", 1}});
  auto enqueued = study.ask();
  EXPECT_THROW(enqueued.suggest_int("x", 0, 3), Error);
}

TEST(GridSampler, GridsOfSpaces) {
  const Grid grid = grid_of({{"c", choice({"a", "b"})}, {"i", randint(1, 4)}, {"f", quniform(0, 0.3, 0.1)}});
  EXPECT_EQ(grid.at("c"), (List{"a", "b"}));
  EXPECT_EQ(grid.at("i"), (List{1, 2, 3}));
  EXPECT_EQ(grid.at("f").size(), 4u);
  EXPECT_EQ(grid.at("f").back(), Value(0.3));
  EXPECT_THROW(grid_of({{"x", uniform(0, 1)}}), Error);
}

TEST(VectorMath, LogSumExpIsExact) {
  Rng rng(1, "test");
  for (const std::size_t n : {1u, 3u, 8u, 17u, 1000u}) {
    for (const double scale : {1e-3, 1.0, 100.0, 3000.0}) {
      std::vector<double> values(n);
      for (double& v : values) v = rng.uniform(-scale, scale);
      if (n > 3) values[1] = -std::numeric_limits<double>::infinity();
      const double max = *std::max_element(values.begin(), values.end());
      long double sum = 0;
      for (const double v : values) sum += std::exp(static_cast<long double>(v) - max);
      const double expected = max + static_cast<double>(std::log(sum));
      EXPECT_NEAR(detail::log_sum_exp(values.data(), n), expected, 1e-14 * std::max(1.0, std::abs(expected)));
    }
  }
  std::vector<double> nothing(5, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(detail::log_sum_exp(nothing.data(), nothing.size()), -std::numeric_limits<double>::infinity());
}

}  // namespace
}  // namespace levin::tune
