// Scheduler: decides after each result which trials of a Tuner go on, wait, end, or go on as copies of others.
#pragma once

#include <levin/core/export.h>
#include <levin/core/mode.h>
#include <levin/tune/trainable.h>

#include <concepts>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

namespace levin::tune {

enum class RunStatus { pending, running, paused, finished };

/** One trial as a scheduler sees it. */
struct Run {
  std::int64_t number = 0;
  Config config;
  RunStatus status = RunStatus::pending;
  Metrics last_result;         ///< empty before the first one
  std::int64_t iteration = 0;  ///< steps done, counted through clones and restores
  double time_total_s = 0;     ///< seconds spent in steps, counted likewise
};

/** A trial's state at one moment, with which another (or the same) can go on. */
struct Snapshot {
  State state;
  std::int64_t iteration = 0;
  double time_total_s = 0;
  Metrics last_result;
};
using SnapshotPtr = std::shared_ptr<const Snapshot>;

/** What happens to the trial that just gave a result. */
enum class Decision {
  proceed,   ///< it goes on
  pause,     ///< its state is kept and its place given to another, until `Scheduler::choose` takes it up again
  stop,      ///< it ends here, since it is not worth more (its study trial is PRUNED)
  complete,  ///< it ends here, having had all that there is to give
};

/** What a scheduler may look at and ask of the Tuner. */
class LEVIN_API TunerControl {
 public:
  virtual ~TunerControl();
  /** Trials that are not finished, in order of their number. */
  virtual std::span<Run* const> live() const = 0;
  /** Whether trials will be added that are not there yet. */
  virtual bool more_to_come() const = 0;
  /** The state of a paused trial, or of the one whose result is being judged. Throws Error if it cannot be saved. */
  virtual SnapshotPtr save(const Run& run) = 0;
  /** Lets such a trial go on from `snapshot` with `config` when it next runs. */
  virtual void restart(const Run& run, SnapshotPtr snapshot, Config config) = 0;
  /** Ends a paused trial: `stop` or `complete`. */
  virtual void end(const Run& run, Decision decision) = 0;
};

/** What a Tuner tells its scheduler at the start. */
struct SchedulerSetup {
  std::string metric;
  Mode mode = Mode::min;
  std::uint64_t seed = 0;
};

/**
 * Decides about trials. A Tuner calls from one thread at a time, whatever the number of trials that run at once.
 * `tune/testing/scheduler_conformance.h` holds the tests that a scheduler must pass.
 */
class LEVIN_API Scheduler {
 public:
  virtual ~Scheduler();

  /** Called once before a search; forgets any earlier one. */
  virtual void begin(const SchedulerSetup& setup);
  /** Called when a trial is made, before its first step; may fill in its config. */
  virtual void on_trial_add(TunerControl& control, Run& run);
  /** Called after each result; `run` holds it already. */
  virtual Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) = 0;
  /** Called when a trial ended by itself, by a stopper or by `Decision::complete`; `result` is its last one. */
  virtual void on_trial_complete(TunerControl& control, Run& run, const Metrics& result);
  /** Called when a trial ended for good in any other way: an error, `Decision::stop`, the end of the search. */
  virtual void on_trial_remove(TunerControl& control, Run& run);
  /**
   * Called when a place is free: the paused trial to go on, or null for a new one. When no new one can be made
   * (`can_create`), null lets the place wait for trials under way; when there are none, paused trials are ended.
   * By default new trials first, then paused ones in order.
   */
  virtual const Run* choose(TunerControl& control, bool can_create);
  /** Whether it gains by seeing, before a restored search goes on, the results of the trials that finished earlier. */
  virtual bool learns_from_past() const;

 protected:
  const SchedulerSetup& setup() const noexcept { return setup_; }
  /** The metric of a result, negated when it is to be minimised: larger is better. */
  double score(const Metrics& result) const;
  /** A number in a result; throws Error naming the nearest one when it is missing or no number. */
  static double number(const Metrics& result, const std::string& name, const char* what);

 private:
  SchedulerSetup setup_;
};

/** Runs trials in order of their making, each to its end. */
class LEVIN_API FIFOScheduler : public Scheduler {
 public:
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;
};

/** A scheduler held by value in options: any class derived from Scheduler, or a shared pointer to one; FIFO by default.
 */
class SchedulerRef {
 public:
  SchedulerRef() : scheduler_(std::make_shared<FIFOScheduler>()) {}
  template <class S>
  requires std::derived_from<S, Scheduler> SchedulerRef(S scheduler)
      : scheduler_(std::make_shared<S>(std::move(scheduler))) {}
  template <class S>
  requires std::derived_from<S, Scheduler> SchedulerRef(std::shared_ptr<S> scheduler)
      : scheduler_(std::move(scheduler)) {}

  const std::shared_ptr<Scheduler>& get() const noexcept { return scheduler_; }

 private:
  std::shared_ptr<Scheduler> scheduler_;
};

}  // namespace levin::tune
