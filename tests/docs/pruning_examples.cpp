// The programs of docs/pruning.md and docs/importance.md.
#include <levin/tune/tune.h>

#include <gtest/gtest.h>

#include <cmath>
#include <iostream>

namespace {

namespace tune = levin::tune;

// Loss and seconds of a pretended training.
double loss_after(double lr, std::int64_t width, std::int64_t epoch) {
  return std::abs(std::log10(lr) + 3) + 8.0 / static_cast<double>(width) + 1.0 / static_cast<double>(epoch + 1);
}

TEST(DocumentedPruning, Hyperband) {
  auto study = tune::create_study({.pruner = tune::HyperbandPruner({.max_resource = 27}), .study_name = "widths"});
  study.optimize(
      [](tune::Trial& trial) {
        auto lr = trial.suggest_float("lr", 1e-5, 1e-1, {.log = true});
        auto width = trial.suggest_int("width", 8, 256, {.log = true});
        double loss = 0;
        for (std::int64_t epoch = 0; epoch < 27; ++epoch) {
          loss = loss_after(lr, width, epoch);
          trial.report(loss, epoch, {{"seconds", 0.01 * static_cast<double>(width)}});
          if (trial.should_prune()) throw tune::TrialPruned();
        }
        return loss;
      },
      {.n_trials = 60});
  EXPECT_GT(study.trials({tune::TrialState::pruned}).size(), 10u);
}

TEST(DocumentedPruning, Metrics) {
  auto study = tune::create_study(
      {.pruner = tune::AnyPruner(
           {tune::MedianPruner(), tune::MetricPruner(tune::ThresholdPruner({.upper = 1.5}), {.metric = "seconds"})})});
  auto trial = study.ask();
  trial.report(0.1, 0, {{"seconds", 2.0}});
  EXPECT_TRUE(trial.should_prune());
}

TEST(DocumentedPruning, SeveralObjectives) {
  auto study = tune::create_study({.sampler = tune::NSGAIISampler({.population_size = 20}),
                                   .pruner = tune::SuccessiveHalvingPruner({.min_resource = 1, .reduction_factor = 2}),
                                   .directions = {tune::Direction::minimize, tune::Direction::minimize}});
  study.optimize(
      [](tune::Trial& trial) {
        auto lr = trial.suggest_float("lr", 1e-5, 1e-1, {.log = true});
        auto width = trial.suggest_int("width", 8, 256, {.log = true});
        std::vector<double> loss_and_size;
        for (std::int64_t epoch = 0; epoch < 16; ++epoch) {
          loss_and_size = {loss_after(lr, width, epoch), static_cast<double>(width)};
          trial.report(loss_and_size, epoch);
          if (trial.should_prune()) throw tune::TrialPruned();
        }
        return loss_and_size;
      },
      {.n_trials = 100});
  for (const auto& trial : study.best_trials()) std::cout << trial.values[0] << " at width " << trial.values[1] << '\n';
  std::cout << tune::hypervolume(study.trials(), study.directions(), {5, 300}) << '\n';
  EXPECT_GT(study.trials({tune::TrialState::pruned}).size(), 10u);
}

TEST(DocumentedImportance, ImportancesAndTheEndOfAStudy) {
  auto study = tune::create_study();
  study.optimize(
      [](tune::Trial& trial) {
        auto lr = trial.suggest_float("lr", 1e-5, 1e-1, {.log = true});
        auto width = trial.suggest_int("width", 8, 256, {.log = true});
        return loss_after(lr, width, 10);
      },
      {.n_trials = 200,
       .callbacks = {tune::terminator_callback(
           tune::Terminator({.improvement_evaluator = tune::BestValueStagnationEvaluator(50)}))}});
  for (const auto& [name, importance] : tune::param_importances(study)) {
    std::cout << name << ' ' << importance << '\n';
  }
  auto by_variance = tune::param_importances(study, {.evaluator = tune::FanovaImportanceEvaluator({.seed = 0})});
  EXPECT_EQ(by_variance.front().first, "lr");
}

}  // namespace
