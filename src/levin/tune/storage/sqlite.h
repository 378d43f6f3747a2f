// SqliteStorage: studies in an SQLite file, in Optuna's tables.
#pragma once

#include <levin/tune/storage/storage.h>

#include <memory>
#include <string>

namespace levin::tune {

struct SqliteStorageOptions {
  bool create = true;   ///< make the file when it is missing; else that is an Error
  double timeout = 60;  ///< seconds to wait while others hold the file locked
};

/**
 * Studies in one file that any number of threads and processes use at once, Optuna 5 and its dashboard among them: the
 * tables and their texts are those of Optuna's schema 12 (revision v3.2.0.a), timestamps are UTC.
 *
 * A write is one transaction with the file's lock taken at its start. A file that is made here keeps a write-ahead log
 * (FILE-wal beside it while in use), so readers and writers do not wait for each other; a file that Optuna made stays
 * as it is. What ends a trial, a study's creation and its attributes are on the disk when the call returns; what leads
 * up to a trial's end gets there with it.
 * Throws Error for a file that is no database, has another schema version, cannot be written, or stays locked.
 */
class LEVIN_API SqliteStorage : public Storage {
 public:
  explicit SqliteStorage(const std::string& path, SqliteStorageOptions options = {});
  ~SqliteStorage() override;

  std::string url() const override;
  bool slow_writes() const override { return true; }
  std::optional<std::int64_t> create_study(const std::string& name, const std::vector<Direction>& directions) override;
  void delete_study(std::int64_t study_id) override;
  std::optional<std::int64_t> find_study(const std::string& name) override;
  FrozenStudy study(std::int64_t study_id) override;
  std::vector<FrozenStudy> studies() override;
  void set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) override;
  void set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) override;
  TrialPtr create_trial(std::int64_t study_id, const FrozenTrial* content = nullptr) override;
  void create_trials(std::int64_t study_id, std::span<const TrialPtr> contents) override;
  TrialPtr claim_waiting_trial(std::int64_t study_id) override;
  TrialPtr next_trial(std::int64_t study_id, bool heartbeat = false,
                      std::optional<std::int64_t> limit = std::nullopt) override;
  void update_trial(std::int64_t trial_id, const TrialUpdate& update) override;
  std::vector<TrialPtr> read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                    std::int64_t after) override;
  TrialPtr trial(std::int64_t trial_id) override;
  void record_heartbeats(std::span<const std::int64_t> trial_ids) override;
  std::vector<TrialPtr> fail_stale_trials(std::int64_t study_id, double grace_period,
                                          const Successor& successor) override;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
