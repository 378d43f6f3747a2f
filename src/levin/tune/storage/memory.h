// MemoryStorage: studies in this process's memory, gone when it ends.
#pragma once

#include <levin/tune/storage/storage.h>

#include <memory>
#include <mutex>

namespace levin::tune {

namespace detail {
class TrialStore;
}

/** Studies in memory, for use by any number of threads; ids count from 0. */
class LEVIN_API MemoryStorage : public Storage {
 public:
  MemoryStorage();
  ~MemoryStorage() override;

  std::string url() const override { return "memory://"; }
  std::optional<std::int64_t> create_study(const std::string& name, const std::vector<Direction>& directions) override;
  void delete_study(std::int64_t study_id) override;
  std::optional<std::int64_t> find_study(const std::string& name) override;
  FrozenStudy study(std::int64_t study_id) override;
  std::vector<FrozenStudy> studies() override;
  void set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) override;
  void set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) override;
  TrialPtr create_trial(std::int64_t study_id, const FrozenTrial* content = nullptr) override;
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
  std::mutex mutex_;
  std::unique_ptr<detail::TrialStore> store_;
};

}  // namespace levin::tune
