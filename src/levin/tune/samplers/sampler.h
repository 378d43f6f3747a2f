// Sampler: chooses the parameters of a trial from what a view of the study shows.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study_view.h>

#include <concepts>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/**
 * Chooses parameters, in two ways that go together.
 *
 * *Relative*: at the first suggestion of a trial, `infer_relative_search_space` names parameters to be chosen jointly
 * and `sample_relative` chooses them. *Independent*: a parameter that was not chosen jointly (because it is new, or
 * its range has changed) is chosen alone by `sample_independent`.
 *
 * A sampler is a function of the view, the current trial and its own options: what it keeps between calls may only
 * make it faster, so that any worker of a study can run it. All methods may be called from several threads at once.
 * `tune/testing/sampler_conformance.h` holds the tests that a sampler must pass.
 */
class LEVIN_API Sampler {
 public:
  virtual ~Sampler();

  /** The parameters to choose jointly; none by default. */
  virtual SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial);
  /** External values for parameters of `space`, or fewer, or none (the rest are chosen one by one). */
  virtual Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space);
  /** The external value of one parameter. */
  virtual Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                   const Distribution& distribution) = 0;
  /** Whether to see only the trials of the same group where the pruner has groups (Hyperband's brackets). */
  virtual bool learns_within_groups() const { return true; }
  /** Called when a trial starts. */
  virtual void before_trial(StudyView& study, const FrozenTrial& trial);
  /** Called just before a trial is stored as finished with this state and these values. */
  virtual void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                           const std::vector<double>& values);
};

/** A sampler held by value in options: any class derived from Sampler, or a shared pointer to one; may be empty. */
class SamplerRef {
 public:
  SamplerRef() = default;
  template <class S>
  requires std::derived_from<S, Sampler> SamplerRef(S sampler) : sampler_(std::make_shared<S>(std::move(sampler))) {}
  template <class S>
  requires std::derived_from<S, Sampler> SamplerRef(std::shared_ptr<S> sampler) : sampler_(std::move(sampler)) {}

  explicit operator bool() const noexcept { return sampler_ != nullptr; }
  const std::shared_ptr<Sampler>& get() const noexcept { return sampler_; }

 private:
  std::shared_ptr<Sampler> sampler_;
};

/** The seed to use: the given one, or one that the operating system draws. */
LEVIN_API std::uint64_t seed_or_random(std::optional<std::uint64_t> seed);

}  // namespace levin::tune
