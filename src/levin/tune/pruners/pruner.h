// Pruner: tells from a trial's reports whether it is worth going on with.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study_view.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

namespace levin::tune {

using Grouping = std::function<std::int64_t(const FrozenTrial&)>;

/**
 * Decides whether a trial should stop early.
 *
 * A pruner is a function of the view, the current trial and its own options. It may be called from several threads at
 * once. `tune/testing/pruner_conformance.h` holds the tests that a pruner must pass.
 */
class LEVIN_API Pruner {
 public:
  virtual ~Pruner();

  /** Whether `trial`, which has just reported, should stop. */
  virtual bool prune(StudyView& study, const FrozenTrial& trial) = 0;

  /** Whether it can judge trials of a study with several objectives; if not, `should_prune` throws there. */
  virtual bool judges_several_objectives() const { return false; }

  /**
   * How this pruner divides the study into groups that compete apart, as a function of a trial that gives its group's
   * number; samplers then learn within the group. Empty when it does not, or does not know yet.
   */
  virtual Grouping grouping(StudyView& study);
};

/**
 * Whether a pruner that judges once in `interval_steps`, from `n_warmup_steps` on, judges the trial's last report: only
 * the first report of each interval is judged.
 */
LEVIN_API bool judged_at_last_step(const FrozenTrial& trial, std::int64_t n_warmup_steps, std::int64_t interval_steps);

/** Prunes nothing. */
class LEVIN_API NopPruner : public Pruner {
 public:
  bool prune(StudyView&, const FrozenTrial&) override { return false; }
  bool judges_several_objectives() const override { return true; }
};

/** A pruner held by value in options: any class derived from Pruner, or a shared pointer to one; may be empty. */
class PrunerRef {
 public:
  PrunerRef() = default;
  template <class P>
  requires std::derived_from<P, Pruner> PrunerRef(P pruner) : pruner_(std::make_shared<P>(std::move(pruner))) {}
  template <class P>
  requires std::derived_from<P, Pruner> PrunerRef(std::shared_ptr<P> pruner) : pruner_(std::move(pruner)) {}

  explicit operator bool() const noexcept { return pruner_ != nullptr; }
  const std::shared_ptr<Pruner>& get() const noexcept { return pruner_; }

 private:
  std::shared_ptr<Pruner> pruner_;
};

}  // namespace levin::tune
