// Stopper: ends trials, or the whole search, by their results.
#pragma once

#include <levin/core/export.h>
#include <levin/core/mode.h>
#include <levin/tune/study.h>
#include <levin/tune/terminator/terminator.h>
#include <levin/tune/trainable.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace levin::tune {

/** Ends trials that have done enough. Called from one thread at a time. */
class LEVIN_API Stopper {
 public:
  virtual ~Stopper();
  /** Called once before a search, with what the Tuner optimises; forgets any earlier search. */
  virtual void begin(const std::string& metric, Mode mode);
  /** Whether the trial that gave this result is complete; sees every result once. */
  virtual bool stop(std::int64_t trial, const Metrics& result) = 0;
  /** Whether the whole search ends now. */
  virtual bool stop_all();
  /** Called after each trial with the study of the search: whether the search ends for what came of its trials. */
  virtual bool stop_after_trial(const Study& study);
};

/** Complete after `max_iter` results. */
class LEVIN_API MaximumIterationStopper : public Stopper {
 public:
  explicit MaximumIterationStopper(std::int64_t max_iter);
  void begin(const std::string& metric, Mode mode) override;
  bool stop(std::int64_t trial, const Metrics& result) override;

 private:
  std::int64_t max_iter_;
  std::unordered_map<std::int64_t, std::int64_t> seen_;
};

/** Complete once a number in a result is as large as given: {"training_iteration", 20}. Several: the first counts. */
class LEVIN_API MetricStopper : public Stopper {
 public:
  explicit MetricStopper(std::vector<std::pair<std::string, double>> limits);
  bool stop(std::int64_t trial, const Metrics& result) override;

 private:
  std::vector<std::pair<std::string, double>> limits_;
};

struct TrialPlateauOptions {
  std::string metric = "";        ///< the Tuner's by default
  double std = 0.01;              ///< the trial stands still when its last results vary less than this
  std::int64_t num_results = 4;   ///< how many last results are looked at
  std::int64_t grace_period = 4;  ///< no trial is stopped before so many results
  std::optional<double> metric_threshold = std::nullopt;  ///< only trials at least this good are stopped
  std::optional<Mode> mode = std::nullopt;  ///< which way `metric_threshold` is meant; the Tuner's by default
};

/** Complete when a trial's metric stands still. */
class LEVIN_API TrialPlateauStopper : public Stopper {
 public:
  TrialPlateauStopper(TrialPlateauOptions options = {});
  void begin(const std::string& metric, Mode mode) override;
  bool stop(std::int64_t trial, const Metrics& result) override;

 private:
  struct History {
    std::deque<double> last;
    std::int64_t seen = 0;
  };
  TrialPlateauOptions options_;
  std::string metric_;
  Mode mode_ = Mode::min;
  std::unordered_map<std::int64_t, History> histories_;
};

struct ExperimentPlateauOptions {
  std::string metric = "";                  ///< the Tuner's by default
  double std = 0.001;                       ///< the search stands still when its top results vary at most by this
  std::int64_t top = 10;                    ///< how many of the best results are looked at
  std::optional<Mode> mode = std::nullopt;  ///< the Tuner's by default
  std::int64_t patience = 0;                ///< results to wait for a change once it stands still
};

/** Ends the search when its best results no longer change. */
class LEVIN_API ExperimentPlateauStopper : public Stopper {
 public:
  ExperimentPlateauStopper(ExperimentPlateauOptions options = {});
  void begin(const std::string& metric, Mode mode) override;
  bool stop(std::int64_t trial, const Metrics& result) override;
  bool stop_all() override;

 private:
  bool still() const;
  ExperimentPlateauOptions options_;
  std::string metric_;
  Mode mode_ = Mode::min;
  std::vector<double> top_;
  std::int64_t waited_ = 0;
};

/** Ends the search after some seconds. */
class LEVIN_API TimeoutStopper : public Stopper {
 public:
  explicit TimeoutStopper(double seconds);
  void begin(const std::string& metric, Mode mode) override;
  bool stop(std::int64_t trial, const Metrics& result) override;
  bool stop_all() override;

 private:
  double seconds_;
  std::chrono::steady_clock::time_point start_;
};

struct TargetValueOptions {
  double target = 0;
  std::string metric = "";                  ///< the Tuner's by default
  std::optional<Mode> mode = std::nullopt;  ///< the Tuner's by default
};

/** Ends the search once a result is as good as the target. */
class LEVIN_API TargetValueStopper : public Stopper {
 public:
  explicit TargetValueStopper(TargetValueOptions options);
  void begin(const std::string& metric, Mode mode) override;
  bool stop(std::int64_t trial, const Metrics& result) override;
  bool stop_all() override;

 private:
  TargetValueOptions options_;
  std::string metric_;
  Mode mode_ = Mode::min;
  bool reached_ = false;
};

/** Complete when a function of trial number and result says so. */
class LEVIN_API FunctionStopper : public Stopper {
 public:
  explicit FunctionStopper(std::function<bool(std::int64_t, const Metrics&)> function);
  bool stop(std::int64_t trial, const Metrics& result) override;

 private:
  std::function<bool(std::int64_t, const Metrics&)> function_;
};

/** Ends the search when its terminator finds that going on is not worth it: by the regret that is left, for instance.
 */
class LEVIN_API TerminatorStopper : public Stopper {
 public:
  explicit TerminatorStopper(TerminatorOptions options = {});
  bool stop(std::int64_t trial, const Metrics& result) override;
  bool stop_after_trial(const Study& study) override;

 private:
  Terminator terminator_;
};

struct RegretBoundStopperOptions {
  double max_regret = 0;           ///< above 0, in the metric's own terms
  std::int64_t min_n_trials = 20;  ///< complete trials before which nothing ends
  double top_trials_ratio = 0.5;   ///< as in RegretBoundEvaluatorOptions
  std::optional<std::uint64_t> seed = std::nullopt;
};

/**
 * Ends the search once a Gaussian process over its trials finds it improbable that anything is better than the best one
 * by more than `max_regret` (see RegretBoundEvaluator).
 */
class LEVIN_API RegretBoundStopper : public TerminatorStopper {
 public:
  explicit RegretBoundStopper(RegretBoundStopperOptions options);
};

/** A stopper held by value in options: a stopper, a shared pointer to one, a list of limits, a function, or nothing. */
class LEVIN_API StopperRef {
 public:
  StopperRef() = default;
  StopperRef(std::initializer_list<std::pair<std::string, double>> limits);
  template <class S>
  requires std::derived_from<S, Stopper> StopperRef(S stopper) : stopper_(std::make_shared<S>(std::move(stopper))) {}
  template <class S>
  requires std::derived_from<S, Stopper> StopperRef(std::shared_ptr<S> stopper) : stopper_(std::move(stopper)) {}
  template <class F>
  requires(std::invocable<F, std::int64_t, const Metrics&> && !std::derived_from<F, Stopper>) StopperRef(F function)
      : stopper_(std::make_shared<FunctionStopper>(std::move(function))) {}

  const std::shared_ptr<Stopper>& get() const noexcept { return stopper_; }

 private:
  std::shared_ptr<Stopper> stopper_;
};

/** Stops where any of its stoppers does. */
class LEVIN_API CombinedStopper : public Stopper {
 public:
  template <class... S>
  explicit CombinedStopper(S... stoppers)
      : CombinedStopper(std::vector<StopperRef>{StopperRef(std::move(stoppers))...}) {}
  explicit CombinedStopper(std::vector<StopperRef> stoppers);
  void begin(const std::string& metric, Mode mode) override;
  bool stop(std::int64_t trial, const Metrics& result) override;
  bool stop_all() override;
  bool stop_after_trial(const Study& study) override;

 private:
  std::vector<std::shared_ptr<Stopper>> stoppers_;
};

}  // namespace levin::tune
