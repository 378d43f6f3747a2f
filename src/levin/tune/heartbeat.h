// Heartbeats: how a study tells trials whose process died from those that still run, and runs them again.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/storage/storage.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <vector>

namespace levin::tune {

/** Optuna's heartbeat_interval, grace_period and RetryHeartbeatStaleTrialCallback. */
struct HeartbeatOptions {
  double interval = 60;                               ///< seconds between two signs of life of this process's trials
  std::optional<double> grace_period = std::nullopt;  ///< seconds without one until a trial fails; 2 * interval
  std::int64_t max_retry = 0;                ///< how often a trial whose process died is run again; -1: no limit
  bool inherit_intermediate_values = false;  ///< whether the new trial starts with the reports of the old one
};

/** The number of the trial that this one runs again, the first of a series; nothing for other trials. */
LEVIN_API std::optional<std::int64_t> retried_trial_number(const FrozenTrial& trial);
/** The numbers of the trials that this one runs again, in order. */
LEVIN_API std::vector<std::int64_t> retry_history(const FrozenTrial& trial);

namespace detail {

/** The WAITING trial that runs `failed` again, if it is to be: the same parameters, attributes and checkpoints. */
std::optional<FrozenTrial> retry_of(const FrozenTrial& failed, const HeartbeatOptions& options);

/** Throws Error for options without sense. */
void check(const HeartbeatOptions& options);

/** Gives signs of life of trials, on a thread of its own that runs while there are any. */
class Heartbeats {
 public:
  Heartbeats(std::shared_ptr<Storage> storage, HeartbeatOptions options);
  ~Heartbeats();

  void add(std::int64_t trial_id);
  void remove(std::int64_t trial_id);

  /** Fails the study's trials whose process died; looks at most four times in a grace period. */
  void reclaim(std::int64_t study_id);

 private:
  void run(std::stop_token stop);
  double grace_period() const { return options_.grace_period.value_or(2 * options_.interval); }

  const std::shared_ptr<Storage> storage_;
  const HeartbeatOptions options_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::set<std::int64_t> trial_ids_;
  std::optional<std::chrono::steady_clock::time_point> last_look_;
  std::jthread thread_;
};

}  // namespace detail
}  // namespace levin::tune
