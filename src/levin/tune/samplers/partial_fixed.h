// PartialFixedSampler: some parameters given, the rest chosen by another sampler.
#pragma once

#include <levin/tune/samplers/sampler.h>

namespace levin::tune {

/**
 * Gives the parameters named in `fixed` their value there and leaves all others to `base`, which also learns from
 * trials that had other values. As Optuna's PartialFixedSampler, except that a value outside the parameter's range
 * throws Error when the parameter is suggested.
 */
class LEVIN_API PartialFixedSampler : public Sampler {
 public:
  PartialFixedSampler(Map fixed, SamplerRef base);

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  bool learns_within_groups() const override;
  void before_trial(StudyView& study, const FrozenTrial& trial) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;

 private:
  Map fixed_;
  SamplerRef base_;
};

}  // namespace levin::tune
