// Tuner: a search in Ray Tune's terms, over trials that can be paused, copied and given other hyperparameters.
#pragma once

#include <levin/core/export.h>
#include <levin/core/mode.h>
#include <levin/tune/result_grid.h>
#include <levin/tune/samplers/sampler.h>
#include <levin/tune/samplers/space_sampler.h>
#include <levin/tune/schedulers/scheduler.h>
#include <levin/tune/space.h>
#include <levin/tune/stopper.h>
#include <levin/tune/storage/storage.h>
#include <levin/tune/study.h>
#include <levin/tune/trainable.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace levin::tune {

struct FailureConfig {
  std::int64_t max_failures = 0;  ///< how often a trial is tried again after an error; -1: without end
  bool fail_fast = false;         ///< end the search at the first trial that fails for good
};

struct CheckpointConfig {
  std::filesystem::path folder = {};  ///< where states are written, a folder a trial; empty: memory alone
  std::int64_t frequency = 0;         ///< save a trial's state every so many steps; 0: only when the scheduler needs it
  bool at_end = false;                ///< save it at the trial's end
  std::int64_t num_to_keep = 1;       ///< files of a trial that are kept, the latest ones
};

struct TunerOptions {
  std::string metric = "";  ///< the number in each result that is optimised
  Mode mode = Mode::min;
  std::int64_t num_samples = 1;            ///< trials; with grid_search in the space, per combination; -1: without end
  std::int64_t max_concurrent_trials = 1;  ///< trials at a time, each in a thread; -1: one per processor
  std::optional<double> time_budget_s = std::nullopt;  ///< seconds after which the search ends
  SamplerRef search_alg = {};                          ///< RandomSampler by default; any sampler of a Study
  SchedulerRef scheduler = {};                         ///< FIFOScheduler by default
  StopperRef stop = {};                                ///< when a trial is complete: {{"training_iteration", 20}}
  StorageRef storage = "memory://";                    ///< where the study is that holds the trials
  std::string name = "";                               ///< of that study; a unique name by default
  /** Makes the search repeatable: trials that run at once then wait for each other's step, so that results come in a
   * fixed order. Without a seed, results are taken as they come. */
  std::optional<std::uint64_t> seed = std::nullopt;
  std::vector<Map> points_to_evaluate = {};   ///< parameters (by flat names) of extra trials to begin with
  Duplicates duplicates = Duplicates::allow;  ///< what to do about configs that were tried before
  bool reuse_actors = false;  ///< offer the trainable of an ended or paused trial to the next (`Trainable::reset`)
  FailureConfig failure = {};
  CheckpointConfig checkpoint = {};
  std::function<void(const Run&, const Metrics&)> on_result = {};  ///< called after each result
  std::function<void(const TrialResult&)> on_trial_end = {};       ///< called after each trial
  std::stop_token stop_token = {};  ///< ends the search when triggered; its running trials can be restored
};

/** Which trials of an earlier search a restored one takes up again. */
struct RestoreOptions {
  bool resume_unfinished = true;  ///< those that were running: from their checkpoint on disk, or from the start
  bool resume_errored = false;    ///< those that failed, from their checkpoint
  bool restart_errored = false;   ///< those that failed, from the start
};

/**
 * Runs trials of a trainable over a search space under a scheduler.
 *
 * Every trial is a trial of a study (reports at `training_iteration`, PRUNED where the scheduler ends it early, the
 * config in the user attribute `config` where it was mutated), which Optuna opens like any other. States stay in memory
 * unless `checkpoint.folder` says otherwise.
 */
class LEVIN_API Tuner {
 public:
  /** Throws Error for options that cannot be meant, such as a missing metric. */
  Tuner(TrainableFactory trainable, SearchSpace space, TunerOptions options);

  /**
   * Continues the search `options.name` in `options.storage` after its process ended, given the same space, options and
   * trainable; no other process may be working on it. Trials that finished stay; trials that never started follow.
   */
  static Tuner restore(TrainableFactory trainable, SearchSpace space, TunerOptions options,
                       RestoreOptions restore = {});

  /**
   * Runs the search. A trial that throws is a failed result, no exception; errors of the search itself (a result
   * without the metric, a storage that is gone) are thrown.
   */
  ResultGrid fit();

  /** The study that holds the trials. Throws Error before `fit`. */
  Study study() const;

 private:
  class Controller;

  TrainableFactory trainable_;
  SearchSpace space_;
  TunerOptions options_;
  std::optional<RestoreOptions> restore_;
  std::optional<Study> study_;
};

}  // namespace levin::tune
