#include <levin/tune/samplers/sampler.h>

#include <random>

namespace levin::tune {

Sampler::~Sampler() = default;
SearchSpace Sampler::infer_relative_search_space(StudyView&, const FrozenTrial&) { return {}; }
Map Sampler::sample_relative(StudyView&, const FrozenTrial&, const SearchSpace&) { return {}; }
void Sampler::before_trial(StudyView&, const FrozenTrial&) {}
void Sampler::after_trial(StudyView&, const FrozenTrial&, TrialState, const std::vector<double>&) {}

std::uint64_t seed_or_random(std::optional<std::uint64_t> seed) {
  if (seed) return *seed;
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace levin::tune
