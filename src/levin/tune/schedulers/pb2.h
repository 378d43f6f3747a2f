// PB2: population-based training that chooses its mutations by a bandit.
#pragma once

#include <levin/tune/samplers/gaussian_process.h>
#include <levin/tune/schedulers/pbt.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

struct PB2Options {
  std::string time_attr = "training_iteration";  ///< what is counted, a number in each result that only grows
  double perturbation_interval = 10;             ///< how far a trial goes between two looks at the population
  /** What is chosen: names ("group/name" for nested ones) to numeric distributions. */
  std::vector<std::pair<std::string, Distribution>> hyperparam_bounds = {};
  double quantile_fraction = 0.25;  ///< the share of trials that are replaced, and of those they are replaced by
  bool synch = false;               ///< whether all trials wait for one another at every interval
  std::function<Config(Config)> custom_explore_fn = {};  ///< may change each chosen config further
  std::filesystem::path log_folder = {};                 ///< as in PopulationBasedTrainingOptions
};

/**
 * Population-based training for small populations: what a copy goes on with is chosen by upper confidence bounds of a
 * time-varying Gaussian process that predicts, from time, score and hyperparameters, how much the next interval gains
 * (Parker-Holder et al. 2020, "Provably efficient online hyperparameter optimization with population-based bandits";
 * rules and constants of Ray Tune).
 *
 * Logarithmic distributions are searched on the logarithm, ints are rounded. The process is fitted to the last 200
 * intervals, where Ray Tune chooses a number from 200 to 1,000 by likelihood. Throws Error for nothing to choose, for
 * categorical distributions and for constants out of range.
 */
class LEVIN_API PB2 : public PopulationBasedTraining {
 public:
  PB2(PB2Options options);
  void begin(const SchedulerSetup& setup) override;

  /** One look at a trial: when, with which hyperparameters (on [0, 1]), and how it stood. */
  struct Look {
    std::int64_t trial;
    double time;
    std::vector<double> point;
    double score;
  };
  /** What a copy of `source` goes on with, on [0, 1]; `taken`: points that others were given at the same time. */
  static std::vector<double> choose_point(const std::vector<Look>& looks, std::int64_t source,
                                          const std::vector<std::vector<double>>& taken, Rng& rng);

 protected:
  Config explore(const Run& run, const Run& source) override;
  void on_score(const Run& run, double time, double score) override;

 private:
  std::vector<double> point_of(const Config& config) const;

  std::vector<std::pair<std::string, Distribution>> bounds_;
  std::vector<Look> looks_;
  std::vector<std::vector<double>> taken_;
  double last_exploration_ = 0;
};

namespace detail {

/** The gains of the intervals that looks enclose, as a Gaussian process is fitted to them. */
struct Gains {
  Matrix points;               ///< rows of time and score before the interval, then the hyperparameters, all on [0, 1]
  std::vector<double> values;  ///< gains by time, standardised and cut at two deviations
  std::array<double, 2> now;   ///< time and score of the source, on the same scale; valid with `has_source`
  bool has_source = false;
  double source_time = 0, source_score = 0;  ///< of the source's last look that ends an interval
};
LEVIN_API Gains gains_of(const std::vector<PB2::Look>& looks, std::int64_t source);

/** The upper confidence bound that PB2 climbs: the mean of one process and the variance of the other. */
LEVIN_API double upper_bound(double mean, double variance, std::size_t n);

}  // namespace detail
}  // namespace levin::tune
