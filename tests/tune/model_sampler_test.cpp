// The samplers that fit a model, follow budgets or choose among others: random forest, BOHB, DEHB, auto, partial-fixed.
#include <levin/tune/pruners/hyperband.h>
#include <levin/tune/samplers/auto.h>
#include <levin/tune/samplers/bohb.h>
#include <levin/tune/samplers/dehb.h>
#include <levin/tune/samplers/partial_fixed.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/random_forest.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/samplers/unit_cube.h>
#include <levin/tune/space.h>
#include <levin/tune/study.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

namespace levin::tune {
namespace {

using Make = std::function<SamplerRef(std::uint64_t seed)>;

// The median over seeds of the best value.
double median_best(const Make& make, const Study::Objective& objective, std::int64_t n_trials, int n_seeds = 5) {
  std::vector<double> best;
  for (int seed = 0; seed < n_seeds; ++seed) {
    auto study = create_study({.sampler = make(static_cast<std::uint64_t>(seed)), .pruner = NopPruner()});
    study.optimize(objective, {.n_trials = n_trials});
    best.push_back(study.best_value());
  }
  std::nth_element(best.begin(), best.begin() + n_seeds / 2, best.end());
  return best[static_cast<std::size_t>(n_seeds / 2)];
}

SamplerRef random_sampler(std::uint64_t seed) { return RandomSampler({.seed = seed}); }
SamplerRef forest(std::uint64_t seed) { return RandomForestSampler({.n_challengers = 200, .seed = seed}); }

double bowl(Trial& trial) {
  double sum = 0;
  for (const char* name : {"a", "b", "c", "d"}) sum += std::pow(trial.suggest_float(name, -5, 5) - 1.5, 2);
  return sum;
}

// What is best depends on the branch, and each branch has parameters of its own.
double branches(Trial& trial) {
  const std::string kind = trial.suggest_categorical("kind", {"p", "q", "r"});
  if (kind == "p") return 3 + trial.suggest_float("u", 0, 1);
  if (kind == "q") return 2 + std::pow(trial.suggest_float("v", 0, 1) - 0.7, 2);
  const auto n = trial.suggest_int("n", 1, 100, {.log = true});
  return std::pow(std::log10(static_cast<double>(n)) - 1, 2) + 4 * std::pow(trial.suggest_float("w", 0, 1) - 0.2, 2);
}

TEST(UnitCube, GoesThereAndBack) {
  const UnitCube cube(
      {{"x", loguniform(1e-4, 1)}, {"k", randint(2, 7)}, {"c", choice({"a", 1, true})}, {"one", uniform(2, 2)}});
  ASSERT_EQ(cube.size(), 3u);
  Rng rng(0);
  for (int i = 0; i < 100; ++i) {
    const auto point = cube.random(rng);
    FrozenTrial trial;
    trial.params = cube.to_params(point);
    for (std::size_t j = 0; j < 3; ++j) trial.distributions.set(cube.name(j), cube[j].distribution());
    const auto back = cube.to_unit(trial);
    ASSERT_TRUE(back.has_value());
    for (std::size_t j = 0; j < 3; ++j) EXPECT_NEAR((*back)[j], point[j], 1e-12);
  }
  EXPECT_FALSE(cube.to_unit(FrozenTrial()).has_value());
}

TEST(RandomForestSampler, BeatsRandomSearch) {
  EXPECT_LT(median_best(forest, bowl, 80), 0.5 * median_best(random_sampler, bowl, 80));
  EXPECT_LT(median_best(forest, branches, 60), 0.5 * median_best(random_sampler, branches, 60));
}

TEST(RandomForestSampler, WeighsSeveralObjectives) {
  auto study = create_study({.sampler = forest(0), .directions = {Direction::minimize, Direction::maximize}});
  study.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1), y = trial.suggest_float("y", 0, 1);
        return std::vector<double>{x * x + y, -(x - 1) * (x - 1) - y};
      },
      {.n_trials = 60});
  const auto trials = study.trials();
  double late = 0;
  for (std::size_t i = 30; i < 60; ++i) late += trials[i].params.at("y").as_double() / 30;
  EXPECT_LT(late, 0.3);                       // the front lies at y = 0
  EXPECT_GT(study.best_trials().size(), 5u);  // and is found along its length
}

TEST(RandomForestSampler, StaysAwayFromInfeasiblePoints) {
  auto study = create_study({.sampler = forest(0)});
  study.optimize(
      [](Trial& trial) {
        const double x = trial.suggest_float("x", 0, 1);
        trial.set_constraint("c", 0.5 - x);
        return x;
      },
      {.n_trials = 60});
  EXPECT_NEAR(study.best_value(), 0.5, 0.05);
}

TEST(BOHBSampler, BeatsRandomSearch) {
  const Make bohb = [](auto seed) -> SamplerRef { return BOHBSampler({.seed = seed}); };
  EXPECT_LT(median_best(bohb, bowl, 120), 0.6 * median_best(random_sampler, bowl, 120));
}

// A curve that is the further from its end the fewer the steps.
double curve(Trial& trial, int max_steps, std::int64_t& steps) {
  const double loss = bowl(trial);
  for (int step = 1; step <= max_steps; ++step, ++steps) {
    trial.report(loss + 10.0 / step, step);
    if (trial.should_prune()) throw TrialPruned();
  }
  return loss;
}

TEST(BOHBSampler, LearnsFromTheHighestBudgetOfAllBrackets) {
  // Few trials are complete: what the others reported must do.
  const auto best = [](const Make& make) {
    double sum = 0;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      auto study =
          create_study({.sampler = make(seed), .pruner = HyperbandPruner({.max_resource = 27}), .study_name = "bohb"});
      std::int64_t steps = 0;
      study.optimize([&](Trial& trial) { return curve(trial, 27, steps); }, {.n_trials = 120});
      sum += study.best_value();
    }
    return sum / 4;
  };
  EXPECT_LT(best([](auto seed) -> SamplerRef { return BOHBSampler({.seed = seed}); }), 0.7 * best(random_sampler));
}

TEST(BOHBSampler, RefusesSeveralObjectives) {
  auto study = create_study({.sampler = BOHBSampler(), .directions = {Direction::minimize, Direction::minimize}});
  auto trial = study.ask();
  EXPECT_THROW(trial.suggest_float("x", 0, 1), Error);
  EXPECT_THROW(BOHBSampler({.top_fraction = 1}), Error);
  EXPECT_THROW(BOHBSampler({.min_bandwidth = 0}), Error);
  EXPECT_THROW(BOHBSampler({.min_points = 0}), Error);
}

TEST(DEHBSampler, FollowsTheBracketsOfHyperband) {
  auto study = create_study(
      {.sampler = DEHBSampler({.min_resource = 1, .max_resource = 9, .seed = 0}), .pruner = BudgetPruner()});
  std::int64_t steps = 0;
  study.optimize([&](Trial& trial) { return curve(trial, 9, steps); }, {.n_trials = 22});
  // Brackets 9 + 3 + 1, 3 + 1 and 3, as Hyperband has them for R = 9 and eta = 3; then again.
  const std::vector<std::int64_t> expected{1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 9, 3, 3, 3, 9, 9, 9, 9, 1, 1};
  const auto trials = study.trials();
  for (std::size_t i = 0; i < trials.size(); ++i) {
    EXPECT_EQ(trials[i].system_attrs.at("dehb:budget").as_int(), expected[i]) << i;
    EXPECT_EQ(trials[i].last_step(), expected[i]) << i;
    EXPECT_EQ(trials[i].state, expected[i] == 9 ? TrialState::complete : TrialState::pruned) << i;
  }
  // The first bracket promotes: the best of the first nine go on as they are.
  std::set<double> first, second;
  for (std::size_t i = 0; i < 9; ++i) first.insert(trials[i].params.at("a").as_double());
  for (std::size_t i = 9; i < 12; ++i) second.insert(trials[i].params.at("a").as_double());
  for (const double a : second) EXPECT_TRUE(first.contains(a));
  EXPECT_EQ(trials[12].params.at("a"), trials[9].params.at("a"));
}

TEST(DEHBSampler, BeatsRandomSearchOfTheSameCost) {
  double mine = 0, random = 0;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    std::int64_t steps = 0;
    auto study = create_study(
        {.sampler = DEHBSampler({.min_resource = 1, .max_resource = 27, .seed = seed}), .pruner = BudgetPruner()});
    study.optimize([&](Trial& trial) { return curve(trial, 27, steps); }, {.n_trials = 400});
    mine += study.best_value();
    auto other = create_study({.sampler = random_sampler(seed), .pruner = NopPruner()});
    other.optimize(bowl, {.n_trials = steps / 27});
    random += other.best_value();
  }
  EXPECT_LT(mine, 0.5 * random);
}

TEST(DEHBSampler, RefusesBadOptions) {
  EXPECT_THROW(DEHBSampler({.min_resource = 0}), Error);
  EXPECT_THROW(DEHBSampler({.min_resource = 5, .max_resource = 4}), Error);
  EXPECT_THROW(DEHBSampler({.reduction_factor = 1}), Error);
  EXPECT_THROW(DEHBSampler({.mutation_factor = 0}), Error);
  EXPECT_THROW(DEHBSampler({.crossover_prob = 1.5}), Error);
  EXPECT_THROW(RandomForestSampler({.n_trees = 0}), Error);
  EXPECT_THROW(RandomForestSampler({.max_features = 0}), Error);
  EXPECT_THROW(RandomForestSampler({.random_fraction = -0.5}), Error);
}

AutoChoice choice_after(const std::vector<std::vector<double>>& values, const std::function<void(FrozenTrial&)>& shape,
                        AutoSamplerOptions options = {.seed = 0}) {
  std::vector<FrozenTrial> trials;
  for (const auto& value : values) {
    FrozenTrial trial;
    trial.number = static_cast<std::int64_t>(trials.size());
    trial.state = TrialState::complete;
    trial.values = value;
    trial.params = {{"x", 0.5}};
    trial.distributions.set("x", uniform(0, 1));
    shape(trial);
    trials.push_back(trial);
  }
  const std::size_t n_objectives = values.empty() ? 1 : values.front().size();
  StudyView view(std::vector<Direction>(n_objectives, Direction::minimize), trials);
  return AutoSampler(options).choose(view);
}

TEST(AutoSampler, ChoosesByWhatTheStudyShows) {
  const auto plain = [](FrozenTrial&) {};
  const auto of = [](std::size_t n, std::size_t n_objectives) {
    return std::vector<std::vector<double>>(n, std::vector<double>(n_objectives, 1.0));
  };
  const auto with_choice = [](FrozenTrial& trial) {
    trial.params["c"] = "a";
    trial.distributions.set("c", choice({"a", "b"}));
  };
  const auto branched = [&](FrozenTrial& trial) {
    if (trial.number % 2 == 1) with_choice(trial);
  };
  const auto wide = [](FrozenTrial& trial) {
    for (int i = 0; i < 30; ++i) {
      trial.params["w" + std::to_string(i)] = 0.5;
      trial.distributions.set("w" + std::to_string(i), uniform(0, 1));
    }
  };
  const auto constrained = [](FrozenTrial& trial) { trial.system_attrs["constraints:c"] = -1.0; };
  EXPECT_EQ(choice_after({}, plain).method, "random");
  EXPECT_EQ(choice_after(of(20, 1), plain).method, "gp");
  EXPECT_EQ(choice_after(of(20, 1), with_choice).method, "gp");
  EXPECT_EQ(choice_after(of(20, 1), branched).method, "tpe");
  EXPECT_EQ(choice_after(of(20, 1), wide).method, "tpe");
  EXPECT_EQ(choice_after(of(260, 1), plain).method, "cma");
  EXPECT_EQ(choice_after(of(260, 1), plain, {.n_trials = 300, .seed = 0}).method, "tpe");
  EXPECT_EQ(choice_after(of(260, 1), with_choice).method, "tpe");
  EXPECT_EQ(choice_after(of(260, 1), constrained).method, "tpe");
  EXPECT_EQ(choice_after(of(20, 2), plain).method, "gp");
  EXPECT_EQ(choice_after(of(120, 2), plain).method, "nsga2");
  EXPECT_EQ(choice_after(of(20, 4), plain).method, "nsga3");
  EXPECT_FALSE(choice_after(of(20, 1), plain).reason.empty());
  EXPECT_THROW(AutoSampler({.n_trials = 0}), Error);
}

TEST(AutoSampler, BeatsRandomSearch) {
  const Make make = [](auto seed) -> SamplerRef { return AutoSampler({.seed = seed}); };
  EXPECT_LT(median_best(make, bowl, 40, 3), 0.2 * median_best(random_sampler, bowl, 40, 3));
  EXPECT_LT(median_best(make, branches, 60, 3), 0.5 * median_best(random_sampler, branches, 60, 3));
}

TEST(PartialFixedSampler, GivesWhatIsFixed) {
  auto study = create_study({.sampler = PartialFixedSampler({{"a", 0.5}}, TPESampler({.seed = 0}))});
  study.optimize(bowl, {.n_trials = 30});
  std::set<double> others;
  for (const auto& trial : study.trials()) {
    EXPECT_EQ(trial.params.at("a"), Value(0.5));
    others.insert(trial.params.at("b").as_double());
  }
  EXPECT_EQ(others.size(), 30u);
  EXPECT_THROW(PartialFixedSampler({}, SamplerRef()), Error);
  auto outside = create_study({.sampler = PartialFixedSampler({{"a", 9.0}}, RandomSampler())});
  auto trial = outside.ask();
  EXPECT_THROW(trial.suggest_float("a", -5, 5), Error);
}

}  // namespace
}  // namespace levin::tune
