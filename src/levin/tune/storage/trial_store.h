// TrialStore: studies and trials as plain data in memory, with the rules that every storage keeps.
#pragma once

#include <levin/tune/storage/storage.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin::tune::detail {

/**
 * What MemoryStorage is made of and what a journal is replayed into. Ids count from 0 in order of creation and are
 * never used again. Not for several threads at once: its owner locks.
 *
 * Every method checks before it changes anything, so an Error leaves all as it was.
 */
class TrialStore {
 public:
  explicit TrialStore(std::string url);
  ~TrialStore();

  std::optional<std::int64_t> create_study(const std::string& name, const std::vector<Direction>& directions);
  void delete_study(std::int64_t study_id);
  bool has_study(std::int64_t study_id) const;
  std::optional<std::int64_t> find_study(const std::string& name) const;
  FrozenStudy& study(std::int64_t study_id);
  std::vector<FrozenStudy> studies() const;

  /** Throws Error where a parameter does not fit the study's. */
  void check_content(std::int64_t study_id, const FrozenTrial& content);
  /** Adds a trial with this content, unchecked; number and id are given anew. */
  TrialPtr create_trial(std::int64_t study_id, FrozenTrial content);
  /** The id that the next trial gets. */
  std::int64_t next_trial_id() const { return static_cast<std::int64_t>(trials_.size()); }
  std::optional<std::int64_t> first_waiting(std::int64_t study_id);
  /** Whether so many trials are taken (see count_taken). */
  bool is_full(std::int64_t study_id, std::optional<std::int64_t> limit);
  /** Throws the Error that `update` would throw. */
  void check_update(std::int64_t trial_id, const TrialUpdate& update);
  /** Applies the update, made at `now`, which counts where the state changes. */
  void update(std::int64_t trial_id, const TrialUpdate& update, TimePoint now);

  std::vector<TrialPtr> read_trials(std::int64_t study_id, std::span<const std::int64_t> ids, std::int64_t after);
  TrialPtr trial(std::int64_t trial_id);
  /** The state of a trial, or nothing where there is none. */
  std::optional<TrialState> state(std::int64_t trial_id) const;

  /** RUNNING trials whose last heartbeat is older than `before`; those without one are not judged. */
  std::vector<std::int64_t> stale_trials(std::int64_t study_id, TimePoint before);

 private:
  struct Record;
  struct StudyRecord;

  StudyRecord& find(std::int64_t study_id);
  Record& find_trial(std::int64_t trial_id);

  std::string url_;
  std::vector<std::unique_ptr<StudyRecord>> studies_;  ///< by id; null once deleted
  std::vector<std::unique_ptr<Record>> trials_;        ///< by id; null once deleted
};

/** Gives back the room that a trial's lists have grown by, of which a study of 100,000 trials would hold much. */
void drop_spare_room(FrozenTrial& trial);

/** The system attribute in which storages without a table for heartbeats keep them: seconds since 1970. */
inline constexpr const char* kHeartbeatKey = "levin:heartbeat";
TrialUpdate heartbeat_update(TimePoint now);

}  // namespace levin::tune::detail
