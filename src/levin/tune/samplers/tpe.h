// TPESampler: the tree-structured Parzen estimator.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <memory>
#include <optional>

namespace levin::tune {

struct TPESamplerOptions {
  std::int64_t n_startup_trials = 10;  ///< trials (complete or pruned) before which sampling is random
  std::int64_t n_ei_candidates = 24;   ///< draws from the density of good trials, of which the best is taken
  std::optional<std::uint64_t> seed = std::nullopt;  ///< drawn from the operating system by default
  std::optional<bool> multivariate = std::nullopt;   ///< choose jointly; by default for one objective only
  bool group = false;         ///< choose jointly within each set of parameters that always occur together
  bool constant_liar = true;  ///< keep away from what other trials are trying at this moment
};

/**
 * Fits one density to the parameters of the best trials and one to those of the rest, and takes the candidate whose
 * ratio of the two is largest. Defaults and rules are those of Optuna 5's TPESampler: trials with constraints or
 * pruned trials rank behind feasible complete ones, and several objectives rank by dominance and hypervolume.
 *
 * Bergstra et al. 2011, "Algorithms for hyper-parameter optimization"; Watanabe 2023, "Tree-structured Parzen
 * estimator: understanding its algorithm components"; Ozaki et al. 2022, "Multiobjective tree-structured Parzen
 * estimator". What is drawn depends on (seed, trial number, parameters) and the trials seen alone.
 *
 * Throws Error for n_startup_trials < 0, n_ei_candidates < 1, or group without multivariate.
 */
class LEVIN_API TPESampler : public Sampler {
 public:
  TPESampler(TPESamplerOptions options = {});
  ~TPESampler() override;
  TPESampler(TPESampler&&) noexcept;
  TPESampler& operator=(TPESampler&&) noexcept;

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
