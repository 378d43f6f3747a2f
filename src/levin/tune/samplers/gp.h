// GPSampler: Bayesian optimisation with Gaussian processes.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <memory>
#include <optional>

namespace levin::tune {

struct GPSamplerOptions {
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
  SamplerRef independent_sampler = {};    ///< before, and for what is not in all trials; RandomSampler by default
  std::int64_t n_startup_trials = 10;     ///< complete trials before which sampling is independent
  bool deterministic_objective = false;   ///< the same parameters always give the same value: fit no noise
  bool warn_independent_sampling = true;  ///< say so when a parameter is chosen alone
};

/**
 * Fits a Gaussian process (Matern 5/2, a lengthscale a parameter) to each objective and constraint and takes the point
 * with the largest expected improvement (of the hypervolume, when there are several objectives; times the probability
 * of being feasible, when trials set constraints). What other trials are trying at this moment is taken into account.
 * Model, priors and acquisition functions are those of Optuna 5's GPSampler; see GaussianProcess and Acquisition.
 *
 * For expensive objectives with up to about 20 parameters and a few hundred trials: the cost of a suggestion grows with
 * the cube of the number of trials. The space is what all complete trials share; infinite values count as the worst (or
 * best) finite one. The kernel's parameters are kept on each trial (attribute `levin:gp`), where the next fit starts.
 *
 * Throws Error for n_startup_trials < 0.
 */
class LEVIN_API GPSampler : public Sampler {
 public:
  GPSampler(GPSamplerOptions options = {});
  ~GPSampler() override;
  GPSampler(GPSampler&&) noexcept;
  GPSampler& operator=(GPSampler&&) noexcept;

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  void before_trial(StudyView& study, const FrozenTrial& trial) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
