#include <levin/tune/storage/memory.h>

#include <levin/tune/storage/trial_store.h>

namespace levin::tune {
namespace {

TimePoint now() { return std::chrono::system_clock::now(); }

}  // namespace

MemoryStorage::MemoryStorage() : store_(std::make_unique<detail::TrialStore>("memory://")) {}
MemoryStorage::~MemoryStorage() = default;

std::optional<std::int64_t> MemoryStorage::create_study(const std::string& name,
                                                        const std::vector<Direction>& directions) {
  const std::lock_guard lock(mutex_);
  return store_->create_study(name, directions);
}

void MemoryStorage::delete_study(std::int64_t study_id) {
  const std::lock_guard lock(mutex_);
  store_->delete_study(study_id);
}

std::optional<std::int64_t> MemoryStorage::find_study(const std::string& name) {
  const std::lock_guard lock(mutex_);
  return store_->find_study(name);
}

FrozenStudy MemoryStorage::study(std::int64_t study_id) {
  const std::lock_guard lock(mutex_);
  return store_->study(study_id);
}

std::vector<FrozenStudy> MemoryStorage::studies() {
  const std::lock_guard lock(mutex_);
  return store_->studies();
}

void MemoryStorage::set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(mutex_);
  store_->study(study_id).user_attrs[key] = value;
}

void MemoryStorage::set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(mutex_);
  store_->study(study_id).system_attrs[key] = value;
}

TrialPtr MemoryStorage::create_trial(std::int64_t study_id, const FrozenTrial* content) {
  const std::lock_guard lock(mutex_);
  if (content != nullptr) {
    store_->check_content(study_id, *content);
    return store_->create_trial(study_id, *content);
  }
  FrozenTrial trial;
  trial.datetime_start = now();
  return store_->create_trial(study_id, std::move(trial));
}

TrialPtr MemoryStorage::claim_waiting_trial(std::int64_t study_id) {
  const std::lock_guard lock(mutex_);
  const auto id = store_->first_waiting(study_id);
  if (!id) return nullptr;
  store_->update(*id, {.state = TrialState::running}, now());
  return store_->trial(*id);
}

TrialPtr MemoryStorage::next_trial(std::int64_t study_id, bool heartbeat, std::optional<std::int64_t> limit) {
  const std::lock_guard lock(mutex_);
  if (store_->is_full(study_id, limit)) return nullptr;
  const TimePoint start = now();
  auto id = store_->first_waiting(study_id);
  if (id) {
    store_->update(*id, {.state = TrialState::running}, start);
  } else {
    FrozenTrial trial;
    trial.datetime_start = start;
    id = store_->create_trial(study_id, std::move(trial))->trial_id;
  }
  if (heartbeat) store_->update(*id, detail::heartbeat_update(start), start);
  return store_->trial(*id);
}

void MemoryStorage::update_trial(std::int64_t trial_id, const TrialUpdate& update) {
  const std::lock_guard lock(mutex_);
  store_->update(trial_id, update, update.state ? now() : TimePoint());
}

std::vector<TrialPtr> MemoryStorage::read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                                 std::int64_t after) {
  const std::lock_guard lock(mutex_);
  return store_->read_trials(study_id, ids, after);
}

TrialPtr MemoryStorage::trial(std::int64_t trial_id) {
  const std::lock_guard lock(mutex_);
  return store_->trial(trial_id);
}

void MemoryStorage::record_heartbeats(std::span<const std::int64_t> trial_ids) {
  const std::lock_guard lock(mutex_);
  for (const auto id : trial_ids) {
    if (store_->state(id) == TrialState::running) store_->update(id, detail::heartbeat_update(now()), now());
  }
}

std::vector<TrialPtr> MemoryStorage::fail_stale_trials(std::int64_t study_id, double grace_period,
                                                       const Successor& successor) {
  const std::lock_guard lock(mutex_);
  const auto grace = std::chrono::round<std::chrono::microseconds>(std::chrono::duration<double>(grace_period));
  std::vector<TrialPtr> out;
  for (const auto id : store_->stale_trials(study_id, now() - grace)) {
    store_->update(id, {.state = TrialState::fail}, now());
    out.push_back(store_->trial(id));
    if (auto next = successor ? successor(*out.back()) : std::nullopt) store_->create_trial(study_id, std::move(*next));
  }
  return out;
}

}  // namespace levin::tune
