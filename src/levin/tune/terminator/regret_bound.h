// RegretBoundEvaluator: how much better the best value may still become, by a Gaussian process.
#pragma once

#include <levin/tune/terminator/terminator.h>

#include <cstdint>
#include <optional>

namespace levin::tune {

struct RegretBoundEvaluatorOptions {
  double top_trials_ratio = 0.5;   ///< share of the complete trials, the best, that the process is fitted to
  std::int64_t min_n_trials = 20;  ///< but at least so many
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
};

/**
 * The gap between the largest upper and the largest lower confidence bound of a Gaussian process, in the objective's
 * own terms (Makarova et al. 2022, "Automatic termination for hyperparameter optimization"). As Optuna's
 * RegretBoundEvaluator. Throws Error when no trial is complete, or no parameter is in all of them.
 */
class LEVIN_API RegretBoundEvaluator : public ImprovementEvaluator {
 public:
  RegretBoundEvaluator(RegretBoundEvaluatorOptions options = {});
  double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) override;

 private:
  RegretBoundEvaluatorOptions options_;
  std::uint64_t seed_;
};

struct EMMREvaluatorOptions {
  bool deterministic_objective = false;  ///< fit no noise
  double delta = 0.1;                    ///< probability that the bound fails
  std::int64_t min_n_trials = 2;         ///< complete trials before which nothing ends
  std::optional<std::uint64_t> seed = std::nullopt;
};

/**
 * The expected minimum model regret: how much the last trial changed what a Gaussian process expects of the best point
 * (Ishibashi et al. 2023, "A stopping criterion for Bayesian optimization by the gap of expected minimum simple
 * regrets"). As Optuna's EMMREvaluator; goes with MedianErrorEvaluator. A very large value while it cannot be told.
 */
class LEVIN_API EMMREvaluator : public ImprovementEvaluator {
 public:
  EMMREvaluator(EMMREvaluatorOptions options = {});
  double evaluate(const std::vector<FrozenTrial>& trials, Direction direction) override;

 private:
  EMMREvaluatorOptions options_;
  std::uint64_t seed_;
};

}  // namespace levin::tune
