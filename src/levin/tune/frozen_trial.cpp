#include <levin/tune/frozen_trial.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {

std::string to_string(Direction direction) { return direction == Direction::minimize ? "MINIMIZE" : "MAXIMIZE"; }

std::string to_string(TrialState state) {
  switch (state) {
    case TrialState::running: return "RUNNING";
    case TrialState::complete: return "COMPLETE";
    case TrialState::pruned: return "PRUNED";
    case TrialState::fail: return "FAIL";
    case TrialState::waiting: return "WAITING";
  }
  return {};
}

namespace {
auto position(const std::vector<IntermediateValues::value_type>& entries, std::int64_t step) {
  return std::lower_bound(entries.begin(), entries.end(), step,
                          [](const auto& entry, auto s) { return entry.first < s; });
}
}  // namespace

const double* IntermediateValues::find(std::int64_t step) const {
  const auto it = position(entries_, step);
  return it == entries_.end() || it->first != step ? nullptr : &it->second;
}

double IntermediateValues::at(std::int64_t step) const {
  if (const double* value = find(step)) return *value;
  throw Error({.what = "no value was reported at this step", .value = std::to_string(step), .where = {}, .hint = {}});
}

void IntermediateValues::set(std::int64_t step, double value) {
  const auto at = entries_.begin() + (position(entries_, step) - entries_.cbegin());
  if (at != entries_.end() && at->first == step) {
    at->second = value;
  } else {
    entries_.insert(at, {step, value});
  }
}

double FrozenTrial::value() const {
  if (values.size() == 1) return values.front();
  throw Error({.what = values.empty() ? "this trial has no value" : "this trial has several values",
               .value = "trial " + std::to_string(number) + ", " + to_string(state),
               .where = {},
               .hint = values.empty() ? "" : "read the field values"});
}

std::string report_key(std::int64_t step) { return "levin:report:" + std::to_string(step); }

std::vector<double> FrozenTrial::reported(std::int64_t step) const {
  const double* first = intermediate_values.find(step);
  if (first == nullptr) return {};
  if (const Value* more = system_attrs.find(report_key(step)); more != nullptr && more->is_map()) {
    if (const Value* list = more->as_map().find("values"); list != nullptr && list->is_list()) {
      std::vector<double> out;
      for (const auto& value : list->as_list()) out.push_back(value.is_number() ? value.as_double() : std::nan(""));
      return out;
    }
  }
  return {*first};
}

std::optional<double> FrozenTrial::reported_metric(std::int64_t step, std::string_view name) const {
  const Value* more = system_attrs.find(report_key(step));
  if (more == nullptr || !more->is_map()) return std::nullopt;
  const Value* metrics = more->as_map().find("metrics");
  if (metrics == nullptr || !metrics->is_map()) return std::nullopt;
  const Value* value = metrics->as_map().find(name);
  if (value == nullptr || !value->is_number()) return std::nullopt;
  return value->as_double();
}

std::optional<std::int64_t> FrozenTrial::last_step() const {
  if (intermediate_values.empty()) return std::nullopt;
  return intermediate_values.back().first;
}

std::optional<std::chrono::duration<double>> FrozenTrial::duration() const {
  if (!datetime_start || !datetime_complete) return std::nullopt;
  return *datetime_complete - *datetime_start;
}

std::vector<std::pair<std::string, double>> FrozenTrial::constraints() const {
  constexpr std::string_view prefix = "constraints:";
  std::vector<std::pair<std::string, double>> out;
  if (const Value* list = system_attrs.find("constraints"); list != nullptr && list->is_list()) {
    for (const auto& value : list->as_list()) out.emplace_back(std::to_string(out.size()), value.as_double());
  }
  for (const auto& [key, value] : system_attrs) {
    if (!key.starts_with(prefix)) continue;
    const std::string name = key.substr(prefix.size());
    const auto old = std::find_if(out.begin(), out.end(), [&](const auto& entry) { return entry.first == name; });
    if (old != out.end()) {
      old->second = value.as_double();
    } else {
      out.emplace_back(name, value.as_double());
    }
  }
  return out;
}

double FrozenTrial::infeasibility() const {
  double sum = 0;
  for (const auto& [name, value] : constraints()) sum += std::max(value, 0.0);
  return sum;
}

}  // namespace levin::tune
