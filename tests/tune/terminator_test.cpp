// When a study ends by itself.
#include <levin/tune/samplers/random.h>
#include <levin/tune/space.h>
#include <levin/tune/terminator/regret_bound.h>
#include <levin/tune/terminator/terminator.h>

#include <gtest/gtest.h>

#include <cmath>

#include <tune/golden.h>

namespace levin::tune {
namespace {

Study study_with(const std::vector<double>& values, Direction direction = Direction::minimize) {
  auto study = create_study({.sampler = RandomSampler({.seed = 0}), .direction = direction});
  for (const double value : values) {
    auto trial = study.ask();
    trial.suggest_float("x", 0, 1);
    study.tell(trial, value);
  }
  return study;
}

TEST(Terminator, StagnationCountsTrialsSinceTheBest) {
  BestValueStagnationEvaluator evaluator(3);
  EXPECT_EQ(evaluator.evaluate(study_with({3, 1, 2, 1, 5}).trials(), Direction::minimize), 0);
  EXPECT_EQ(evaluator.evaluate(study_with({3, 1, 2, 1, 5}).trials(), Direction::maximize), 3);
  EXPECT_EQ(evaluator.evaluate(study_with({1, 2, 2, 2, 2}).trials(), Direction::minimize), -1);
  EXPECT_THROW(evaluator.evaluate({}, Direction::minimize), Error);
  EXPECT_THROW(BestValueStagnationEvaluator(-1), Error);
}

TEST(Terminator, EndsAStudyThatStagnates) {
  auto study = create_study({.sampler = RandomSampler({.seed = 0})});
  Terminator terminator({.improvement_evaluator = BestValueStagnationEvaluator(5), .min_n_trials = 3});
  study.optimize([](Trial& trial) { return trial.number() < 10 ? 10.0 - static_cast<double>(trial.number()) : 5.0; },
                 {.n_trials = 100, .callbacks = {terminator_callback(terminator)}});
  // Trial 9 is the last that improves; the sixth after it leaves less than 0.
  EXPECT_EQ(study.trials().size(), 16u);
}

TEST(Terminator, CrossValidationErrorIsThatOfTheBestTrial) {
  auto study = create_study({.sampler = RandomSampler({.seed = 0})});
  for (const double value : {2.0, 1.0}) {
    auto trial = study.ask();
    report_cross_validation_scores(trial, {value, value + 0.5, value + 1});
    EXPECT_THROW(report_cross_validation_scores(trial, {1}), Error);
    study.tell(trial, value);
  }
  CrossValidationErrorEvaluator evaluator;
  const double variance = (0.25 + 0 + 0.25) / 3;  // of 1, 1.5 and 2
  EXPECT_NEAR(evaluator.evaluate(study.trials(), Direction::minimize), std::sqrt((1.0 / 3 + 1.0 / 2) * variance),
              1e-15);
  EXPECT_THROW(evaluator.evaluate(study_with({1}).trials(), Direction::minimize), Error);
}

TEST(Terminator, MedianErrorIsAShareOfTheFirstImprovements) {
  MedianErrorEvaluator evaluator(BestValueStagnationEvaluator(10),
                                 {.warm_up_trials = 1, .n_initial_trials = 3, .threshold_ratio = 0.1});
  EXPECT_LT(evaluator.evaluate(study_with({1, 2, 3}).trials(), Direction::minimize), 0);
  // After the warm-up 5, 6, 7: improvements of 10, 9 and 8 are left.
  EXPECT_NEAR(evaluator.evaluate(study_with({1, 5, 6, 7}).trials(), Direction::minimize), 0.9, 1e-15);
  EXPECT_THROW(MedianErrorEvaluator(ImprovementEvaluatorRef{}), Error);
  EXPECT_THROW(MedianErrorEvaluator(BestValueStagnationEvaluator(), {.threshold_ratio = 0}), Error);
}

// Optuna's figures are means of five seeds; both sides search random points and stop fitting at a loose tolerance.
TEST(TerminatorGolden, RegretBoundAndExpectedMinimumRegret) {
  const Map file = golden("terminators");
  for (const auto& item : file.at("cases").as_list()) {
    const Map& test = item.as_map();
    const Direction direction = test.at("direction") == Value("maximize") ? Direction::maximize : Direction::minimize;
    std::vector<FrozenTrial> trials;
    for (const auto& value : numbers(test.at("values"))) {
      FrozenTrial trial;
      trial.number = static_cast<std::int64_t>(trials.size());
      trial.state = TrialState::complete;
      trial.values = {value};
      const List& params = test.at("params").as_list()[trials.size()].as_list();
      trial.params = {{"x", params[0]}, {"y", params[1]}, {"c", params[2]}};
      trial.distributions.set("x", uniform(-5, 5));
      trial.distributions.set("y", loguniform(1e-3, 1));
      trial.distributions.set("c", choice({"p", "q"}));
      trials.push_back(trial);
    }
    for (const std::size_t n : {25u, 45u}) {
      const std::vector<FrozenTrial> first(trials.begin(), trials.begin() + static_cast<std::ptrdiff_t>(n));
      const auto expected = [&](const std::string& name) {
        return test.at(name + "_" + std::to_string(n)).as_list()[0].as_double();
      };
      EXPECT_NEAR(RegretBoundEvaluator({.seed = 0}).evaluate(first, direction), expected("regret"),
                  0.1 * expected("regret"));
      EXPECT_NEAR(EMMREvaluator({.seed = 0}).evaluate(first, direction), expected("emmr"), 0.15 * expected("emmr"));
    }
  }
}

TEST(Terminator, RegretBoundShrinks) {
  RegretBoundEvaluator evaluator({.seed = 0});
  EXPECT_THROW(evaluator.evaluate({}, Direction::minimize), Error);
  EXPECT_GT(EMMREvaluator({.seed = 0}).evaluate({}, Direction::minimize), 1e300);
  EXPECT_THROW(RegretBoundEvaluator({.top_trials_ratio = 0}), Error);
  EXPECT_THROW(EMMREvaluator({.min_n_trials = 1}), Error);
}

TEST(Terminator, MaxTrialsCountsTheStudysTrials) {
  auto study = study_with({1, 2, 3});
  study.optimize(
      [](Trial& trial) {
        if (trial.number() % 2 == 0) throw TrialPruned();
        return 1.0;
      },
      {.n_trials = 100, .callbacks = {max_trials_callback(6)}});
  EXPECT_EQ(study.trials({TrialState::complete}).size(), 6u);
  EXPECT_THROW(max_trials_callback(0), Error);
}

}  // namespace
}  // namespace levin::tune
