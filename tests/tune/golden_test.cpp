// What Optuna computes, held by files that tests/golden/scripts/tune.py makes.
#include <levin/core/json.h>
#include <levin/tune/pruners/percentile.h>
#include <levin/tune/pruners/successive_halving.h>
#include <levin/tune/samplers/grid.h>
#include <levin/tune/samplers/parzen_estimator.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/trial_table.h>
#include <levin/tune/samplers/truncated_normal.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <cmath>

#include <tune/golden.h>

namespace levin::tune {
namespace {

void expect_near(double actual, double expected, double relative, const std::string& what) {
  EXPECT_NEAR(actual, expected, relative * std::max(1.0, std::abs(expected))) << what;
}

SearchSpace space_of(const Value& value) {
  SearchSpace out;
  for (const auto& [name, distribution] : value.as_map()) out.set(name, Distribution::from_json(to_json(distribution)));
  return out;
}

TEST(Golden, TruncatedNormal) {
  const Map file = golden("truncated_normal");
  const auto a = numbers(file.at("a")), b = numbers(file.at("b")), q = numbers(file.at("q")), x = numbers(file.at("x"));
  const auto log_mass = numbers(file.at("log_mass")), log_cdf = numbers(file.at("log_cdf")),
             quantile = numbers(file.at("quantile"));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::string what = "a = " + format_double(a[i]) + ", b = " + format_double(b[i]);
    // A narrow interval in the tail leaves few digits of its mass, in Optuna's figures as in ours.
    expect_near(log_normal_mass(a[i], b[i]), log_mass[i], 1e-9, what);
    const double mine = truncated_normal_quantile(q[i], a[i], b[i]);
    EXPECT_GE(mine, a[i]);
    EXPECT_LE(mine, b[i]);
    expect_near(mine, quantile[i], 1e-9, what + ", q = " + format_double(q[i]));
  }
  for (std::size_t i = 0; i < x.size(); ++i) expect_near(log_normal_cdf(x[i]), log_cdf[i], 1e-13, format_double(x[i]));
  EXPECT_EQ(truncated_normal_quantile(0, -2, 3), -2);
  EXPECT_EQ(truncated_normal_quantile(1, -2, 3), 3);
}

TEST(Golden, ParzenWeightsByAge) {
  const Map file = golden("parzen");
  for (const auto& list : file.at("age_weights").as_list()) {
    const auto expected = numbers(list);
    const auto actual = parzen_weights(expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      expect_near(actual[i], expected[i], 1e-15, std::to_string(expected.size()));
  }
}

TEST(Golden, ParzenEstimator) {
  const Map file = golden("parzen");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const SearchSpace space = space_of(test.at("space"));
    const auto observations = rows(test.at("observations"));
    const std::size_t n = observations.front().size();
    std::vector<double> weights;
    if (test.at("equal_weights").as_bool()) weights.assign(n, 1.0);
    const ParzenEstimator estimator(space, observations, weights);
    const std::string what = space.begin()->second.to_text() + ", " + std::to_string(n) + " observations";
    const auto expected_weights = numbers(test.at("weights"));
    ASSERT_EQ(estimator.weights().size(), n + 1) << what;
    for (std::size_t k = 0; k <= n; ++k) expect_near(estimator.weights()[k], expected_weights[k], 1e-15, what);
    const auto sigmas = rows(test.at("sigmas"));
    for (std::size_t i = 0; i < space.size(); ++i) {
      const Distribution& d = (space.begin() + static_cast<std::ptrdiff_t>(i))->second;
      if (d.is_categorical()) continue;
      // Of equal observations it is arbitrary which comes first: compare the bandwidths as a set.
      std::vector<double> mine, theirs = sigmas[i];
      for (std::size_t k = 0; k <= n; ++k) mine.push_back(estimator.sigma(i, k));
      if (d.step() != 0) {
        std::sort(mine.begin(), mine.end());
        std::sort(theirs.begin(), theirs.end());
      }
      ASSERT_EQ(mine.size(), theirs.size());
      for (std::size_t k = 0; k <= n; ++k) expect_near(mine[k], theirs[k], 1e-12, what);
    }
    const auto actual = estimator.log_pdf(rows(test.at("points")));
    const auto expected = numbers(test.at("log_pdf"));
    for (std::size_t j = 0; j < expected.size(); ++j) expect_near(actual[j], expected[j], 1e-10, what);
  }
}

TEST(Golden, GoodTrials) {
  const Map file = golden("splits");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    std::vector<Direction> directions;
    for (const auto& d : test.at("directions").as_list()) {
      directions.push_back(d == Value("maximize") ? Direction::maximize : Direction::minimize);
    }
    std::vector<FrozenTrial> trials;
    for (const auto& entry : test.at("trials").as_list()) {
      const Map& stored = entry.as_map();
      FrozenTrial trial;
      trial.number = static_cast<std::int64_t>(trials.size());
      const std::string state = stored.get<std::string>("state");
      trial.state = state == "COMPLETE" ? TrialState::complete
                    : state == "PRUNED" ? TrialState::pruned
                                        : TrialState::fail;
      if (stored.at("values").is_list()) trial.values = numbers(stored.at("values"));
      for (const auto& report : rows(stored.at("reports"))) {
        trial.intermediate_values.set(static_cast<std::int64_t>(report[0]), report[1]);
      }
      trial.system_attrs = stored.at("system_attrs").as_map();
      trials.push_back(trial);
    }
    StudyView view(directions, trials);
    TrialTable table(directions);
    table.update(view.trials());
    for (const auto& [n, expected] : test.at("below").as_map()) {
      std::vector<double> mine;
      for (const auto row : table.best(static_cast<std::size_t>(std::stoi(n)))) {
        mine.push_back(static_cast<double>(table.trial(row).number));
      }
      EXPECT_EQ(mine, numbers(expected)) << n << " of " << directions.size() << " objectives";
    }
  }
}

PrunerRef make_pruner(const std::string& kind, const Map& o) {
  if (kind == "halving") {
    SuccessiveHalvingPrunerOptions options{.reduction_factor = o.get<std::int64_t>("reduction_factor", 4),
                                           .min_early_stopping_rate = o.get<std::int64_t>("min_early_stopping_rate", 0),
                                           .bootstrap_count = o.get<std::int64_t>("bootstrap_count", 0)};
    if (o.contains("min_resource")) options.min_resource = o.get<std::int64_t>("min_resource");
    return SuccessiveHalvingPruner(options);
  }
  const MedianPrunerOptions options{.n_startup_trials = o.get<std::int64_t>("n_startup_trials", 5),
                                    .n_warmup_steps = o.get<std::int64_t>("n_warmup_steps", 0),
                                    .interval_steps = o.get<std::int64_t>("interval_steps", 1),
                                    .n_min_trials = o.get<std::int64_t>("n_min_trials", 1)};
  if (kind == "median") return MedianPruner(options);
  return PercentilePruner({.percentile = o.get<double>("percentile"),
                           .n_startup_trials = options.n_startup_trials,
                           .n_warmup_steps = options.n_warmup_steps,
                           .interval_steps = options.interval_steps,
                           .n_min_trials = options.n_min_trials});
}

TEST(Golden, PrunersDecideAlike) {
  int pruned = 0, kept = 0;
  const Map file = golden("pruners");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const std::string what =
        test.at("pruner").as_string() + " " + test.at("options").to_string() + " " + test.at("direction").as_string();
    auto study = create_study(
        {.sampler = RandomSampler({.seed = 0}),
         .pruner = make_pruner(test.at("pruner").as_string(), test.at("options").as_map()),
         .direction = test.at("direction") == Value("maximize") ? Direction::maximize : Direction::minimize});
    for (const auto& entry : test.at("runs").as_list()) {
      const auto curve = numbers(entry.as_map().at("curve"));
      const List& verdicts = entry.as_map().at("verdicts").as_list();
      auto trial = study.ask();
      for (std::size_t step = 0; step < curve.size(); ++step) {
        trial.report(curve[step], static_cast<std::int64_t>(step));
        ASSERT_EQ(trial.should_prune(), verdicts[step].as_bool())
            << what << ", trial " << trial.number() << ", step " << step;
      }
      if (entry.as_map().at("value").is_null()) {
        study.tell(trial, TrialState::pruned);
        ++pruned;
      } else {
        study.tell(trial, entry.as_map().at("value").as_double());
        ++kept;
      }
    }
  }
  EXPECT_GT(pruned, 100);
  EXPECT_GT(kept, 100);
}

TEST(Golden, Distributions) {
  const Map file = golden("distributions");
  const auto probes = numbers(file.at("probes"));
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const std::string& json = test.at("json").as_string();
    const auto distribution = Distribution::from_json(json);
    EXPECT_EQ(distribution.to_json(), json);
    EXPECT_EQ(distribution.single(), test.at("single").as_bool()) << json;
    for (std::size_t i = 0; i < probes.size(); ++i) {
      EXPECT_EQ(distribution.contains(probes[i]), test.at("contains").as_list()[i].as_bool())
          << json << " " << probes[i];
    }
  }
  for (const auto& item : file.at("legacy").as_list()) {
    EXPECT_EQ(Distribution::from_json(to_json(item.as_map().at("old"))),
              Distribution::from_json(to_json(item.as_map().at("new"))))
        << item;
  }
}

TEST(Golden, GridsRunInOptunasOrder) {
  const Map file = golden("grids");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    auto study = create_study({.sampler = GridSampler({{"b", {1, 2, 3}}, {"a", {"x", "y"}}, {"c", {0.5, Value()}}},
                                                      {.seed = test.get<std::uint64_t>("seed")})});
    study.optimize([](Trial& trial) {
      const auto b = trial.suggest_categorical("b", {1, 2, 3});
      trial.suggest_categorical("a", {"x", "y"});
      trial.suggest_categorical("c", List{0.5, Value()});
      return static_cast<double>(b);
    });
    const auto trials = study.trials();
    const List& expected = test.at("params").as_list();
    ASSERT_EQ(trials.size(), expected.size());
    for (std::size_t i = 0; i < trials.size(); ++i) {
      for (const auto& [name, value] : expected[i].as_map()) EXPECT_EQ(trials[i].params.at(name), value) << i << name;
    }
  }
}

}  // namespace
}  // namespace levin::tune
