// PostgresStorage: studies in a PostgreSQL database, in Optuna's tables.
#pragma once

#include <levin/tune/storage/storage.h>

#include <memory>
#include <string>

namespace levin::tune {

struct PostgresStorageOptions {
  bool create = true;   ///< make the tables when they are missing; else that is an Error
  double timeout = 60;  ///< seconds to wait for a server that does not answer or has gone away
};

/**
 * Studies in a PostgreSQL database that any number of threads and processes on any machine use at once, Optuna 5 and
 * its dashboard among them: the tables are those of Optuna's schema 12 (revision v3.2.0.a), timestamps are UTC.
 *
 * `url` is what libpq takes ("postgresql://user@host:port/database", options such as ?sslmode=require and passwords
 * from ~/.pgpass among them). Beginning, changing and ending a trial each cost one round trip: the statements of a
 * transaction are sent as one pipeline. All but a new trial is on the server's disk when the call returns; a new trial
 * gets there with what is written next, and one that a crash of the server undid is added again. A lost connection is
 * made anew and the transaction is repeated, once it is known that it did not happen; conflicts between transactions
 * are retried. libpq is opened when the first storage of
 * this kind is made. Throws Error when it is missing, when the server stays away, or refuses.
 */
class LEVIN_API PostgresStorage : public Storage {
 public:
  explicit PostgresStorage(const std::string& url, PostgresStorageOptions options = {});
  ~PostgresStorage() override;

  /** The URL, without its password. */
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

  /** Round trips to the server so far, for measurements. */
  std::int64_t round_trips() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
