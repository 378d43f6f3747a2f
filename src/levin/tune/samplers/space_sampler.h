// SpaceSampler: holds another sampler to the relations of a space, and keeps it from trying a config twice.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace levin::tune {

/** What to do about configs of a finite space that were tried (or are being tried) before. */
enum class Duplicates {
  allow,   ///< nothing
  avoid,   ///< try others while there are any
  forbid,  ///< the same, then throw Error
};

struct SpaceSamplerOptions {
  Duplicates duplicates = Duplicates::allow;
  std::int64_t max_attempts = 20;                    ///< proposals asked of the inner sampler before one is mended
  std::optional<std::uint64_t> seed = std::nullopt;  ///< of the mending; drawn from the operating system by default
};

/**
 * A sampler for a space that is written down up front and has relations between its parameters.
 *
 * The parameters of the space are proposed together by the inner sampler, whichever it is. A proposal that breaks a
 * relation is asked for again; then it is mended: continuous parameters of linear relations are projected onto them,
 * the rest is searched around the proposal and then across the space. What was enqueued stays as it is. So no
 * suggestion is ever infeasible; where no feasible point is found (10,000 tries), Error is thrown.
 *
 * Limits: strict inequalities of floats hold by at least one rounding step. Equalities hold to 1e-9 and need at least
 * one continuous parameter each, or a handful of discrete points. A duplicate in a space with a continuous parameter
 * never happens, so the policy is about spaces of discrete parameters only.
 */
class LEVIN_API SpaceSampler : public Sampler {
 public:
  /** `inner`: TPESampler by default. */
  SpaceSampler(SearchSpace space, SamplerRef inner = {}, SpaceSamplerOptions options = {});

  SearchSpace infer_relative_search_space(StudyView& study, const FrozenTrial& trial) override;
  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  void before_trial(StudyView& study, const FrozenTrial& trial) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;
  bool learns_within_groups() const override { return inner_->learns_within_groups(); }

 private:
  struct Seen;
  std::string key(const Map& params) const;
  bool feasible(const Map& params) const;
  std::optional<Map> mend(const FrozenTrial& trial, const Map& start, const Map& fixed,
                          const std::function<bool(const Map&)>& is_new, bool unique) const;

  SearchSpace space_;
  std::shared_ptr<Sampler> inner_;
  SpaceSamplerOptions options_;
  std::uint64_t seed_;
  std::shared_ptr<Seen> seen_;
};

}  // namespace levin::tune
