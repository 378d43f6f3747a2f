// CmaEsSampler: covariance matrix adaptation.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <memory>
#include <optional>
#include <vector>

namespace levin::tune {

/** What happens when a search has converged: nothing, or it starts anew at a random point with a larger population
 * (IPOP: Auger and Hansen 2005), or with large and small ones in turn (BIPOP: Hansen 2009). */
enum class CmaRestart { none, ipop, bipop };

struct CmaEsSamplerOptions {
  Map x0 = {};  ///< where to start, by parameter; the middle of the ranges by default
  /** The first standard deviation, as a share of the ranges; 1/6 by default. */
  std::optional<double> sigma0 = std::nullopt;
  std::int64_t n_startup_trials = 1;    ///< complete trials before which sampling is independent
  SamplerRef independent_sampler = {};  ///< for those, and for what CMA-ES cannot choose; RandomSampler by default
  bool warn_independent_sampling = true;
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
  bool consider_pruned_trials = false;               ///< take a pruned trial's last report for its value
  CmaRestart restart_strategy = CmaRestart::none;
  std::optional<std::int64_t> popsize = std::nullopt;  ///< points a generation; 4 + floor(3 ln d) by default
  std::int64_t inc_popsize = 2;                        ///< factor of the population at a restart
  bool use_separable_cma = false;                      ///< a diagonal covariance, for many parameters
  bool with_margin = false;                            ///< keep neighbouring points of stepped ranges in reach
  bool lr_adapt = false;                               ///< learn slower where the objective is noisy or multimodal
  std::vector<FrozenTrial> source_trials = {};         ///< trials of a related study to start from
};

/**
 * Searches floats and ints jointly with CMA-ES (see CmaEs); choices, and parameters that not all complete trials have,
 * are chosen by `independent_sampler`. Options and defaults are those of Optuna's CmaEsSampler, with the restarts that
 * it had until version 4.3. For one objective; constraints are not looked at.
 *
 * The state of the search is no one's property: every trial carries the generation it was drawn from (attribute
 * `levin:cma`), and each worker replays the generations from the trials, in order of completion. So all workers with
 * the same options agree, any worker may go away, and nothing but the trials is stored.
 *
 * Throws Error for options that exclude each other (source_trials with x0, sigma0 or use_separable_cma; lr_adapt with
 * use_separable_cma or with_margin; both of the latter), for sigma0 <= 0, popsize < 2, inc_popsize < 1,
 * n_startup_trials < 0, for an x0 that lacks a parameter, and for source_trials of which fewer than 10 fit the space.
 */
class LEVIN_API CmaEsSampler : public Sampler {
 public:
  CmaEsSampler(CmaEsSamplerOptions options = {});
  ~CmaEsSampler() override;
  CmaEsSampler(CmaEsSampler&&) noexcept;
  CmaEsSampler& operator=(CmaEsSampler&&) noexcept;

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
