#include <levin/tune/stopper.h>

#include <levin/tune/terminator/regret_bound.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {
namespace {

double number(const Metrics& result, const std::string& name) {
  const Value* value = result.find(name);
  if (value != nullptr && value->is_number()) return value->as_double();
  std::vector<std::string> names;
  for (const auto& [key, any] : result) names.push_back(key);
  throw Error({.what = "a stopper needs a number that a result lacks",
               .value = "\"" + name + "\"",
               .where = {},
               .hint = did_you_mean(name, names)});
}

// Of the numbers as a whole population, as NumPy's std.
template <class Numbers>
double deviation(const Numbers& numbers) {
  double mean = 0, sum = 0;
  for (const double x : numbers) mean += x / static_cast<double>(numbers.size());
  for (const double x : numbers) sum += (x - mean) * (x - mean) / static_cast<double>(numbers.size());
  return std::sqrt(sum);
}

void require(bool good, const char* what, double value) {
  if (!good) throw Error({.what = what, .value = format_double(value), .where = {}, .hint = {}});
}

}  // namespace

Stopper::~Stopper() = default;
void Stopper::begin(const std::string&, Mode) {}
bool Stopper::stop_all() { return false; }
bool Stopper::stop_after_trial(const Study&) { return false; }

MaximumIterationStopper::MaximumIterationStopper(std::int64_t max_iter) : max_iter_(max_iter) {
  require(max_iter >= 1, "max_iter must be positive", static_cast<double>(max_iter));
}
void MaximumIterationStopper::begin(const std::string&, Mode) { seen_.clear(); }
bool MaximumIterationStopper::stop(std::int64_t trial, const Metrics&) { return ++seen_[trial] >= max_iter_; }

MetricStopper::MetricStopper(std::vector<std::pair<std::string, double>> limits) : limits_(std::move(limits)) {
  for (const auto& [name, limit] : limits_) require(!std::isnan(limit), "a limit cannot be NaN", limit);
}
bool MetricStopper::stop(std::int64_t, const Metrics& result) {
  return std::any_of(limits_.begin(), limits_.end(),
                     [&](const auto& limit) { return number(result, limit.first) >= limit.second; });
}

TrialPlateauStopper::TrialPlateauStopper(TrialPlateauOptions options) : options_(std::move(options)) {
  require(options_.std > 0, "std must be positive", options_.std);
  require(options_.num_results >= 1, "num_results must be positive", static_cast<double>(options_.num_results));
  require(options_.grace_period >= 0, "grace_period must not be negative", static_cast<double>(options_.grace_period));
}
void TrialPlateauStopper::begin(const std::string& metric, Mode mode) {
  metric_ = options_.metric.empty() ? metric : options_.metric;
  mode_ = options_.mode.value_or(mode);
  histories_.clear();
}
bool TrialPlateauStopper::stop(std::int64_t trial, const Metrics& result) {
  const double value = number(result, metric_);
  auto& [last, seen] = histories_[trial];
  last.push_back(value);
  if (std::cmp_greater(last.size(), options_.num_results)) last.pop_front();
  if (++seen < options_.grace_period || std::cmp_less(last.size(), options_.num_results)) return false;
  if (options_.metric_threshold && better(*options_.metric_threshold, value, mode_)) return false;
  return deviation(last) < options_.std;
}

ExperimentPlateauStopper::ExperimentPlateauStopper(ExperimentPlateauOptions options) : options_(std::move(options)) {
  require(options_.std > 0, "std must be positive", options_.std);
  require(options_.top > 1, "top must be above one", static_cast<double>(options_.top));
  require(options_.patience >= 0, "patience must not be negative", static_cast<double>(options_.patience));
}
void ExperimentPlateauStopper::begin(const std::string& metric, Mode mode) {
  metric_ = options_.metric.empty() ? metric : options_.metric;
  mode_ = options_.mode.value_or(mode);
  top_.clear();
  waited_ = 0;
}
bool ExperimentPlateauStopper::still() const {
  return std::cmp_equal(top_.size(), options_.top) && deviation(top_) <= options_.std;
}
bool ExperimentPlateauStopper::stop(std::int64_t, const Metrics& result) {
  const double value = number(result, metric_);
  const auto before = [&](double a, double b) { return better(a, b, mode_); };
  if (!std::isnan(value)) top_.insert(std::upper_bound(top_.begin(), top_.end(), value, before), value);
  if (std::cmp_greater(top_.size(), options_.top)) top_.pop_back();
  waited_ = still() ? waited_ + 1 : 0;
  return stop_all();
}
bool ExperimentPlateauStopper::stop_all() { return still() && waited_ >= options_.patience; }

TimeoutStopper::TimeoutStopper(double seconds) : seconds_(seconds) {
  require(seconds >= 0, "a timeout is a number of seconds", seconds);
}
void TimeoutStopper::begin(const std::string&, Mode) { start_ = std::chrono::steady_clock::now(); }
bool TimeoutStopper::stop(std::int64_t, const Metrics&) { return false; }
bool TimeoutStopper::stop_all() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count() >= seconds_;
}

TargetValueStopper::TargetValueStopper(TargetValueOptions options) : options_(std::move(options)) {
  require(!std::isnan(options_.target), "the target cannot be NaN", options_.target);
}
void TargetValueStopper::begin(const std::string& metric, Mode mode) {
  metric_ = options_.metric.empty() ? metric : options_.metric;
  mode_ = options_.mode.value_or(mode);
  reached_ = false;
}
bool TargetValueStopper::stop(std::int64_t, const Metrics& result) {
  const double value = number(result, metric_);
  const bool good = value == options_.target || better(value, options_.target, mode_);
  reached_ |= good;
  return good;
}
bool TargetValueStopper::stop_all() { return reached_; }

FunctionStopper::FunctionStopper(std::function<bool(std::int64_t, const Metrics&)> function)
    : function_(std::move(function)) {
  if (!function_) throw Error("a FunctionStopper needs a function");
}
bool FunctionStopper::stop(std::int64_t trial, const Metrics& result) { return function_(trial, result); }

TerminatorStopper::TerminatorStopper(TerminatorOptions options) : terminator_(std::move(options)) {}
bool TerminatorStopper::stop(std::int64_t, const Metrics&) { return false; }
bool TerminatorStopper::stop_after_trial(const Study& study) { return terminator_.should_terminate(study); }

RegretBoundStopper::RegretBoundStopper(RegretBoundStopperOptions options)
    : TerminatorStopper({.improvement_evaluator = RegretBoundEvaluator({.top_trials_ratio = options.top_trials_ratio,
                                                                        .min_n_trials = options.min_n_trials,
                                                                        .seed = options.seed}),
                         .error_evaluator = StaticErrorEvaluator(options.max_regret),
                         .min_n_trials = options.min_n_trials}) {
  require(options.max_regret > 0, "max_regret must be above 0", options.max_regret);
}

StopperRef::StopperRef(std::initializer_list<std::pair<std::string, double>> limits)
    : stopper_(std::make_shared<MetricStopper>(std::vector(limits))) {}

CombinedStopper::CombinedStopper(std::vector<StopperRef> stoppers) {
  for (const auto& stopper : stoppers) {
    if (stopper.get() == nullptr) throw Error("a CombinedStopper was given an empty stopper");
    stoppers_.push_back(stopper.get());
  }
}
void CombinedStopper::begin(const std::string& metric, Mode mode) {
  for (const auto& stopper : stoppers_) stopper->begin(metric, mode);
}
bool CombinedStopper::stop(std::int64_t trial, const Metrics& result) {
  bool any = false;  // every one sees every result
  for (const auto& stopper : stoppers_) any |= stopper->stop(trial, result);
  return any;
}
bool CombinedStopper::stop_all() {
  return std::any_of(stoppers_.begin(), stoppers_.end(), [](const auto& stopper) { return stopper->stop_all(); });
}
bool CombinedStopper::stop_after_trial(const Study& study) {
  bool any = false;
  for (const auto& stopper : stoppers_) any |= stopper->stop_after_trial(study);
  return any;
}

}  // namespace levin::tune
