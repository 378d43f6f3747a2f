// AutoSampler: the method that suits the study, chosen from what it has shown so far.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <memory>
#include <optional>
#include <string>

namespace levin::tune {

struct AutoSamplerOptions {
  std::optional<std::int64_t> n_trials = std::nullopt;  ///< trials the study will have, where that is known
  std::optional<std::uint64_t> seed = std::nullopt;     ///< drawn from the operating system by default
};

/** A method and why it was taken. */
struct AutoChoice {
  std::string method;  ///< random, gp, cma, tpe, nsga2 or nsga3
  std::string reason;
};

/**
 * Chooses among the samplers by the space, the number of objectives and of trials, and the constraints, and says once
 * on the console what it chose and why:
 *
 * - the first trial at random, since nothing is known of the space;
 * - four objectives and more: NSGA-III;
 * - parameters that only some trials have, or more than 20: TPE;
 * - otherwise Gaussian processes, as long as they are fast (250 trials; 100 with several objectives);
 * - then CMA-ES from the best point found, for one objective over numbers without constraints; NSGA-II for several
 *   objectives; TPE for the rest.
 *
 * A function of the trials like every sampler: all workers of a study choose alike. Throws Error for n_trials < 1.
 */
class LEVIN_API AutoSampler : public Sampler {
 public:
  AutoSampler(AutoSamplerOptions options = {});
  ~AutoSampler() override;
  AutoSampler(AutoSampler&&) noexcept;
  AutoSampler& operator=(AutoSampler&&) noexcept;

  /** What it would take for the next trial of this study. */
  AutoChoice choose(StudyView& study) const;

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
