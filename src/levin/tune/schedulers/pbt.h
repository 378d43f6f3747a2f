// Population-based training: bad trials go on as copies of good ones, with other hyperparameters.
#pragma once

#include <levin/core/rng.h>
#include <levin/tune/schedulers/scheduler.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace levin::tune {

/** How one hyperparameter changes: within a distribution, along a list of values, or by a function that draws anew. */
using HyperparamMutation = std::variant<Distribution, List, std::function<Value()>>;

/** Names ("group/name" for nested ones) to mutations. */
class HyperparamMutations {
 public:
  using value_type = std::pair<std::string, HyperparamMutation>;
  HyperparamMutations() = default;
  HyperparamMutations(std::initializer_list<value_type> entries) : entries_(entries) {}

  bool empty() const noexcept { return entries_.empty(); }
  auto begin() const noexcept { return entries_.begin(); }
  auto end() const noexcept { return entries_.end(); }
  void set(std::string name, HyperparamMutation mutation) {
    entries_.emplace_back(std::move(name), std::move(mutation));
  }

 private:
  std::vector<value_type> entries_;
};

struct PopulationBasedTrainingOptions {
  std::string time_attr = "training_iteration";  ///< what is counted, a number in each result that only grows
  double perturbation_interval = 10;             ///< how far a trial goes between two looks at the population
  double burn_in_period = 0;                     ///< how far all trials go before the first one
  HyperparamMutations mutations = {};
  double quantile_fraction = 0.25;     ///< the share of trials that are replaced, and of those they are replaced by
  double resample_probability = 0.25;  ///< how often a hyperparameter is drawn anew instead of changed a little
  std::array<double, 2> perturbation_factors = {1.2, 0.8};  ///< one of which a number is multiplied by
  /** Called with each mutated config, and may change it further; may stand alone, without mutations. */
  std::function<Config(Config)> custom_explore_fn = {};
  bool synch = false;  ///< whether all trials wait for one another at every interval
  /** A folder for `pbt_global.txt` and one `pbt_policy_<trial>.txt` a trial, as Ray Tune writes them; none by default.
   */
  std::filesystem::path log_folder = {};
};

/** One exploit: `trial` at `step` went on as a copy of `source` at `source_step`. */
struct Exploit {
  std::int64_t trial = 0, source = 0;
  std::int64_t step = 0, source_step = 0;
  Config source_config, config;  ///< the source's, and what `trial` goes on with
};

/**
 * Trains a population, and at every interval lets the worst quantile go on from the state of one of the best quantile
 * with a mutated config (Jaderberg et al. 2017, "Population based training of neural networks"; rules and constants of
 * Ray Tune).
 *
 * HyperparamMutations: a number is multiplied by one of the factors, then brought back into its distribution's range
 * and onto its grid (Ray Tune does not do this); a list or ordinal moves to a neighbour; a choice is drawn anew. With a
 * population larger than the places, trials take turns at the interval. Needs trials that can be saved. Throws Error
 * for nothing to mutate and for constants out of range.
 */
class LEVIN_API PopulationBasedTraining : public Scheduler {
 public:
  PopulationBasedTraining(PopulationBasedTrainingOptions options);

  void begin(const SchedulerSetup& setup) override;
  void on_trial_add(TunerControl& control, Run& run) override;
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_complete(TunerControl& control, Run& run, const Metrics& result) override;
  void on_trial_remove(TunerControl& control, Run& run) override;
  const Run* choose(TunerControl& control, bool can_create) override;

  /** Every exploit of the search so far, in order. */
  const std::vector<Exploit>& exploits() const noexcept { return exploits_; }
  /** The exploits that led to what `trial` is now: its own and, before, those of the trials it descends from. */
  std::vector<Exploit> lineage(std::int64_t trial) const;

 protected:
  struct Member {
    Run* run;
    std::optional<double> score = std::nullopt;
    double last_perturbation = 0, last_time = 0;
    SnapshotPtr snapshot = nullptr;
    std::int64_t turn = 0;  // when it was last taken up
  };

  /** The config with which a copy of `source` goes on in the place of `run`. */
  virtual Config explore(const Run& run, const Run& source);
  /** Called when a member's score was taken. */
  virtual void on_score(const Run& run, double time, double score);
  /** The value that "group/name" stands for in a config, or null. */
  static const Value* find_in(const Config& config, const std::string& name);
  static void set_in(Config& config, const std::string& name, Value value);
  const PopulationBasedTrainingOptions& options() const noexcept { return options_; }
  Rng& rng() noexcept { return rng_; }

 private:
  using Quantile = std::vector<Member*>;
  Member& of(const Run& run);
  std::pair<Quantile, Quantile> quantiles();
  void save_or_exploit(TunerControl& control, Member& member, const Quantile& lower, const Quantile& upper);
  void perturb_all(TunerControl& control, double time);
  void log(const Exploit& exploit);

  PopulationBasedTrainingOptions options_;
  Rng rng_{0};
  std::vector<std::unique_ptr<Member>> members_;
  double next_sync_ = 0;
  std::int64_t turns_ = 0;
  std::vector<Exploit> exploits_;
  std::map<std::int64_t, std::vector<std::size_t>> lineages_;
};

/**
 * Trains one trial by a schedule that population-based training found: the file `pbt_policy_<trial>.txt` of it (of
 * Levin or of Ray Tune), or its lineage. The config comes from the schedule too; the search must have one trial.
 */
class LEVIN_API PopulationBasedTrainingReplay : public Scheduler {
 public:
  explicit PopulationBasedTrainingReplay(const std::filesystem::path& policy_file);
  /** Throws Error for a lineage without exploits. */
  explicit PopulationBasedTrainingReplay(const std::vector<Exploit>& lineage);

  void begin(const SchedulerSetup& setup) override;
  void on_trial_add(TunerControl& control, Run& run) override;
  Decision on_trial_result(TunerControl& control, Run& run, const Metrics& result) override;

  /** The config at the start. */
  const Config& config() const noexcept { return start_; }

 private:
  struct Change {
    double step;
    Config config;
  };
  Config start_;
  std::vector<Change> changes_;
  std::size_t next_ = 0;
  bool added_ = false;
};

}  // namespace levin::tune
