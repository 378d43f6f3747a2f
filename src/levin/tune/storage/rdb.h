// What the storages in databases share: Optuna's schema version and how its tables spell things.
#pragma once

#include <levin/tune/storage/storage.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin::tune::detail {

inline constexpr std::int64_t kSchemaVersion = 12;
inline constexpr const char* kRevision = "v3.2.0.a";
inline constexpr const char* kLibraryVersion = "5.0.0";  // the Optuna version whose schema this is

/** How many trials of the study $1 are taken (see count_taken). */
inline constexpr const char* kCountTaken =
    "(SELECT count(*) FROM trials WHERE study_id = $1 AND state <> 'WAITING') - (SELECT count(*) FROM trials t JOIN "
    "trial_system_attributes a ON a.trial_id = t.trial_id WHERE t.study_id = $1 AND a.key = 'failed_trial')";

/**
 * An index of waiting trials alone beside Optuna's: without it every claim of a trial reads the states of all trials of
 * the study. Made when a trial is first claimed; Optuna keeps it up unawares.
 */
inline constexpr const char* kWaitingIndexName = "ix_trials_waiting";
inline constexpr const char* kWaitingIndex =
    "CREATE INDEX IF NOT EXISTS ix_trials_waiting ON trials (study_id) WHERE state = 'WAITING'";

/** Throws unless `found` ("schema 12, revision v3.2.0.a") is the schema that is read and written here. */
void check_schema(const std::string& found, const std::string& where);

TrialState to_state(const std::string& name);

/** The word beside a number: numbers that SQL has no literal for are stored as NULL. */
const char* number_type(double value);
double read_number(double value, bool is_null, const std::string& type);

/** Distributions by their JSON, so that trials share them. */
class DistributionCache {
 public:
  const Distribution& of(const std::string& json);

 private:
  std::unordered_map<std::string, Distribution> known_;
};

/** Puts trials together from the rows of their tables; the trials' own rows come first. */
class TrialRows {
 public:
  explicit TrialRows(DistributionCache& distributions) : distributions_(distributions) {}

  bool empty() const { return trials_.empty(); }
  /** Times are "" where there is none. */
  void trial(std::int64_t id, std::int64_t number, const std::string& state, const std::string& start,
             const std::string& complete);
  void param(std::int64_t id, const std::string& name, double internal, const std::string& distribution);
  void value(std::int64_t id, double value);
  void report(std::int64_t id, std::int64_t step, double value);
  void user_attr(std::int64_t id, const std::string& key, const std::string& json);
  void system_attr(std::int64_t id, const std::string& key, const std::string& json);

  std::vector<TrialPtr> take();

 private:
  FrozenTrial* find(std::int64_t id);

  DistributionCache& distributions_;
  std::vector<std::shared_ptr<FrozenTrial>> trials_;
  std::unordered_map<std::int64_t, FrozenTrial*> by_id_;
  std::int64_t last_id_ = -1;
  FrozenTrial* last_ = nullptr;
};

}  // namespace levin::tune::detail
