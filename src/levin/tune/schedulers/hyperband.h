// Hyperband: rounds of successive halving that wait for one another, from many short trials to few long ones.
#pragma once

#include <levin/tune/schedulers/scheduler.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin::tune {

struct HyperBandOptions {
  std::string time_attr = "training_iteration";  ///< what is counted, a number in each result that only grows
  double max_t = 81;                             ///< a trial that got this far is complete
  double reduction_factor = 3;   ///< of the trials at a milestone, one in so many goes on, so many times as far
  bool stop_last_trials = true;  ///< whether trials end at max_t; else the last ones of a bracket go on beyond
};

/**
 * Synchronous Hyperband (Li et al. 2018, "Hyperband: a novel bandit-based approach to hyperparameter optimization")
 * with Ray Tune's constants: trials fill brackets in order, pause at their bracket's milestone, and once all are there
 * the best 1 / reduction_factor go on to the next one. A bracket that the search cannot fill is worked with what it
 * has. Needs trials that can be saved. Throws Error for max_t < 1 or reduction_factor <= 1.
 */
class LEVIN_API HyperBandScheduler : public Scheduler {
 public:
  HyperBandScheduler(HyperBandOptions options = {});
  ~HyperBandScheduler() override;

  void begin(const SchedulerSetup& setup) override;
  void on_trial_add(TunerControl& control, Run& run) override;
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_complete(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_remove(TunerControl& control, Run& run) override;
  const Run* choose(TunerControl& control, bool can_create) override;

 protected:
  HyperBandScheduler(HyperBandOptions options, bool short_trials_first);

 private:
  struct Bracket;
  std::shared_ptr<Bracket> open_bracket();
  Decision process(TunerControl& control, Bracket& bracket, const Run* current);

  HyperBandOptions options_;
  bool short_trials_first_;
  std::int64_t n_brackets_;  ///< brackets of one round
  std::vector<std::shared_ptr<Bracket>> brackets_;
  std::int64_t opened_ = 0;
  std::unordered_map<std::int64_t, std::shared_ptr<Bracket>> bracket_of_;
};

/**
 * Hyperband whose first brackets hold the many short trials, from which the sampler of BOHB learns (Falkner et al.
 * 2018, "BOHB: robust and efficient hyperparameter optimization at scale"). Pair it with such a sampler.
 */
class LEVIN_API HyperBandForBOHB : public HyperBandScheduler {
 public:
  HyperBandForBOHB(HyperBandOptions options = {}) : HyperBandScheduler(std::move(options), true) {}
};

}  // namespace levin::tune
