#include <levin/tune/pruners/metric.h>

#include <algorithm>

namespace levin::tune {
namespace {

// The trial as if `metric` were its only objective. Of the notes pruners keep on a trial only those of this metric
// show.
FrozenTrial project(const FrozenTrial& trial, const std::string& metric, const std::string& prefix) {
  FrozenTrial out = trial;
  out.intermediate_values = {};
  for (const auto& entry : trial.intermediate_values) {
    if (const auto value = trial.reported_metric(entry.first, metric)) out.intermediate_values.set(entry.first, *value);
  }
  out.values.clear();
  if (trial.state == TrialState::complete && !out.intermediate_values.empty()) {
    out.values = {out.intermediate_values.back().second};
  }
  out.system_attrs = {};
  for (const auto& [key, value] : trial.system_attrs) {
    if (key.starts_with(prefix)) {
      out.system_attrs[key.substr(prefix.size())] = value;
    } else if (key.starts_with("constraints")) {
      out.system_attrs[key] = value;
    }
  }
  return out;
}

}  // namespace

// The metric's side of the studies seen last.
struct MetricPruner::Views {
  std::mutex mutex;
  std::list<std::pair<std::shared_ptr<TrialCache>, std::shared_ptr<TrialCache>>> by_whole;
};

MetricPruner::MetricPruner(PrunerRef pruner, MetricPrunerOptions options)
    : pruner_(std::move(pruner)),
      options_(std::move(options)),
      prefix_("levin:metric:" + options_.metric + ":"),
      views_(std::make_shared<Views>()) {
  if (!pruner_) throw Error("a MetricPruner needs a pruner that judges by the metric");
  if (options_.metric.empty()) throw Error("a MetricPruner needs the name of a metric");
}

StudyView MetricPruner::view_of(StudyView& study) {
  const std::lock_guard lock(views_->mutex);
  auto& list = views_->by_whole;
  auto it = std::find_if(list.begin(), list.end(), [&](const auto& entry) { return entry.first == study.cache(); });
  if (it == list.end()) {
    if (list.size() >= 4) list.pop_back();
    list.emplace_front(study.cache(),
                       std::make_shared<TrialCache>(
                           study.cache(), [metric = options_.metric, prefix = prefix_](const TrialPtr& trial) {
                             return std::make_shared<const FrozenTrial>(project(*trial, metric, prefix));
                           }));
    it = list.begin();
  }
  return StudyView(study.study_name(), {options_.direction}, it->second);
}

bool MetricPruner::prune(StudyView& study, const FrozenTrial& trial) {
  const FrozenTrial mine = project(trial, options_.metric, prefix_);
  // A report without the metric is none.
  if (mine.intermediate_values.empty() || mine.last_step() != trial.last_step()) return false;
  StudyView view = view_of(study);
  const bool prune = pruner_.get()->prune(view, mine);
  for (const auto& [key, value] : view.requested_system_attrs()) study.set_system_attr(prefix_ + key, value);
  if (view.stop_requested()) study.stop();
  return prune;
}

Grouping MetricPruner::grouping(StudyView& study) {
  StudyView view = view_of(study);
  return pruner_.get()->grouping(view);
}

AnyPruner::AnyPruner(std::vector<PrunerRef> pruners) : pruners_(std::move(pruners)) {
  if (pruners_.empty()) throw Error("an AnyPruner needs at least one pruner");
  for (const auto& pruner : pruners_) {
    if (!pruner) throw Error("an AnyPruner was given an empty pruner");
  }
}

bool AnyPruner::prune(StudyView& study, const FrozenTrial& trial) {
  bool prune = false;
  for (const auto& pruner : pruners_) {  // each takes its notes, whatever the others say
    const bool this_one = pruner.get()->prune(study, trial);
    prune = prune || this_one;
  }
  return prune;
}

bool AnyPruner::judges_several_objectives() const {
  return std::all_of(pruners_.begin(), pruners_.end(),
                     [](const auto& pruner) { return pruner.get()->judges_several_objectives(); });
}

Grouping AnyPruner::grouping(StudyView& study) {
  for (const auto& pruner : pruners_) {
    if (auto grouping = pruner.get()->grouping(study)) return grouping;
  }
  return {};
}

}  // namespace levin::tune
