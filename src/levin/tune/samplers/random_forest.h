// RandomForestSampler: Bayesian optimisation with a random forest, in the manner of SMAC.
#pragma once

#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/sampler.h>

#include <optional>

namespace levin::tune {

struct RandomForestSamplerOptions {
  std::int64_t n_startup_trials = 10;  ///< complete trials before which sampling is random
  std::int64_t n_trees = 10;
  double max_features = 1.0;          ///< share of the parameters that a split may choose from
  std::int64_t n_challengers = 5000;  ///< random points looked at for each trial
  std::int64_t n_local_searches = 10;
  double random_fraction = 0.2;  ///< of the trials, whose parameters are drawn at random
  bool log_values = true;        ///< fit the logarithm of the (shifted) values, which tells good ones apart better
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
};

/**
 * Fits a random forest to the trials and takes the point of largest expected improvement, found among random points
 * and by local search around the best (Hutter, Hoos and Leyton-Brown 2011, "Sequential model-based optimization for
 * general algorithm configuration"; defaults as SMAC3's hyperparameter optimisation, which draws twice the points).
 *
 * At home where parameters are categorical or conditional: all parameters that occurred are chosen together, and which
 * of them a point will have is read off the trial that is most alike. Infeasible trials count as the worst, pruned
 * ones as no better than the best complete one. Several objectives are weighed anew for each trial (Knowles 2006,
 * "ParEGO"). Throws Error for options out of range.
 */
class LEVIN_API RandomForestSampler : public Sampler {
 public:
  RandomForestSampler(RandomForestSamplerOptions options = {});

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;

 private:
  RandomForestSamplerOptions options_;
  std::uint64_t seed_;
  RandomSampler random_;
};

}  // namespace levin::tune
