// StudyView: what samplers and pruners see of a study, and the few things they may ask of it.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/frozen_trial.h>
#include <levin/tune/storage/storage.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/**
 * The trials of a study at one moment. Cheap to copy: finished trials stand in a list that only ever grows and that
 * all views of a study share.
 */
class LEVIN_API TrialsSnapshot {
 public:
  TrialsSnapshot() = default;

  /** Finished trials (complete, pruned, failed) in the order in which this process learnt of them. */
  std::span<const TrialPtr> finished() const noexcept;
  /** Running and waiting trials by number. */
  std::span<const TrialPtr> unfinished() const noexcept { return *unfinished_; }
  /** All trials by number. */
  std::vector<TrialPtr> by_number() const;

  /**
   * Names the list that `finished()` is a prefix of: of two snapshots with the same log, the shorter list is a prefix
   * of the longer. What was computed from a prefix can be carried on.
   */
  std::uint64_t log() const noexcept { return log_; }

 private:
  friend class TrialCache;
  std::uint64_t log_ = 0;
  std::shared_ptr<TrialPtr[]> buffer_;  ///< slots below n_finished_ never change again
  std::size_t n_finished_ = 0;
  std::shared_ptr<const std::vector<TrialPtr>> unfinished_ = std::make_shared<const std::vector<TrialPtr>>();
};

/** Follows one study of a storage, reading only what is new or may have changed. Safe to use from many threads. */
class LEVIN_API TrialCache {
 public:
  TrialCache(std::shared_ptr<Storage> storage, std::int64_t study_id);
  /** A fixed list of trials without a storage behind it. */
  explicit TrialCache(std::vector<TrialPtr> trials);

  /** What `select` makes of the trials of `whole`: each trial itself, another in its place, or null to leave it out. */
  TrialCache(std::shared_ptr<TrialCache> whole, std::function<TrialPtr(const TrialPtr&)> select);

  /** The trials as they are in the storage now. */
  TrialsSnapshot read();
  /** The best complete feasible trial among those read so far, or null; the earliest of equals. */
  TrialPtr best(Direction direction);

 private:
  void append(TrialPtr trial);
  void refresh();
  void learn_ordinals(const std::vector<TrialPtr>& trials);
  TrialPtr with_ordinals(TrialPtr trial) const;

  std::mutex mutex_;
  std::shared_ptr<Storage> storage_;
  std::shared_ptr<TrialCache> whole_;
  std::function<TrialPtr(const TrialPtr&)> select_;
  std::size_t n_selected_from_ = 0;  // finished trials of the whole taken in so far
  std::int64_t study_id_ = -1;
  std::int64_t last_id_ = -1;
  std::vector<std::int64_t> open_ids_;
  std::map<std::string, Distribution> ordinals_;  // of the study, by name
  TrialsSnapshot snapshot_;
  std::size_t capacity_ = 0;
  TrialPtr best_;
  Direction best_direction_ = Direction::minimize;
  std::size_t n_compared_ = 0;
};

/**
 * A study as a sampler or pruner sees it while it works for one trial (the current trial).
 *
 * Samplers and pruners are functions of what a view shows; what they ask for in return (attributes of the current
 * trial, the end of the search) is gathered here and carried out by the caller, in one transaction.
 */
class LEVIN_API StudyView {
 public:
  StudyView(std::string name, std::vector<Direction> directions, std::shared_ptr<TrialCache> cache);
  /** A view of given trials, to test samplers and pruners with. */
  StudyView(std::vector<Direction> directions, std::vector<FrozenTrial> trials, std::string name = "study");

  const std::string& study_name() const noexcept { return identity_->name; }
  const std::vector<Direction>& directions() const noexcept { return identity_->directions; }
  /** The direction of a study with one objective; throws Error otherwise. */
  Direction direction() const;
  bool is_multi_objective() const noexcept { return directions().size() > 1; }

  /** The trials at this view's moment, which is the first call; later calls show the same. */
  const TrialsSnapshot& trials();
  /** Makes this a view of an earlier moment. */
  void show(TrialsSnapshot trials) {
    trials_ = std::move(trials);
    read_ = true;
  }

  /** Where the trials come from, for views of a part of them. */
  const std::shared_ptr<TrialCache>& cache() const noexcept { return cache_; }

  /** Asks to set a system attribute of the current trial. */
  void set_system_attr(const std::string& key, Value value) { system_attrs_[key] = std::move(value); }
  /** Asks to end `Study::optimize` once the trials under way are done. */
  void stop() { stop_ = true; }

  const Map& requested_system_attrs() const noexcept { return system_attrs_; }
  bool stop_requested() const noexcept { return stop_; }

 private:
  struct Identity {
    std::string name;
    std::vector<Direction> directions;
  };
  std::shared_ptr<const Identity> identity_;  ///< copies share it: a trial takes many views
  std::shared_ptr<TrialCache> cache_;
  bool read_ = false;
  TrialsSnapshot trials_;
  Map system_attrs_;
  bool stop_ = false;
};

}  // namespace levin::tune
