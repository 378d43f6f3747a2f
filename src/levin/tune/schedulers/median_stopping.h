// MedianStoppingRule: ends trials whose best result is worse than the median of the others' means.
#pragma once

#include <levin/tune/schedulers/scheduler.h>

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin::tune {

struct MedianStoppingOptions {
  std::string time_attr = "training_iteration";  ///< what is counted, a number in each result that only grows
  double grace_period = 1;                       ///< no trial is judged before, and earlier results do not count
  std::int64_t min_samples_required = 3;         ///< other trials that must have got as far
  double min_time_slice = 0;  ///< while there are fewer, how far a trial goes before it makes way for waiting ones
  bool hard_stop = true;      ///< end what is worse; else it is paused until there is nothing better to do
};

/**
 * The rule of Golovin et al. 2017 ("Google Vizier"), as Ray Tune has it: a trial's best result so far against the
 * median of the running means, up to the same time, of all other trials that got as far. Pausing needs trials that can
 * be saved. Throws Error for negative numbers.
 */
class LEVIN_API MedianStoppingRule : public Scheduler {
 public:
  MedianStoppingRule(MedianStoppingOptions options = {});

  void begin(const SchedulerSetup& setup) override;
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_complete(TunerControl& control, Run& run, const Metrics& result) override;
  bool learns_from_past() const override { return options_.time_attr == "training_iteration"; }

 private:
  struct History {
    std::vector<double> times, sums;  // the sums of the scores since the grace period
    double best;
    bool judged_bad = false;
    double last_pause;
  };
  History& record(const Run& run, double time, double score);
  double running_mean(const History& history, double time) const;

  MedianStoppingOptions options_;
  std::unordered_map<std::int64_t, History> histories_;
};

}  // namespace levin::tune
