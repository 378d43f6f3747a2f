#include <levin/tune/storage/trial_store.h>

#include <algorithm>
#include <utility>

namespace levin::tune::detail {

// A trial being worked on is changed in place; a snapshot is made when somebody reads it. So writing costs no copy, and
// what was read never changes. A finished trial is its snapshot alone, without room to grow: there may be many.
struct TrialStore::Record {
  std::int64_t study_id = -1;
  TrialState state = TrialState::running;
  std::unique_ptr<FrozenTrial> now;  // the current content while unfinished
  TrialPtr published;                // a snapshot of it, or null when it has changed since

  const TrialPtr& read() {
    if (published == nullptr) published = std::make_shared<const FrozenTrial>(*now);
    return published;
  }

  void finish() {
    drop_spare_room(*now);
    published = std::make_shared<const FrozenTrial>(std::move(*now));
    now.reset();
  }
};

struct TrialStore::StudyRecord {
  FrozenStudy study;
  std::vector<std::int64_t> trial_ids;                          // by number
  std::deque<std::int64_t> waiting;                             // ids in order of creation
  std::vector<std::int64_t> open;                               // ids that may be RUNNING
  std::size_t n_params = 0;                                     // of the trial that ended last: likely of the next
  std::unordered_map<std::string, Distribution> distributions;  // the first of each name

  // Throws unless the distribution may stand under this name.
  void check(const std::string& name, const Distribution& distribution) const {
    const auto known = distributions.find(name);
    if (known != distributions.end()) check_compatible(name, known->second, distribution);
  }

  // Trials share the handle of an equal distribution, which saves memory and makes comparing them trivial.
  const Distribution& share(const std::string& name, const Distribution& distribution) {
    const auto [known, fresh] = distributions.try_emplace(name, distribution);
    return known->second == distribution ? known->second : distribution;
  }
};

TrialStore::TrialStore(std::string url) : url_(std::move(url)) {}
TrialStore::~TrialStore() = default;

bool TrialStore::has_study(std::int64_t study_id) const {
  return study_id >= 0 && std::cmp_less(study_id, studies_.size()) && studies_[static_cast<std::size_t>(study_id)];
}

TrialStore::StudyRecord& TrialStore::find(std::int64_t study_id) {
  if (has_study(study_id)) return *studies_[static_cast<std::size_t>(study_id)];
  throw Error({.what = "there is no study of this id", .value = std::to_string(study_id), .where = url_, .hint = {}});
}

TrialStore::Record& TrialStore::find_trial(std::int64_t trial_id) {
  if (state(trial_id)) return *trials_[static_cast<std::size_t>(trial_id)];
  throw Error({.what = "there is no trial of this id", .value = std::to_string(trial_id), .where = url_, .hint = {}});
}

std::optional<TrialState> TrialStore::state(std::int64_t trial_id) const {
  if (trial_id < 0 || std::cmp_greater_equal(trial_id, trials_.size())) return std::nullopt;
  const auto& record = trials_[static_cast<std::size_t>(trial_id)];
  return record ? std::optional(record->state) : std::nullopt;
}

std::optional<std::int64_t> TrialStore::create_study(const std::string& name,
                                                     const std::vector<Direction>& directions) {
  if (find_study(name)) return std::nullopt;
  const auto id = static_cast<std::int64_t>(studies_.size());
  studies_.push_back(std::make_unique<StudyRecord>());
  studies_.back()->study = {
      .study_id = id, .study_name = name, .directions = directions, .user_attrs = {}, .system_attrs = {}};
  return id;
}

void TrialStore::delete_study(std::int64_t study_id) {
  for (const auto id : find(study_id).trial_ids) trials_[static_cast<std::size_t>(id)].reset();
  studies_[static_cast<std::size_t>(study_id)].reset();
}

std::optional<std::int64_t> TrialStore::find_study(const std::string& name) const {
  for (const auto& record : studies_) {
    if (record && record->study.study_name == name) return record->study.study_id;
  }
  return std::nullopt;
}

FrozenStudy& TrialStore::study(std::int64_t study_id) { return find(study_id).study; }

std::vector<FrozenStudy> TrialStore::studies() const {
  std::vector<FrozenStudy> out;
  for (const auto& record : studies_) {
    if (record) out.push_back(record->study);
  }
  return out;
}

void TrialStore::check_content(std::int64_t study_id, const FrozenTrial& content) {
  const StudyRecord& study = find(study_id);
  for (const auto& [name, distribution] : content.distributions) study.check(name, distribution);
}

TrialPtr TrialStore::create_trial(std::int64_t study_id, FrozenTrial content) {
  StudyRecord& study = find(study_id);
  for (const auto& [name, distribution] : SearchSpace(content.distributions)) {
    content.distributions.set(name, study.share(name, distribution));
  }
  auto record = std::make_unique<Record>();
  record->study_id = study_id;
  content.number = static_cast<std::int64_t>(study.trial_ids.size());
  content.trial_id = next_trial_id();
  study.trial_ids.push_back(content.trial_id);
  if (content.state == TrialState::waiting) study.waiting.push_back(content.trial_id);
  if (content.state == TrialState::running) study.open.push_back(content.trial_id);
  record->state = content.state;
  record->now = std::make_unique<FrozenTrial>(std::move(content));
  if (is_finished(record->state)) record->finish();
  trials_.push_back(std::move(record));
  return trials_.back()->read();
}

std::optional<std::int64_t> TrialStore::first_waiting(std::int64_t study_id) {
  StudyRecord& study = find(study_id);
  while (!study.waiting.empty() && state(study.waiting.front()) != TrialState::waiting) study.waiting.pop_front();
  return study.waiting.empty() ? std::nullopt : std::optional(study.waiting.front());
}

bool TrialStore::is_full(std::int64_t study_id, std::optional<std::int64_t> limit) {
  if (!limit || std::cmp_less(find(study_id).trial_ids.size(), *limit)) return false;
  return count_taken(read_trials(study_id, {}, -1)) >= *limit;
}

void TrialStore::check_update(std::int64_t trial_id, const TrialUpdate& update) {
  Record& record = find_trial(trial_id);
  if (is_finished(record.state)) {
    throw Error({.what = "a finished trial cannot change",
                 .value = "trial " + std::to_string(record.read()->number) + ", " + to_string(record.state),
                 .where = {},
                 .hint = {}});
  }
  const StudyRecord& study = find(record.study_id);
  for (const auto& param : update.params) study.check(param.name, param.distribution);
}

void TrialStore::update(std::int64_t trial_id, const TrialUpdate& update, TimePoint now) {
  check_update(trial_id, update);
  Record& record = find_trial(trial_id);
  StudyRecord& study = find(record.study_id);
  FrozenTrial& trial = *record.now;
  if (trial.distributions.empty() && !update.params.empty()) {
    trial.distributions.reserve(study.n_params);
    trial.params.reserve(study.n_params);
  }
  for (const auto& param : update.params) {
    const Distribution& shared = study.share(param.name, param.distribution);
    if (trial.distributions.find(param.name) == nullptr) {
      trial.params.append(param.name, shared.to_external(param.internal));
      trial.distributions.append(param.name, shared);
    } else {
      trial.params[param.name] = shared.to_external(param.internal);
      trial.distributions.set(param.name, shared);
    }
  }
  for (const auto& [step, value] : update.intermediate_values) trial.intermediate_values.set(step, value);
  for (const auto& [key, value] : update.user_attrs) trial.user_attrs[key] = value;
  for (const auto& [key, value] : update.system_attrs) trial.system_attrs[key] = value;
  if (!update.values.empty()) trial.values = update.values;
  record.published.reset();
  if (!update.state) return;
  if (*update.state == TrialState::running && trial.state == TrialState::waiting) {
    trial.datetime_start = now;
    study.open.push_back(trial_id);
  }
  if (*update.state == TrialState::waiting) {
    study.waiting.insert(std::lower_bound(study.waiting.begin(), study.waiting.end(), trial_id), trial_id);
  }
  trial.state = record.state = *update.state;
  if (is_finished(*update.state)) {
    trial.datetime_complete = now;
    study.n_params = trial.params.size();
    record.finish();
  }
}

std::vector<TrialPtr> TrialStore::read_trials(std::int64_t study_id, std::span<const std::int64_t> ids,
                                              std::int64_t after) {
  const StudyRecord& study = find(study_id);
  std::vector<TrialPtr> out;
  for (const auto id : ids) {
    if (id <= after && find_trial(id).study_id == study_id) out.push_back(find_trial(id).read());
  }
  const auto first = std::upper_bound(study.trial_ids.begin(), study.trial_ids.end(), after);
  for (auto it = first; it != study.trial_ids.end(); ++it) out.push_back(find_trial(*it).read());
  return out;
}

TrialPtr TrialStore::trial(std::int64_t trial_id) { return find_trial(trial_id).read(); }

std::vector<std::int64_t> TrialStore::stale_trials(std::int64_t study_id, TimePoint before) {
  StudyRecord& study = find(study_id);
  std::erase_if(study.open, [&](std::int64_t id) { return state(id) != TrialState::running; });
  const double limit = std::chrono::duration<double>(before.time_since_epoch()).count();
  std::vector<std::int64_t> out;
  for (const auto id : study.open) {
    const Value* beat = find_trial(id).now->system_attrs.find(kHeartbeatKey);
    if (beat != nullptr && beat->is_number() && beat->as_double() < limit) out.push_back(id);
  }
  return out;
}

void drop_spare_room(FrozenTrial& trial) {
  for (Map* map : {&trial.params, &trial.user_attrs, &trial.system_attrs}) *map = Map(*map);
  trial.distributions = SearchSpace(trial.distributions);
  trial.intermediate_values = IntermediateValues(trial.intermediate_values);
}

TrialUpdate heartbeat_update(TimePoint now) {
  TrialUpdate update;
  update.system_attrs[kHeartbeatKey] = std::chrono::duration<double>(now.time_since_epoch()).count();
  return update;
}

}  // namespace levin::tune::detail
