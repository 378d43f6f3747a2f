// Pruner: tells from a trial's reports whether it is worth going on with.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study_view.h>

#include <concepts>
#include <memory>
#include <utility>

namespace levin::tune {

/**
 * Decides whether a trial should stop early.
 *
 * A pruner is a function of the view, the current trial and its own options. It may be called from several threads at
 * once. `tune/testing/pruner_conformance.h` holds the tests that a pruner must pass.
 */
class LEVIN_API Pruner {
 public:
  virtual ~Pruner();

  /** Whether `trial`, which has just reported, should stop. Called for studies with one objective only. */
  virtual bool prune(StudyView& study, const FrozenTrial& trial) = 0;
};

/** Prunes nothing. */
class LEVIN_API NopPruner : public Pruner {
 public:
  bool prune(StudyView&, const FrozenTrial&) override { return false; }
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
