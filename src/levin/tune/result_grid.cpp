#include <levin/tune/result_grid.h>

#include <levin/core/atomic_file.h>
#include <levin/core/csv.h>

#include <algorithm>
#include <cmath>
#include <sstream>

namespace levin::tune {
namespace {

// Nested maps as "group/name".
void flatten(const Map& map, const std::string& prefix, Map& out) {
  for (const auto& [name, value] : map) {
    if (value.is_map())
      flatten(value.as_map(), prefix + name + "/", out);
    else
      out[prefix + name] = value;
  }
}

}  // namespace

ResultGrid::ResultGrid(std::string metric, Mode mode, std::vector<TrialResult> results)
    : metric_(std::move(metric)), mode_(mode), results_(std::move(results)) {
  std::sort(results_.begin(), results_.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
}

const TrialResult& ResultGrid::best(const std::string& metric, std::optional<Mode> mode, Scope scope) const {
  const std::string& name = metric.empty() ? metric_ : metric;
  const Mode way = mode.value_or(mode_);
  if (scope == Scope::all && name != metric_) {
    throw Error({.what = "only the Tuner's metric is known at all steps",
                 .value = name,
                 .where = "ResultGrid::best",
                 .hint = "ask for \"" + metric_ + "\", or for Scope::last"});
  }
  const TrialResult* best = nullptr;
  double best_value = 0;
  for (const auto& result : results_) {
    const Value* last = result.metrics.find(name);
    if (result.failed() || last == nullptr || !last->is_number()) continue;
    double value = last->as_double();
    if (scope == Scope::all) {
      for (const auto& [step, at] : result.history) {
        if (std::isnan(value) || better(at, value, way)) value = at;
      }
    }
    if (std::isnan(value) || (best != nullptr && !better(value, best_value, way))) continue;
    best = &result;
    best_value = value;
  }
  if (best != nullptr) return *best;
  throw Error({.what = "no trial has a result to be the best by",
               .value = "metric \"" + name + "\", " + std::to_string(size()) + " trials, " +
                        std::to_string(num_errors()) + " failed",
               .where = {},
               .hint = num_errors() > 0 ? "the first failure: " + errors().front()->error : ""});
}

std::vector<const TrialResult*> ResultGrid::errors() const {
  std::vector<const TrialResult*> out;
  for (const auto& result : results_) {
    if (result.failed()) out.push_back(&result);
  }
  return out;
}

std::string ResultGrid::to_csv() const {
  std::vector<Map> rows;
  std::vector<std::string> names;
  const auto learn = [&](const Map& row) {
    for (const auto& [name, value] : row) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  };
  for (const bool configs : {false, true}) {
    for (const auto& result : results_) {
      Map row;
      flatten(configs ? result.config : result.metrics, configs ? "config/" : "", row);
      learn(row);
    }
  }
  std::ostringstream out;
  csv::Writer writer(out);
  writer.field("trial").field("state");
  for (const auto& name : names) writer.field(name);
  writer.field("error").end_row();
  for (const auto& result : results_) {
    Map row;
    flatten(result.metrics, "", row);
    flatten(result.config, "config/", row);
    writer.field(result.number).field(to_string(result.state));
    for (const auto& name : names) {
      const Value* value = row.find(name);
      writer.field(value == nullptr || value->is_null() ? "" : value->to_string());
    }
    writer.field(result.error).end_row();
  }
  return out.str();
}

void ResultGrid::write_csv(const std::filesystem::path& path) const { write_file_atomically(path, to_csv()); }

std::string ResultGrid::history_csv() const {
  std::ostringstream out;
  csv::Writer writer(out);
  writer.field("trial").field("training_iteration").field(metric_).end_row();
  for (const auto& result : results_) {
    for (const auto& [step, value] : result.history) {
      writer.field(result.number).field(step).field(value).end_row();
    }
  }
  return out.str();
}

}  // namespace levin::tune
