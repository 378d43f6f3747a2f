// Study: a search over trials, in memory or on disk, by one process or many.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/heartbeat.h>
#include <levin/tune/pruners/pruner.h>
#include <levin/tune/samplers/sampler.h>
#include <levin/tune/storage/storage.h>
#include <levin/tune/trial.h>

#include <concepts>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace levin::tune {

class Study;

/** Called after each trial with the study and the finished trial; never two at a time. */
using StudyCallback = std::function<void(Study&, const FrozenTrial&)>;

/** Which exceptions of an objective only fail their trial: none, all (`true`), or those of `catching<...>()`. */
class CatchErrors {
 public:
  template <std::same_as<bool> Bool>
  CatchErrors(Bool all) : all_(all) {}
  explicit CatchErrors(std::function<bool(const std::exception_ptr&)> which) : which_(std::move(which)) {}
  bool operator()(const std::exception_ptr& error) const { return all_ || (which_ && which_(error)); }

 private:
  bool all_ = false;
  std::function<bool(const std::exception_ptr&)> which_;
};

/** Exceptions of these types: `.catch_errors = catching<std::bad_alloc, MyError>()`. */
template <class... Errors>
CatchErrors catching() {
  return CatchErrors([](const std::exception_ptr& error) {
    const auto is = [&]<class E>(std::type_identity<E>) {
      try {
        std::rethrow_exception(error);
      } catch (const E&) {
        return true;
      } catch (...) {
        return false;
      }
    };
    return (is(std::type_identity<Errors>{}) || ...);
  });
}

struct OptimizeOptions {
  std::optional<std::int64_t> n_trials = std::nullopt;  ///< trials to run; no limit by default
  std::optional<double> timeout = std::nullopt;         ///< seconds after which no new trial starts
  std::int64_t n_jobs = 1;                              ///< threads; -1: one per processor
  /** When to go on after an objective threw (its trial is FAIL in any case); else the exception is thrown on. */
  CatchErrors catch_errors = false;
  std::vector<StudyCallback> callbacks = {};
  bool show_progress_bar = false;
  /** When this is triggered no new trial starts, and `Trial::stop_requested` tells those under way. */
  std::stop_token stop_token = {};
  /**
   * Runs trials in rounds of `n_jobs`: those of a round see what was finished before it and are told in order of their
   * number. So a seed replays the whole study with several threads and samplers that learn, at the price of waiting
   * for the longest trial of each round.
   */
  bool synchronous = false;
};

struct EnqueueOptions {
  Map user_attrs = {};
  bool skip_if_exists = false;  ///< do nothing when a trial with the same parameters is there already
};

struct TellOptions {
  std::optional<TrialState> state = std::nullopt;  ///< complete, pruned or fail; judged from the values by default
  bool skip_if_finished = false;                   ///< leave a finished trial as it is instead of throwing
};

/** A trial named by its handle or by its number. */
class TrialKey {
 public:
  TrialKey(Trial trial) : number_(trial.number()), trial_(std::move(trial)) {}
  template <std::integral T>
  TrialKey(T number) : number_(static_cast<std::int64_t>(number)) {}
  std::int64_t number() const { return number_; }
  const std::optional<Trial>& trial() const { return trial_; }

 private:
  std::int64_t number_;
  std::optional<Trial> trial_;
};

/** A handle on a study; copies are handles on the same one. All methods may be called from several threads. */
class LEVIN_API Study {
 public:
  using Objective = std::function<double(Trial&)>;
  using MultiObjective = std::function<std::vector<double>(Trial&)>;

  /**
   * Runs trials: asks, calls the objective, tells.
   *
   * An objective that throws TrialPruned ends its trial as PRUNED, one that returns NaN as FAIL, one that throws
   * anything else as FAIL, too, and the exception is thrown on once all threads are done (see `catch_errors`).
   * Throws Error when called from within an objective of the same study.
   */
  void optimize(const Objective& objective, const OptimizeOptions& options = {});
  /** The same for several objectives: as many values as the study has directions. */
  void optimize(const MultiObjective& objective, const OptimizeOptions& options = {});
  /** Ends the running `optimize` once the trials under way are done; from an objective or a callback. */
  void stop();
  /** Whether `stop` was called, or the sampler has nothing more to try, since the last `optimize` began. */
  bool stop_requested() const;

  /** A new trial (or the oldest enqueued one). With `fixed`, its parameters are suggested at once. */
  Trial ask(const SearchSpace& fixed = {});
  /**
   * As `ask`, but nothing once `limit` trials of the study run or are finished, of which one that failed and is run
   * again counts once. However many workers ask at the same moment, they begin no more between them.
   */
  std::optional<Trial> ask_below(std::int64_t limit);
  /** Ends a trial with its value; NaN makes it FAIL. Throws Error for a trial that is finished already. */
  FrozenTrial tell(const TrialKey& trial, double value, const TellOptions& options = {});
  FrozenTrial tell(const TrialKey& trial, const std::vector<double>& values, const TellOptions& options = {});
  /** Ends a trial without a value, as PRUNED (its last report becomes its value) or FAIL. */
  FrozenTrial tell(const TrialKey& trial, TrialState state, const TellOptions& options = {});

  /** Gives a running trial back: it waits, with its parameters and attributes, for whoever asks next. */
  void requeue(const Trial& trial);
  /**
   * Fails the trials whose process died, and queues those that are to be run again (see HeartbeatOptions); `ask` does
   * so on its own. Does nothing in a study without heartbeats.
   */
  void reclaim_stale_trials();

  /** Puts a trial with these parameters in the queue that `ask` and `optimize` take from first. */
  void enqueue_trial(const Map& params, const EnqueueOptions& options = {});
  /** Adds a trial that ran elsewhere; `number` and `trial_id` are given anew. Throws Error when it is inconsistent. */
  void add_trial(const FrozenTrial& trial);

  /** The best complete (and feasible) trial. Throws Error when there is none, or with several objectives. */
  FrozenTrial best_trial() const;
  double best_value() const;
  Map best_params() const;
  /** The complete, feasible trials that no other beats in all objectives, by number. */
  std::vector<FrozenTrial> best_trials() const;
  /** All trials by number, or those in one of `states`. */
  std::vector<FrozenTrial> trials(const std::vector<TrialState>& states = {}) const;
  /** The trials as they are now, shared instead of copied. */
  TrialsSnapshot snapshot() const;

  const std::string& study_name() const;
  /** The direction of a study with one objective. Throws Error otherwise. */
  Direction direction() const;
  const std::vector<Direction>& directions() const;
  Map user_attrs() const;
  Map system_attrs() const;
  void set_user_attr(const std::string& key, const Value& value);
  void set_system_attr(const std::string& key, const Value& value);
  /** Names of the objectives, for tables and Optuna's dashboard; empty until they are set. */
  std::vector<std::string> metric_names() const;
  void set_metric_names(const std::vector<std::string>& names);

  const std::shared_ptr<Storage>& storage() const;
  std::shared_ptr<Sampler> sampler() const;
  std::shared_ptr<Pruner> pruner() const;

  explicit Study(std::shared_ptr<detail::StudyCore> core) : core_(std::move(core)) {}

 private:
  std::optional<Trial> next_trial(std::optional<std::int64_t> limit);
  std::int64_t finish(const TrialKey& key, std::vector<double> values, bool has_values, const TellOptions& options,
                      const std::string& failure);
  struct Outcome;
  Outcome run_objective(Trial trial, const MultiObjective& objective) const;
  std::int64_t tell(const Outcome& outcome);

  std::shared_ptr<detail::StudyCore> core_;
};

struct CreateStudyOptions {
  StorageRef storage = "memory://";                   ///< memory://, sqlite:///file.db, or a storage object
  SamplerRef sampler = {};                            ///< TPESampler by default
  PrunerRef pruner = {};                              ///< MedianPruner by default
  std::string study_name = "";                        ///< a unique name by default
  std::optional<Direction> direction = std::nullopt;  ///< minimize by default
  bool load_if_exists = false;
  std::vector<Direction> directions = {};  ///< several objectives, instead of `direction`
  /** Signs of life of running trials, and what becomes of those that give none; off by default. */
  std::optional<HeartbeatOptions> heartbeat = std::nullopt;
  /** Where `Trial::checkpoint_dir` makes its folders; beside the file of the storage by default. */
  std::string checkpoint_dir = "";
};

/**
 * A new study; with `load_if_exists`, the study of that name if there is one.
 * Throws Error when the name is taken, or when an existing study has other directions than those given.
 */
LEVIN_API Study create_study(const CreateStudyOptions& options = {});

struct LoadStudyOptions {
  std::string study_name = "";  ///< may be left out when the storage holds just one study
  StorageRef storage = "";
  SamplerRef sampler = {};
  PrunerRef pruner = {};
  std::optional<HeartbeatOptions> heartbeat = std::nullopt;  ///< as in CreateStudyOptions
  std::string checkpoint_dir = "";                           ///< as in CreateStudyOptions
};

/** An existing study. Throws Error, naming the nearest study, when it is not there. */
LEVIN_API Study load_study(const LoadStudyOptions& options);

struct DeleteStudyOptions {
  std::string study_name = "";
  StorageRef storage = "";
};

/** Deletes a study with all its trials. */
LEVIN_API void delete_study(const DeleteStudyOptions& options);

struct CopyStudyOptions {
  std::string from_study_name = "";
  StorageRef from_storage = "";
  StorageRef to_storage = "";
  std::string to_study_name = "";  ///< the same name by default
  /**
   * Choices that the copy adds to categorical parameters: name to list. In a study the choices of a name are fixed,
   * here as in Optuna; a copy is how they are extended.
   */
  Map extend_choices = {};
};

/**
 * Copies a study with all its trials and attributes, also between kinds of storages. Throws Error when the name is
 * taken.
 */
LEVIN_API void copy_study(const CopyStudyOptions& options);

/** One line of a listing of studies. */
struct StudySummary {
  std::string study_name;
  std::vector<Direction> directions;
  std::optional<FrozenTrial> best_trial;  ///< of studies with one objective
  std::int64_t n_trials = 0;
  std::optional<TimePoint> datetime_start;  ///< the earliest start of a trial
  Map user_attrs;
  Map system_attrs;
  std::int64_t study_id = -1;
};

/** The studies of a storage in order of creation. */
LEVIN_API std::vector<StudySummary> study_summaries(const StorageRef& storage);

}  // namespace levin::tune
