// Trial: one run of an objective, which asks it for parameters and reports to it.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/frozen_trial.h>

#include <cstdint>
#include <exception>
#include <filesystem>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

struct SuggestFloatOptions {
  std::optional<double> step = std::nullopt;  ///< distance of the points; continuous by default
  bool log = false;                           ///< choose on the logarithm
};

struct SuggestIntOptions {
  std::int64_t step = 1;
  bool log = false;
};

/** Thrown by an objective to end its trial as PRUNED. */
class LEVIN_API TrialPruned : public std::exception {
 public:
  explicit TrialPruned(std::string message = "the trial was pruned") : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

namespace detail {
struct StudyCore;
class TrialImpl;
class StudyTrial;
}  // namespace detail

/**
 * A running trial; copies are handles on the same one. Use one trial from one thread at a time.
 *
 * A parameter keeps its value for the whole trial: suggesting it again returns the same. Its value comes from the
 * first of: what was suggested before, what was enqueued, the only value there is, what the sampler chose jointly,
 * what the sampler chooses alone.
 *
 * Storages on disk get reports, parameters and attributes gathered into few writes, at the latest a tenth of a second
 * after they were made.
 */
class LEVIN_API Trial {
 public:
  /** A float in [low, high]. Throws Error for a bad range, or one that does not fit the parameter's earlier ones. */
  double suggest_float(const std::string& name, double low, double high, const SuggestFloatOptions& options = {});
  /** An int in [low, high], both included. */
  std::int64_t suggest_int(const std::string& name, std::int64_t low, std::int64_t high,
                           const SuggestIntOptions& options = {});
  /** One of the choices, in the type in which they are given. */
  std::string suggest_categorical(const std::string& name, std::initializer_list<const char*> choices);
  std::string suggest_categorical(const std::string& name, std::initializer_list<std::string> choices);
  std::int64_t suggest_categorical(const std::string& name, std::initializer_list<int> choices);
  std::int64_t suggest_categorical(const std::string& name, std::initializer_list<std::int64_t> choices);
  double suggest_categorical(const std::string& name, std::initializer_list<double> choices);
  bool suggest_categorical(const std::string& name, std::initializer_list<bool> choices);
  std::string suggest_categorical(const std::string& name, const std::vector<std::string>& choices);
  Value suggest_categorical(const std::string& name, const List& choices);
  /** A value of any distribution. */
  Value suggest(const std::string& name, const Distribution& distribution);

  /**
   * Reports the objective at `step` (an epoch, say; steps start at 0 or above), for pruners to judge, and further
   * numbers in `metrics`, such as {{"val_acc", 0.93}}, for MetricPruner and for people. The first report of a step
   * counts. Throws Error in a study with several objectives.
   */
  void report(double value, std::int64_t step, const Map& metrics = {});
  /**
   * Reports all objectives at `step`, one value each in the order of the study's directions. Other tools see the first
   * as the trial's intermediate value.
   */
  void report(const std::vector<double>& values, std::int64_t step, const Map& metrics = {});
  /**
   * Whether the pruner would stop this trial now; then throw TrialPruned. Throws Error in a study with several
   * objectives when its pruner judges one alone.
   */
  bool should_prune();
  /** Whether `Study::optimize` was asked to end: a long objective may then return early or throw. */
  bool stop_requested() const;

  void set_user_attr(const std::string& key, const Value& value);
  void set_system_attr(const std::string& key, const Value& value);
  /** A constraint of this trial: feasible when `value` <= 0. The first value of a name counts. */
  void set_constraint(const std::string& name, double value);

  /**
   * A folder for what this trial needs to go on where it stopped, made at the first call. When the trial's process dies
   * and the trial is run again (see HeartbeatOptions), the new trial is given the same folder with what is in it.
   */
  std::filesystem::path checkpoint_dir();

  std::int64_t number() const;
  /** The parameters suggested so far, in order. */
  Map params() const;
  SearchSpace distributions() const;
  Map user_attrs() const;
  Map system_attrs() const;
  /** A copy of all that is known of this trial. */
  FrozenTrial frozen() const;

 protected:
  friend class Study;
  explicit Trial(std::shared_ptr<detail::TrialImpl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<detail::TrialImpl> impl_;
};

/**
 * A trial without a study, whose parameters are given: to test an objective, or to build the best model again with
 * `FixedTrial(study.best_params())`. Suggesting a parameter that was not given, or one outside its range, throws Error.
 */
class LEVIN_API FixedTrial : public Trial {
 public:
  explicit FixedTrial(Map params, std::int64_t number = 0);
};

}  // namespace levin::tune
