#include <levin/tune/schedulers/median_stopping.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin::tune {

MedianStoppingRule::MedianStoppingRule(MedianStoppingOptions options) : options_(std::move(options)) {
  const auto check = [](const char* name, double value) {
    if (value >= 0) return;
    throw Error(
        {.what = std::string(name) + " must not be negative", .value = format_double(value), .where = {}, .hint = {}});
  };
  check("grace_period", options_.grace_period);
  check("min_samples_required", static_cast<double>(options_.min_samples_required));
  check("min_time_slice", options_.min_time_slice);
}

void MedianStoppingRule::begin(const SchedulerSetup& setup) {
  Scheduler::begin(setup);
  histories_.clear();
}

MedianStoppingRule::History& MedianStoppingRule::record(const Run& run, double time, double score) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  History& history = histories_.try_emplace(run.number, History{{}, {}, -infinity, false, -infinity}).first->second;
  if (!history.times.empty() && history.times.back() == time) return history;
  const double before = history.sums.empty() ? 0 : history.sums.back();
  history.times.push_back(time);
  history.sums.push_back(time < options_.grace_period ? before : before + score);
  if (score > history.best) history.best = score;
  return history;
}

double MedianStoppingRule::running_mean(const History& history, double time) const {
  const auto first = std::lower_bound(history.times.begin(), history.times.end(), options_.grace_period);
  const auto last = std::upper_bound(history.times.begin(), history.times.end(), time);
  if (first >= last) return std::numeric_limits<double>::quiet_NaN();
  return history.sums[static_cast<std::size_t>(last - history.times.begin() - 1)] / static_cast<double>(last - first);
}

Decision MedianStoppingRule::on_trial_result(TunerControl& control, Run& run, const Metrics& result) {
  const double time = number(result, options_.time_attr, "time_attr");
  History& own = record(run, time, score(result));
  if (own.judged_bad || time < options_.grace_period) return Decision::proceed;
  std::vector<double> means;
  for (const auto& [other, history] : histories_) {
    if (other == run.number || history.times.back() < time) continue;
    if (const double mean = running_mean(history, time); std::isfinite(mean)) means.push_back(mean);
  }
  if (std::cmp_less(means.size(), options_.min_samples_required)) {
    const auto live = control.live();
    const bool waiting = control.more_to_come() || std::any_of(live.begin(), live.end(), [](const Run* other) {
                           return other->status == RunStatus::pending || other->status == RunStatus::paused;
                         });
    if (!waiting || !(time - own.last_pause > options_.min_time_slice)) return Decision::proceed;
    own.last_pause = time;
    return Decision::pause;
  }
  if (means.empty()) return Decision::proceed;
  std::sort(means.begin(), means.end());
  const std::size_t half = means.size() / 2;
  const double median = means.size() % 2 == 1 ? means[half] : (means[half - 1] + means[half]) / 2;
  if (own.best >= median) return Decision::proceed;
  own.judged_bad = true;
  return options_.hard_stop ? Decision::stop : Decision::pause;
}

void MedianStoppingRule::on_trial_complete(TunerControl&, Run& run, const Metrics& result) {
  record(run, number(result, options_.time_attr, "time_attr"), score(result));
}

}  // namespace levin::tune
