// RandomSampler: every parameter drawn from its distribution.
#pragma once

#include <levin/core/rng.h>
#include <levin/tune/samplers/sampler.h>

#include <optional>

namespace levin::tune {

struct RandomSamplerOptions {
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
};

/**
 * Draws every parameter alone and uniformly (on the logarithm for `log`), as Optuna's RandomSampler does.
 *
 * What is drawn depends on (seed, trial number, parameter name) alone, not on the order of suggestions or threads.
 */
class LEVIN_API RandomSampler : public Sampler {
 public:
  RandomSampler(RandomSamplerOptions options = {}) : seed_(seed_or_random(options.seed)) {}

  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;

 private:
  std::uint64_t seed_;
};

/** A value drawn from a distribution, before rounding to its quantum. */
LEVIN_API Value draw(const Distribution& distribution, Rng& rng);

}  // namespace levin::tune
