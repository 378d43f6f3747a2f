#include <levin/tune/storage/memory.h>

#include <algorithm>
#include <deque>

namespace levin::tune {

// A trial being worked on is changed in place; a snapshot is made when somebody reads it. So writing costs no copy, and
// what was read never changes.
struct MemoryStorage::Record {
  std::int64_t study_id;
  FrozenTrial now;     // the current content while unfinished
  TrialPtr published;  // a snapshot of `now`, or null when it has changed since; the only content once finished

  TrialState state() const { return now.state; }

  const TrialPtr& read() {
    if (published == nullptr) published = std::make_shared<const FrozenTrial>(now);
    return published;
  }

  void finish() {
    const TrialState state = now.state;
    published = std::make_shared<const FrozenTrial>(std::move(now));
    now = {};
    now.state = state;
  }
};

struct MemoryStorage::StudyRecord {
  FrozenStudy study;
  std::vector<std::int64_t> trial_ids;                          // by number
  std::deque<std::int64_t> waiting;                             // ids in order of creation
  std::unordered_map<std::string, Distribution> distributions;  // the first of each name
};

MemoryStorage::MemoryStorage() = default;
MemoryStorage::~MemoryStorage() = default;

MemoryStorage::StudyRecord& MemoryStorage::find(std::int64_t study_id) {
  if (study_id < 0 || std::cmp_greater_equal(study_id, studies_.size()) ||
      !studies_[static_cast<std::size_t>(study_id)]) {
    throw Error(
        {.what = "there is no study of this id", .value = std::to_string(study_id), .where = url(), .hint = {}});
  }
  return *studies_[static_cast<std::size_t>(study_id)];
}

MemoryStorage::Record& MemoryStorage::find_trial(std::int64_t trial_id) {
  if (trial_id < 0 || std::cmp_greater_equal(trial_id, trials_.size()) ||
      !trials_[static_cast<std::size_t>(trial_id)]) {
    throw Error(
        {.what = "there is no trial of this id", .value = std::to_string(trial_id), .where = url(), .hint = {}});
  }
  return *trials_[static_cast<std::size_t>(trial_id)];
}

std::optional<std::int64_t> MemoryStorage::create_study(const std::string& name,
                                                        const std::vector<Direction>& directions) {
  const std::lock_guard lock(mutex_);
  for (const auto& record : studies_) {
    if (record && record->study.study_name == name) return std::nullopt;
  }
  const auto id = static_cast<std::int64_t>(studies_.size());
  studies_.push_back(std::make_unique<StudyRecord>());
  studies_.back()->study = {
      .study_id = id, .study_name = name, .directions = directions, .user_attrs = {}, .system_attrs = {}};
  return id;
}

void MemoryStorage::delete_study(std::int64_t study_id) {
  const std::lock_guard lock(mutex_);
  for (const auto id : find(study_id).trial_ids) trials_[static_cast<std::size_t>(id)].reset();
  studies_[static_cast<std::size_t>(study_id)].reset();
}

std::optional<std::int64_t> MemoryStorage::find_study(const std::string& name) {
  const std::lock_guard lock(mutex_);
  for (const auto& record : studies_) {
    if (record && record->study.study_name == name) return record->study.study_id;
  }
  return std::nullopt;
}

FrozenStudy MemoryStorage::study(std::int64_t study_id) {
  const std::lock_guard lock(mutex_);
  return find(study_id).study;
}

std::vector<FrozenStudy> MemoryStorage::studies() {
  const std::lock_guard lock(mutex_);
  std::vector<FrozenStudy> out;
  for (const auto& record : studies_) {
    if (record) out.push_back(record->study);
  }
  return out;
}

void MemoryStorage::set_study_user_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(mutex_);
  find(study_id).study.user_attrs[key] = value;
}

void MemoryStorage::set_study_system_attr(std::int64_t study_id, const std::string& key, const Value& value) {
  const std::lock_guard lock(mutex_);
  find(study_id).study.system_attrs[key] = value;
}

TrialPtr MemoryStorage::create_trial(std::int64_t study_id, const FrozenTrial* content) {
  const std::lock_guard lock(mutex_);
  StudyRecord& study = find(study_id);
  if (content != nullptr) {
    for (const auto& [name, distribution] : content->distributions) {
      const auto known = study.distributions.find(name);
      if (known != study.distributions.end()) check_compatible(name, known->second, distribution);
    }
  }
  auto record = std::make_unique<Record>();
  record->study_id = study_id;
  FrozenTrial& trial = record->now;
  if (content != nullptr) {
    trial = *content;
    for (const auto& [name, distribution] : content->distributions) study.distributions.try_emplace(name, distribution);
  } else {
    trial.datetime_start = std::chrono::system_clock::now();
  }
  trial.number = static_cast<std::int64_t>(study.trial_ids.size());
  trial.trial_id = static_cast<std::int64_t>(trials_.size());
  study.trial_ids.push_back(trial.trial_id);
  if (trial.state == TrialState::waiting) study.waiting.push_back(trial.trial_id);
  if (is_finished(trial.state)) record->finish();
  trials_.push_back(std::move(record));
  return trials_.back()->read();
}

TrialPtr MemoryStorage::claim_waiting_trial(std::int64_t study_id) {
  const std::lock_guard lock(mutex_);
  StudyRecord& study = find(study_id);
  while (!study.waiting.empty()) {
    Record& record = find_trial(study.waiting.front());
    study.waiting.pop_front();
    if (record.state() != TrialState::waiting) continue;
    record.now.state = TrialState::running;
    record.now.datetime_start = std::chrono::system_clock::now();
    record.published.reset();
    return record.read();
  }
  return nullptr;
}

void MemoryStorage::update_trial(std::int64_t trial_id, const TrialUpdate& update) {
  const std::lock_guard lock(mutex_);
  Record& record = find_trial(trial_id);
  if (is_finished(record.state())) {
    throw Error({.what = "a finished trial cannot change",
                 .value = "trial " + std::to_string(record.read()->number) + ", " + to_string(record.state()),
                 .where = {},
                 .hint = {}});
  }
  StudyRecord& study = find(record.study_id);
  for (const auto& param : update.params) {
    const auto known = study.distributions.find(param.name);
    if (known != study.distributions.end()) check_compatible(param.name, known->second, param.distribution);
  }
  FrozenTrial& trial = record.now;
  for (const auto& param : update.params) {
    const auto [known, fresh] = study.distributions.try_emplace(param.name, param.distribution);
    // Trials share the handle of an equal distribution, which saves memory and makes comparing them trivial.
    const Distribution& shared = known->second == param.distribution ? known->second : param.distribution;
    trial.params[param.name] = shared.to_external(param.internal);
    trial.distributions.set(param.name, shared);
  }
  for (const auto& [step, value] : update.intermediate_values) trial.intermediate_values.set(step, value);
  for (const auto& [key, value] : update.user_attrs) trial.user_attrs[key] = value;
  for (const auto& [key, value] : update.system_attrs) trial.system_attrs[key] = value;
  if (!update.values.empty()) trial.values = update.values;
  record.published.reset();
  if (update.state) {
    trial.state = *update.state;
    if (*update.state == TrialState::waiting) study.waiting.push_back(trial_id);
    if (is_finished(*update.state)) {
      trial.datetime_complete = std::chrono::system_clock::now();
      record.finish();
    }
  }
}

std::vector<TrialPtr> MemoryStorage::read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                                 std::int64_t after) {
  const std::lock_guard lock(mutex_);
  const StudyRecord& study = find(study_id);
  std::vector<TrialPtr> out;
  for (const auto id : ids) {
    if (id <= after && find_trial(id).study_id == study_id) out.push_back(find_trial(id).read());
  }
  const auto first = std::upper_bound(study.trial_ids.begin(), study.trial_ids.end(), after);
  for (auto it = first; it != study.trial_ids.end(); ++it) out.push_back(find_trial(*it).read());
  return out;
}

TrialPtr MemoryStorage::trial(std::int64_t trial_id) {
  const std::lock_guard lock(mutex_);
  return find_trial(trial_id).read();
}

}  // namespace levin::tune
