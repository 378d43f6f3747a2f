// Asynchronous successive halving: the form that stops trials, and the form that promotes them.
#pragma once

#include <levin/tune/schedulers/scheduler.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

namespace levin::tune {

struct AsyncHyperBandOptions {
  std::string time_attr = "training_iteration";  ///< what is counted, a number in each result that only grows
  double max_t = 100;                            ///< a trial that got this far is complete
  double grace_period = 1;                       ///< no trial is stopped before
  double reduction_factor = 4;                   ///< of the trials that reach a rung, about one in so many goes on
  std::int64_t brackets = 1;                     ///< ladders of rungs, each starting a rung higher than the one before
  bool stop_last_trials = true;                  ///< whether trials end at max_t; else they go on beyond
};

/**
 * At each rung (grace_period times powers of reduction_factor) a trial whose metric is worse than that of the best
 * 1 / reduction_factor of the trials that came there before is stopped. Never waits, never pauses.
 *
 * Rules and constants are those of Ray Tune's AsyncHyperBandScheduler (Li et al. 2020, "A System for Massively Parallel
 * Hyperparameter Tuning", in the stopping variant); a metric that is NaN at a rung ends its trial. Throws Error for
 * constants that make no ladder.
 */
class LEVIN_API AsyncHyperBandScheduler : public Scheduler {
 public:
  AsyncHyperBandScheduler(AsyncHyperBandOptions options = {});

  void begin(const SchedulerSetup& setup) override;
  void on_trial_add(TunerControl& control, Run& run) override;
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_complete(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_remove(TunerControl& control, Run& run) override;
  bool learns_from_past() const override { return options_.time_attr == "training_iteration"; }

 private:
  struct Rung {
    double milestone;
    std::vector<double> scores = {};  // in order of size
    std::unordered_set<std::int64_t> trials = {};
  };
  using Bracket = std::vector<Rung>;  // the highest rung first
  bool passes(Bracket& bracket, std::int64_t number, double time, double score) const;

  AsyncHyperBandOptions options_;
  std::vector<Bracket> brackets_;
  std::unordered_map<std::int64_t, std::size_t> bracket_of_;
};

using ASHAScheduler = AsyncHyperBandScheduler;

struct PromotionASHAOptions {
  std::string time_attr = "training_iteration";  ///< what is counted, a number in each result that only grows
  double max_t = 100;                            ///< a trial that got this far is complete
  double grace_period = 1;                       ///< where the lowest rung is
  double reduction_factor = 4;                   ///< of the trials of a rung, one in so many is promoted
};

/**
 * ASHA as in the paper (Li et al. 2020, algorithm 2): every trial is paused at its rung, and a free place goes to a
 * trial among the best 1 / reduction_factor of a rung, the highest rung first, or else to a new trial. Compared with
 * the stopping form, a trial that turns out good among later ones is taken up again. Needs trials that can be saved.
 */
class LEVIN_API PromotionASHAScheduler : public Scheduler {
 public:
  PromotionASHAScheduler(PromotionASHAOptions options = {});

  void begin(const SchedulerSetup& setup) override;
  void on_trial_add(TunerControl& control, Run& run) override;
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_complete(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_remove(TunerControl& control, Run& run) override;
  const Run* choose(TunerControl& control, bool can_create) override;

 private:
  struct Member {
    double score;
    const Run* run;  // null once it was promoted or is gone
  };
  struct Rung {
    double milestone;
    std::vector<Member> members = {};  // the best first
  };
  void record(std::size_t rung, const Run& run, double score);

  PromotionASHAOptions options_;
  std::vector<Rung> rungs_;
  std::unordered_map<std::int64_t, std::size_t> next_rung_;
};

}  // namespace levin::tune
