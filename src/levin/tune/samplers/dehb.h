// DEHBSampler and BudgetPruner: differential evolution on the budgets of Hyperband.
#pragma once

#include <levin/tune/pruners/pruner.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/sampler.h>

#include <cstdint>
#include <optional>

namespace levin::tune {

struct DEHBSamplerOptions {
  std::int64_t min_resource = 1;    ///< steps of the smallest budget
  std::int64_t max_resource = 100;  ///< steps of a whole trial
  std::int64_t reduction_factor = 3;
  double mutation_factor = 0.5;                      ///< F: weight of the difference of two parents
  double crossover_prob = 0.5;                       ///< CR: how many parameters a child takes from its mutant
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
};

/**
 * DEHB (Awad, Mallik and Hutter 2021, "DEHB: evolutionary hyperband for scalable, robust and efficient hyperparameter
 * optimization"): one subpopulation per budget, evolved by rand/1/bin; mutants of a higher budget are made of the best
 * of the budget below it. The first bracket is plain successive halving.
 *
 * A trial's number says which bracket, rung and place it has, so that workers agree without a word; its budget in steps
 * stands in the attribute `dehb:budget`. Use it together with BudgetPruner, which ends trials at their budget; a trial
 * competes with the last value that it reported. For one objective.
 *
 * Throws Error for options out of range and for studies with several objectives.
 */
class LEVIN_API DEHBSampler : public Sampler {
 public:
  DEHBSampler(DEHBSamplerOptions options = {});

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  bool learns_within_groups() const override { return false; }

 private:
  DEHBSamplerOptions options_;
  std::uint64_t seed_;
  RandomSampler random_;
};

/** Ends a trial when its step reaches the budget that its sampler noted, unless that is the whole trial. */
class LEVIN_API BudgetPruner : public Pruner {
 public:
  bool prune(StudyView& study, const FrozenTrial& trial) override;
};

}  // namespace levin::tune
