#include <levin/tune/schedulers/scheduler.h>

#include <cmath>

namespace levin::tune {

TunerControl::~TunerControl() = default;
Scheduler::~Scheduler() = default;
void Scheduler::begin(const SchedulerSetup& setup) { setup_ = setup; }
void Scheduler::on_trial_add(TunerControl&, Run&) {}
void Scheduler::on_trial_complete(TunerControl&, Run&, const Metrics&) {}
void Scheduler::on_trial_remove(TunerControl&, Run&) {}
bool Scheduler::learns_from_past() const { return false; }

const Run* Scheduler::choose(TunerControl& control, bool can_create) {
  if (can_create) return nullptr;
  for (const Run* run : control.live()) {
    if (run->status == RunStatus::paused) return run;
  }
  return nullptr;
}

double Scheduler::number(const Metrics& result, const std::string& name, const char* what) {
  const Value* value = result.find(name);
  if (value != nullptr && value->is_number()) return value->as_double();
  std::vector<std::string> names;
  for (const auto& [key, any] : result) names.push_back(key);
  throw Error({.what = std::string("a result lacks ") + what,
               .value = "\"" + name + "\"",
               .where = {},
               .hint = did_you_mean(name, names)});
}

double Scheduler::score(const Metrics& result) const {
  const double value = number(result, setup_.metric, "the metric");
  return setup_.mode == Mode::max ? value : -value;
}

Decision FIFOScheduler::on_trial_result(TunerControl&, Run&, const Metrics&) { return Decision::proceed; }

}  // namespace levin::tune
