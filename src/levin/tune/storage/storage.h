// Storage: where studies and trials live. A few methods, so that a new kind of storage is a small thing to write.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/frozen_trial.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/** One study as stored, without its trials. */
struct FrozenStudy {
  std::int64_t study_id = -1;
  std::string study_name;
  std::vector<Direction> directions;
  Map user_attrs;
  Map system_attrs;
};

/** A parameter as stored: its distribution and its internal value. */
struct ParamRecord {
  std::string name;
  Distribution distribution;
  double internal;
};

/** Everything that one write changes of a trial; what is empty stays as it is. */
struct TrialUpdate {
  std::vector<ParamRecord> params = {};
  std::vector<std::pair<std::int64_t, double>> intermediate_values = {};
  Map user_attrs = {};
  Map system_attrs = {};
  std::optional<TrialState> state = std::nullopt;  ///< a finished state also sets datetime_complete
  std::vector<double> values = {};

  /** Empties it; room that its parts have stays. */
  void clear() {
    params.clear();
    intermediate_values.clear();
    user_attrs = {};
    system_attrs = {};
    state.reset();
    values.clear();
  }
  bool empty() const {
    return params.empty() && intermediate_values.empty() && user_attrs.empty() && system_attrs.empty() && !state &&
           values.empty();
  }
};

/**
 * A store of studies and trials, used by many threads at once (and by many processes, where the medium allows).
 *
 * Every method is one transaction: it happens whole or not at all, and sees the whole of what others wrote before.
 * Unknown ids, and any write to a finished trial, throw Error. `tune/testing/storage_conformance.h` holds the tests
 * that a storage must pass.
 */
class LEVIN_API Storage {
 public:
  virtual ~Storage();

  /** The text that opens this storage, for messages. */
  virtual std::string url() const = 0;
  /** True when a write costs milliseconds, so that Trial gathers its parameters into few writes. */
  virtual bool slow_writes() const { return false; }

  /** The new study's id, or nothing when the name is taken. */
  virtual std::optional<std::int64_t> create_study(const std::string& name,
                                                   const std::vector<Direction>& directions) = 0;
  virtual void delete_study(std::int64_t study_id) = 0;
  virtual std::optional<std::int64_t> find_study(const std::string& name) = 0;
  virtual FrozenStudy study(std::int64_t study_id) = 0;
  virtual std::vector<FrozenStudy> studies() = 0;  ///< in order of creation
  virtual void set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) = 0;
  virtual void set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) = 0;

  /**
   * Adds a trial: RUNNING and empty, or a copy of `content` (number and trial_id are given anew).
   * Throws Error when a parameter of `content` does not fit the study's (see check_compatible).
   */
  virtual TrialPtr create_trial(std::int64_t study_id, const FrozenTrial* content = nullptr) = 0;
  /** Adds copies of many trials, in as few transactions as makes sense. */
  virtual void create_trials(std::int64_t study_id, std::span<const TrialPtr> contents);
  /** Makes the oldest WAITING trial RUNNING and returns it, or null; no two callers get the same trial. */
  virtual TrialPtr claim_waiting_trial(std::int64_t study_id) = 0;
  /** Applies `update`; throws Error when a parameter does not fit the study's (see check_compatible). */
  virtual void update_trial(std::int64_t trial_id, const TrialUpdate& update) = 0;

  /** The trials of the study that are named in `ids` or have an id above `after`, in order of their id. */
  virtual std::vector<TrialPtr> read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                            std::int64_t after) = 0;
  virtual TrialPtr trial(std::int64_t trial_id) = 0;

  /**
   * The trial to work on next: the oldest WAITING one, else a new one; with `heartbeat`, its first heartbeat is part of
   * the same write. With `limit`, null once so many trials of the study are RUNNING or finished, of which one that
   * failed and has a successor counts once (see count_taken). All storages of Levin do this in one transaction, so no
   * two callers get the last trial; what is here for others does it in several.
   */
  virtual TrialPtr next_trial(std::int64_t study_id, bool heartbeat = false,
                              std::optional<std::int64_t> limit = std::nullopt);

  /** Says of RUNNING trials that their process is alive now; other trials are passed over. */
  virtual void record_heartbeats(std::span<const std::int64_t> trial_ids);
  /** What takes the place of a trial that failed, or nothing; it sees the failed trial. */
  using Successor = std::function<std::optional<FrozenTrial>(const FrozenTrial&)>;
  /**
   * Ends as FAIL the RUNNING trials of the study whose last heartbeat is older than `grace_period` seconds, and adds
   * their successors, if any, in the same transaction: no trial fails twice or is succeeded twice, whoever else calls
   * this. Trials that never had a heartbeat are left alone. Returns the trials that failed.
   */
  virtual std::vector<TrialPtr> fail_stale_trials(std::int64_t study_id, double grace_period,
                                                  const Successor& successor = {});
};

/** How many of the trials are RUNNING or finished; one that failed and is run again counts once. */
LEVIN_API std::int64_t count_taken(std::span<const TrialPtr> trials);

/**
 * Opens `memory://` (a new, empty storage in this process), `journal:///FILE` or `sqlite:///FILE`; an absolute path
 * begins with a fourth slash.
 *
 * `create`: whether a missing file is made; when false, a missing file is an Error. Throws Error for an unknown
 * scheme and for files that cannot be opened or hold something else.
 */
LEVIN_API std::shared_ptr<Storage> open_storage(const std::string& url, bool create = true);

/** A storage given by URL or as an object, so that options can say `.storage = "sqlite:///study.db"`. */
class LEVIN_API StorageRef {
 public:
  StorageRef() : StorageRef("memory://") {}
  StorageRef(const char* url) : url_(url) {}
  StorageRef(std::string url) : url_(std::move(url)) {}
  StorageRef(std::shared_ptr<Storage> storage) : storage_(std::move(storage)) {}

  /** The storage, opened now if it was given by URL. */
  std::shared_ptr<Storage> open(bool create = true) const;

 private:
  std::string url_;
  std::shared_ptr<Storage> storage_;
};

}  // namespace levin::tune
