// QMCSampler: points of a low-discrepancy sequence.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <memory>
#include <optional>

namespace levin::tune {

enum class QMCType { sobol, halton };

struct QMCSamplerOptions {
  QMCType qmc_type = QMCType::sobol;
  bool scramble = false;  ///< randomise the sequence, which removes its regular patterns
  /** Of the scramble and of what is chosen alone. By default it follows from the study's name, so that all workers
   * of a study draw from one sequence. */
  std::optional<std::uint64_t> seed = std::nullopt;
  SamplerRef independent_sampler = {};    ///< for what is not in the sequence; RandomSampler by default
  bool warn_independent_sampling = true;  ///< say so when that happens
};

/**
 * Fills the space evenly with the points of Sobol's or Halton's sequence.
 *
 * The space is that of the study's first finished trial, which is chosen at random (as Optuna's QMCSampler does it);
 * parameters that this trial did not have are chosen alone. Trial n takes point n: the storage gives every trial a
 * number of its own in one transaction, so however many workers run the study, no two draw the same point, and the
 * points of a study do not depend on who draws them. (Points of enqueued and of the first trials are left out.)
 *
 * Throws Error for more parameters than SobolSequence has dimensions.
 */
class LEVIN_API QMCSampler : public Sampler {
 public:
  QMCSampler(QMCSamplerOptions options = {});
  ~QMCSampler() override;
  QMCSampler(QMCSampler&&) noexcept;
  QMCSampler& operator=(QMCSampler&&) noexcept;

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
