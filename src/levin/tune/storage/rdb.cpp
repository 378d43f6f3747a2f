#include <levin/tune/storage/rdb.h>

#include <levin/tune/storage/trial_store.h>

#include <levin/core/json.h>
#include <levin/tune/storage/time_text.h>

#include <cmath>
#include <limits>

namespace levin::tune::detail {

void check_schema(const std::string& found, const std::string& where) {
  const std::string wanted = "schema " + std::to_string(kSchemaVersion) + ", revision " + kRevision;
  if (found == wanted) return;
  throw Error({.what = "this storage was made by a version of Optuna with other tables than " + wanted,
               .value = found,
               .where = "\"" + where + "\"",
               .hint = "run `optuna storage upgrade`, or name another storage"});
}

TrialState to_state(const std::string& name) {
  for (const auto state :
       {TrialState::running, TrialState::complete, TrialState::pruned, TrialState::fail, TrialState::waiting}) {
    if (name == to_string(state)) return state;
  }
  throw Error({.what = "unknown trial state", .value = name, .where = "storage", .hint = {}});
}

const char* number_type(double value) {
  return std::isfinite(value) ? "FINITE" : std::isnan(value) ? "NAN" : value > 0 ? "INF_POS" : "INF_NEG";
}

double read_number(double value, bool is_null, const std::string& type) {
  if (type == "INF_POS") return std::numeric_limits<double>::infinity();
  if (type == "INF_NEG") return -std::numeric_limits<double>::infinity();
  if (type == "NAN" || is_null) return std::numeric_limits<double>::quiet_NaN();
  return value;
}

const Distribution& DistributionCache::of(const std::string& json) {
  if (const auto known = known_.find(json); known != known_.end()) return known->second;
  return known_.emplace(json, Distribution::from_json(json)).first->second;
}

// Rows of one trial mostly follow each other.
std::vector<TrialPtr> TrialRows::take() {
  for (const auto& trial : trials_) drop_spare_room(*trial);
  return {trials_.begin(), trials_.end()};
}

FrozenTrial* TrialRows::find(std::int64_t id) {
  if (id != last_id_) {
    const auto it = by_id_.find(id);
    last_ = it == by_id_.end() ? nullptr : it->second;
    last_id_ = id;
  }
  return last_;
}

void TrialRows::trial(std::int64_t id, std::int64_t number, const std::string& state, const std::string& start,
                      const std::string& complete) {
  auto trial = std::make_shared<FrozenTrial>();
  trial->trial_id = id;
  trial->number = number;
  trial->state = to_state(state);
  if (!start.empty()) trial->datetime_start = parse_time(start);
  if (!complete.empty()) trial->datetime_complete = parse_time(complete);
  by_id_[id] = trial.get();
  trials_.push_back(std::move(trial));
}

void TrialRows::param(std::int64_t id, const std::string& name, double internal, const std::string& distribution) {
  FrozenTrial* trial = find(id);
  if (trial == nullptr) return;
  const Distribution& d = distributions_.of(distribution);
  trial->params[name] = d.to_external(internal);
  trial->distributions.set(name, d);
}

void TrialRows::value(std::int64_t id, double value) {
  if (FrozenTrial* trial = find(id)) trial->values.push_back(value);
}

void TrialRows::report(std::int64_t id, std::int64_t step, double value) {
  if (FrozenTrial* trial = find(id)) trial->intermediate_values.set(step, value);
}

void TrialRows::user_attr(std::int64_t id, const std::string& key, const std::string& json) {
  if (FrozenTrial* trial = find(id)) trial->user_attrs[key] = parse_json(json);
}

void TrialRows::system_attr(std::int64_t id, const std::string& key, const std::string& json) {
  if (FrozenTrial* trial = find(id)) trial->system_attrs[key] = parse_json(json);
}

}  // namespace levin::tune::detail
