#include <levin/tune/samplers/partial_fixed.h>

namespace levin::tune {

PartialFixedSampler::PartialFixedSampler(Map fixed, SamplerRef base)
    : fixed_(std::move(fixed)), base_(std::move(base)) {
  if (!base_) throw Error("a PartialFixedSampler needs a sampler for the other parameters");
}

SearchSpace PartialFixedSampler::infer_relative_search_space(StudyView& study, const FrozenTrial& trial) {
  SearchSpace space = base_.get()->infer_relative_search_space(study, trial);
  for (const auto& entry : fixed_) space.erase(entry.first);
  return space;
}

Map PartialFixedSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return base_.get()->sample_relative(study, trial, space);
}

Value PartialFixedSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                              const Distribution& distribution) {
  const Value* value = fixed_.find(name);
  if (value == nullptr) return base_.get()->sample_independent(study, trial, name, distribution);
  if (!distribution.contains(distribution.to_internal(*value))) {
    throw Error({.what = "the fixed value lies outside " + distribution.to_text(),
                 .value = value->to_string(),
                 .where = "parameter \"" + name + "\" of PartialFixedSampler",
                 .hint = {}});
  }
  return *value;
}

bool PartialFixedSampler::learns_within_groups() const { return base_.get()->learns_within_groups(); }

void PartialFixedSampler::before_trial(StudyView& study, const FrozenTrial& trial) {
  base_.get()->before_trial(study, trial);
}

void PartialFixedSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                                      const std::vector<double>& values) {
  base_.get()->after_trial(study, trial, state, values);
}

}  // namespace levin::tune
