// BruteForceSampler: every combination of a finite space that is defined as it is run.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <memory>
#include <optional>

namespace levin::tune {

struct BruteForceSamplerOptions {
  std::optional<std::uint64_t> seed = std::nullopt;  ///< of the order; drawn from the operating system by default
  /** Whether the search goes on while combinations are only running elsewhere (and may still fail): then none is
   * missed, and some may run twice. */
  bool avoid_premature_stop = false;
};

/**
 * Tries every combination once in random order, then ends the search, as Optuna's BruteForceSampler does.
 *
 * The space is the tree of what the objective suggests in which order: what is suggested next, and its range, may
 * depend on the values before. All ranges must be finite (ints, choices, floats with a step).
 *
 * Throws Error for a continuous range, one of more than a million points, and an objective that after the same values
 * suggests something else than before.
 */
class LEVIN_API BruteForceSampler : public Sampler {
 public:
  BruteForceSampler(BruteForceSamplerOptions options = {});
  ~BruteForceSampler() override;
  BruteForceSampler(BruteForceSampler&&) noexcept;
  BruteForceSampler& operator=(BruteForceSampler&&) noexcept;

  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
