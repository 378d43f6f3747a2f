// BOHBSampler: kernel densities on the highest budget that enough trials have reached.
#pragma once

#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/sampler.h>

#include <optional>

namespace levin::tune {

struct BOHBSamplerOptions {
  std::optional<std::int64_t> min_points = std::nullopt;  ///< trials that a budget needs; by default parameters + 1
  double top_fraction = 0.15;                             ///< of the trials, that count as good
  std::int64_t n_candidates = 64;
  double random_fraction = 1.0 / 3;                  ///< of the trials, whose parameters are drawn at random
  double bandwidth_factor = 3;                       ///< how much wider candidates are drawn than the kernels are
  double min_bandwidth = 1e-3;                       ///< of the range
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
};

/**
 * The sampler of BOHB (Falkner, Klein and Hutter 2018, "BOHB: robust and efficient hyperparameter optimization at
 * scale"), to go with HyperbandPruner or a Hyperband scheduler.
 *
 * A budget is a step that trials have reported at; complete trials count with their value as the highest. On the
 * highest budget with min_points + 2 trials, the kernel density of the best trials is compared with that of the rest.
 * It learns from the trials of all brackets. For one objective; parameters that not all trials have are drawn at
 * random. Throws Error for options out of range and for studies with several objectives.
 */
class LEVIN_API BOHBSampler : public Sampler {
 public:
  BOHBSampler(BOHBSamplerOptions options = {});

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  bool learns_within_groups() const override { return false; }

 private:
  BOHBSamplerOptions options_;
  std::uint64_t seed_;
  RandomSampler random_;
};

}  // namespace levin::tune
