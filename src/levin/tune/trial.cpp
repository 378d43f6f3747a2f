#include <levin/tune/trial.h>

#include <levin/core/console.h>
#include <levin/tune/deferred_writes.h>
#include <levin/tune/trial_impl.h>

#include <cmath>

namespace levin::tune {
namespace {

// Runs `body`, naming the parameter in what it throws.
template <class Body>
auto naming(const std::string& name, Body&& body) {
  try {
    return body();
  } catch (const Error& error) {
    auto info = error.info();
    if (!info.where.empty()) throw;
    info.where = "parameter \"" + name + "\"";
    throw Error(std::move(info));
  }
}

void check_report(std::int64_t step, const Map& metrics) {
  if (step < 0) {
    throw Error(
        {.what = "a report's step must not be negative", .value = std::to_string(step), .where = {}, .hint = {}});
  }
  for (const auto& [name, value] : metrics) {
    if (!value.is_number()) {
      throw Error({.what = "a reported metric must be a number",
                   .value = value.to_string(),
                   .where = "metric \"" + name + "\"",
                   .hint = "keep other things with set_user_attr"});
    }
  }
}

// What the attribute of a report holds; empty when the intermediate value says it all.
Map beyond_one_value(const std::vector<double>& values, const Map& metrics) {
  Map more;
  if (values.size() > 1) more["values"] = List(values.begin(), values.end());
  if (!metrics.empty()) more["metrics"] = metrics;
  return more;
}

}  // namespace

namespace detail {
Distribution StudyCore::check_distribution(const std::string& param, const Distribution& distribution) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto known = distributions_.find(param); known != distributions_.end()) {
      if (known->second.same_in_all(distribution)) return known->second;
      check_compatible(param, known->second, distribution);
      return distribution;
    }
  }
  // New to this process; another may have used it. A storage that is written at once checks that by itself.
  Distribution first = distribution;
  if (storage->slow_writes()) {
    for (const auto& trial : cache->read().by_number()) {
      if (const Distribution* used = trial->distributions.find(param)) {
        first = *used;
        break;
      }
    }
  }
  check_compatible(param, first, distribution);
  const std::lock_guard lock(mutex_);
  distributions_.try_emplace(param, first);
  return distribution;
}

StudyView StudyCore::sampler_view(const FrozenTrial& trial) {
  StudyView whole = view();
  if (!sampler->learns_within_groups()) return whole;
  const auto grouping = pruner->grouping(whole);
  if (!grouping) return whole;
  const std::int64_t group = grouping(trial);
  const std::lock_guard lock(mutex_);
  auto& part = groups_[group];
  if (part == nullptr) {
    part = std::make_shared<TrialCache>(
        cache, [grouping, group](const TrialPtr& other) { return grouping(*other) == group ? other : nullptr; });
  }
  return StudyView(name, directions, part);
}

void StudyCore::remember(const std::shared_ptr<StudyTrial>& trial) {
  const std::lock_guard lock(mutex_);
  unwritten_.push_back(trial);
}

void StudyCore::flush_trials() {
  std::vector<std::weak_ptr<StudyTrial>> trials;
  {
    const std::lock_guard lock(mutex_);
    trials.swap(unwritten_);
  }
  for (const auto& weak : trials) {
    const auto trial = weak.lock();
    if (trial == nullptr) continue;
    try {
      trial->flush();
    } catch (const Error& error) {
      // It stays with its trial, whose next write or end tells its owner.
      console::warn_once("trial " + std::to_string(trial->number()) + " could not be written yet: " + error.what());
    }
  }
}

StudyTrial::StudyTrial(std::shared_ptr<StudyCore> core, TrialPtr stored)
    : core_(std::move(core)), number_(stored->number), frozen_(*stored) {
  if (const Value* fixed = frozen_.system_attrs.find("fixed_params"); fixed != nullptr && fixed->is_map()) {
    fixed_params_ = fixed->as_map();
  }
}

StudyTrial::~StudyTrial() {
  if (core_->heartbeats) core_->heartbeats->remove(frozen_.trial_id);
}

StudyView StudyTrial::view() const {
  StudyView view = core_->view();
  if (moment_) view.show(*moment_);
  return view;
}

StudyView StudyTrial::sampler_view() const {
  if (!moment_) return core_->sampler_view(frozen_);
  StudyView whole = view();
  if (!core_->sampler->learns_within_groups()) return whole;
  const auto grouping = core_->pruner->grouping(whole);
  if (!grouping) return whole;
  std::vector<TrialPtr> part;
  for (const auto& trial : whole.trials().by_number()) {
    if (grouping(*trial) == grouping(frozen_)) part.push_back(trial);
  }
  return StudyView(core_->name, core_->directions, std::make_shared<TrialCache>(std::move(part)));
}

void StudyTrial::begin() {
  const std::lock_guard lock(mutex_);
  StudyView view = this->view();
  core_->sampler->before_trial(view, frozen_);
  take_requests(view);
  write();
}

Value StudyTrial::suggest(const std::string& name, const Distribution& distribution) {
  const std::lock_guard lock(mutex_);
  if (const Distribution* before = frozen_.distributions.find(name)) {
    check_compatible(name, *before, distribution);
    return frozen_.params.at(name);
  }
  const Distribution shared = core_->check_distribution(name, distribution);
  if (frozen_.distributions.empty()) {
    frozen_.distributions.reserve(core_->n_params);
    frozen_.params.reserve(core_->n_params);
  }
  return naming(name, [&] {
    const double internal = distribution.rounded(distribution.to_internal(choose(name, distribution)));
    Value value = distribution.to_external(internal);
    frozen_.params.append(name, value);
    frozen_.distributions.append(name, shared);
    pending_.params.push_back({name, shared, internal});
    try {
      write_soon();
    } catch (...) {  // it was never suggested
      frozen_.params.erase(name);
      frozen_.distributions.erase(name);
      pending_.params.pop_back();
      throw;
    }
    return value;
  });
}

Value StudyTrial::choose(const std::string& name, const Distribution& distribution) {
  if (const Value* fixed = fixed_params_.find(name)) {
    if (!distribution.contains(distribution.to_internal(*fixed))) {
      console::warning("parameter \"" + name + "\" was enqueued as " + fixed->to_string() + ", which lies outside " +
                       distribution.to_text() + "; it is used all the same");
    }
    return *fixed;
  }
  if (distribution.single()) return distribution.single_value();
  if (const Value* chosen = relative(name, distribution)) return *chosen;
  StudyView view = sampler_view();
  Value value = core_->sampler->sample_independent(view, frozen_, name, distribution);
  take_requests(view);
  return value;
}

const Value* StudyTrial::relative(const std::string& name, const Distribution& distribution) {
  if (!relative_done_) {
    relative_done_ = true;
    StudyView view = sampler_view();
    relative_space_ = core_->sampler->infer_relative_search_space(view, frozen_);
    relative_params_ = core_->sampler->sample_relative(view, frozen_, relative_space_);
    const bool asked = !view.requested_system_attrs().empty();
    take_requests(view);
    if (asked) write();  // other workers wait for nothing less than what was chosen
  }
  const Value* value = relative_params_.find(name);
  if (value == nullptr) return nullptr;
  const Distribution* inferred = relative_space_.find(name, frozen_.distributions.size());
  if (inferred == nullptr) {
    throw Error("the sampler chose a parameter that its relative search space does not name");
  }
  check_compatible(name, *inferred, distribution);
  // The range may have changed since: then the parameter is chosen anew, alone.
  return distribution.contains(distribution.to_internal(*value)) ? value : nullptr;
}

void StudyTrial::take_requests(const StudyView& view) {
  for (const auto& [key, value] : view.requested_system_attrs()) {
    frozen_.system_attrs[key] = value;
    pending_.system_attrs[key] = value;
  }
  if (view.stop_requested()) core_->stop = true;
}

void StudyTrial::write() {
  queued_ = false;
  if (pending_.empty()) return;
  core_->storage->update_trial(frozen_.trial_id, pending_);
  pending_.clear();
}

void StudyTrial::write_soon() {
  if (!core_->storage->slow_writes()) return write();
  if (queued_) return;
  queued_ = true;
  core_->remember(shared_from_this());
  DeferredWrites::instance().add(weak_from_this());
}

void StudyTrial::flush() {
  const std::lock_guard lock(mutex_);
  write();
}

void StudyTrial::finish(TrialState state, const std::vector<double>& values, const Map& system_attrs) {
  const std::lock_guard lock(mutex_);
  core_->n_params = frozen_.params.size();
  for (const auto& [key, value] : system_attrs) pending_.system_attrs[key] = value;
  pending_.state = state;
  pending_.values = values;
  try {
    write();
  } catch (const Error& error) {
    // What cannot be stored (a parameter that another process has used in another way since) must not leave the trial
    // running for ever.
    if (is_finished(core_->storage->trial(frozen_.trial_id)->state)) throw;
    pending_ = {};
    pending_.state = TrialState::fail;
    pending_.system_attrs["fail_reason"] = error.what();
    write();
    frozen_.state = TrialState::fail;
    throw;
  }
  frozen_.state = state;
  frozen_.values = values;
  for (const auto& [key, value] : system_attrs) frozen_.system_attrs[key] = value;
}

void StudyTrial::report(const std::vector<double>& values, std::int64_t step, const Map& metrics) {
  const std::lock_guard lock(mutex_);
  const std::size_t n_objectives = core_->directions.size();
  if (values.size() != n_objectives) {
    throw Error({.what = "a report has one value for each objective",
                 .value = std::to_string(values.size()) + " values for " + std::to_string(n_objectives) + " objectives",
                 .where = "study \"" + core_->name + "\"",
                 .hint = n_objectives > 1 ? "report({...}, step)" : ""});
  }
  check_report(step, metrics);
  if (frozen_.intermediate_values.contains(step)) {
    console::warn_once("a second report at the same step is left out; the first counts");
    return;
  }
  frozen_.intermediate_values.set(step, values.front());
  pending_.intermediate_values.emplace_back(step, values.front());
  if (Map more = beyond_one_value(values, metrics); !more.empty()) {
    const std::string key = report_key(step);
    frozen_.system_attrs[key] = more;
    pending_.system_attrs[key] = std::move(more);
  }
  write_soon();
}

bool StudyTrial::should_prune() {
  const std::lock_guard lock(mutex_);
  if (core_->directions.size() > 1 && !core_->pruner->judges_several_objectives()) {
    throw Error(
        {.what = "this pruner judges one objective alone",
         .value = std::to_string(core_->directions.size()) + " objectives",
         .where = "study \"" + core_->name + "\"",
         .hint = "take MedianPruner, SuccessiveHalvingPruner or HyperbandPruner, or a MetricPruner around yours"});
  }
  StudyView view = this->view();
  const bool prune = core_->pruner->prune(view, frozen_);
  take_requests(view);
  if (!pending_.empty()) write_soon();
  return prune;
}

std::filesystem::path StudyTrial::checkpoint_dir() {
  constexpr const char* kKey = "levin:checkpoint_dir";
  const std::lock_guard lock(mutex_);
  std::filesystem::path folder;
  if (const Value* known = frozen_.system_attrs.find(kKey); known != nullptr && known->is_string()) {
    folder = known->as_string();
  } else if (core_->checkpoint_dir.empty()) {
    throw Error({.what = "this study has no place for checkpoints",
                 .value = {},
                 .where = "study \"" + core_->name + "\" in " + core_->storage->url(),
                 .hint = "set checkpoint_dir when the study is created or loaded"});
  } else {
    folder = std::filesystem::path(core_->checkpoint_dir) / std::to_string(number_);
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw Error({.what = "the folder for checkpoints cannot be made: " + error.message(),
                 .value = {},
                 .where = folder.string(),
                 .hint = {}});
  }
  if (!frozen_.system_attrs.contains(kKey)) {
    frozen_.system_attrs[kKey] = folder.string();
    pending_.system_attrs[kKey] = folder.string();
    write();  // whoever runs this trial again must find it
  }
  return folder;
}

bool StudyTrial::stop_requested() const { return core_->stop || core_->interrupted; }

void StudyTrial::set_user_attr(const std::string& key, const Value& value) {
  const std::lock_guard lock(mutex_);
  frozen_.user_attrs[key] = value;
  pending_.user_attrs[key] = value;
  write_soon();
}

void StudyTrial::set_system_attr(const std::string& key, const Value& value) {
  const std::lock_guard lock(mutex_);
  frozen_.system_attrs[key] = value;
  pending_.system_attrs[key] = value;
  write_soon();
}

FrozenTrial StudyTrial::frozen() const {
  const std::lock_guard lock(mutex_);
  return frozen_;
}

namespace {

class FixedImpl : public TrialImpl {
 public:
  FixedImpl(Map params, std::int64_t number) : params_(std::move(params)) {
    frozen_.number = number;
    frozen_.datetime_start = std::chrono::system_clock::now();
  }

  Value suggest(const std::string& name, const Distribution& distribution) override {
    if (const Distribution* before = frozen_.distributions.find(name)) check_compatible(name, *before, distribution);
    const Value* given = params_.find(name);
    if (given == nullptr) {
      std::vector<std::string> names;
      for (const auto& entry : params_) names.push_back(entry.first);
      throw Error({.what = "this fixed trial has no parameter \"" + name + "\"",
                   .value = {},
                   .where = {},
                   .hint = did_you_mean(name, names)});
    }
    return naming(name, [&] {
      const double internal = distribution.to_internal(*given);
      if (!distribution.contains(internal)) {
        throw Error({.what = "the fixed value lies outside " + distribution.to_text(),
                     .value = given->to_string(),
                     .where = {},
                     .hint = {}});
      }
      Value value = distribution.to_external(internal);
      frozen_.params[name] = value;
      frozen_.distributions.set(name, distribution);
      return value;
    });
  }
  void report(const std::vector<double>& values, std::int64_t step, const Map& metrics) override {
    check_report(step, metrics);
    if (values.empty()) throw Error("a report needs a value");
    if (frozen_.intermediate_values.contains(step)) return;
    frozen_.intermediate_values.set(step, values.front());
    if (Map more = beyond_one_value(values, metrics); !more.empty()) frozen_.system_attrs[report_key(step)] = more;
  }
  bool should_prune() override { return false; }
  std::filesystem::path checkpoint_dir() override {
    throw Error(
        {.what = "a fixed trial has no place for checkpoints", .value = {}, .where = {}, .hint = "run it in a study"});
  }
  bool stop_requested() const override { return false; }
  void set_user_attr(const std::string& key, const Value& value) override { frozen_.user_attrs[key] = value; }
  void set_system_attr(const std::string& key, const Value& value) override { frozen_.system_attrs[key] = value; }
  FrozenTrial frozen() const override { return frozen_; }
  std::int64_t number() const override { return frozen_.number; }

 private:
  Map params_;
  FrozenTrial frozen_;
};

}  // namespace
}  // namespace detail

double Trial::suggest_float(const std::string& name, double low, double high, const SuggestFloatOptions& options) {
  const FloatDistribution range{.low = low, .high = high, .log = options.log, .step = options.step};
  return suggest(name, naming(name, [&] { return Distribution(range); })).as_double();
}

std::int64_t Trial::suggest_int(const std::string& name, std::int64_t low, std::int64_t high,
                                const SuggestIntOptions& options) {
  const IntDistribution range{.low = low, .high = high, .log = options.log, .step = options.step};
  return suggest(name, naming(name, [&] { return Distribution(range); })).as_int();
}

namespace {
template <class T>
List to_list(const T& choices) {
  return List(choices.begin(), choices.end());
}
}  // namespace

std::string Trial::suggest_categorical(const std::string& name, std::initializer_list<const char*> choices) {
  return suggest_categorical(name, to_list(choices)).as_string();
}
std::string Trial::suggest_categorical(const std::string& name, std::initializer_list<std::string> choices) {
  return suggest_categorical(name, to_list(choices)).as_string();
}
std::int64_t Trial::suggest_categorical(const std::string& name, std::initializer_list<int> choices) {
  return suggest_categorical(name, to_list(choices)).as_int();
}
std::int64_t Trial::suggest_categorical(const std::string& name, std::initializer_list<std::int64_t> choices) {
  return suggest_categorical(name, to_list(choices)).as_int();
}
double Trial::suggest_categorical(const std::string& name, std::initializer_list<double> choices) {
  return suggest_categorical(name, to_list(choices)).as_double();
}
bool Trial::suggest_categorical(const std::string& name, std::initializer_list<bool> choices) {
  return suggest_categorical(name, to_list(choices)).as_bool();
}
std::string Trial::suggest_categorical(const std::string& name, const std::vector<std::string>& choices) {
  return suggest_categorical(name, to_list(choices)).as_string();
}
Value Trial::suggest_categorical(const std::string& name, const List& choices) {
  return suggest(name, naming(name, [&] { return Distribution(CategoricalDistribution{choices}); }));
}

Value Trial::suggest(const std::string& name, const Distribution& distribution) {
  return impl_->suggest(name, distribution);
}

void Trial::report(double value, std::int64_t step, const Map& metrics) { impl_->report({value}, step, metrics); }
void Trial::report(const std::vector<double>& values, std::int64_t step, const Map& metrics) {
  impl_->report(values, step, metrics);
}
bool Trial::should_prune() { return impl_->should_prune(); }
bool Trial::stop_requested() const { return impl_->stop_requested(); }
void Trial::set_user_attr(const std::string& key, const Value& value) { impl_->set_user_attr(key, value); }
void Trial::set_system_attr(const std::string& key, const Value& value) { impl_->set_system_attr(key, value); }

void Trial::set_constraint(const std::string& name, double value) {
  if (std::isnan(value)) {
    throw Error(
        {.what = "a constraint cannot be NaN", .value = "nan", .where = "constraint \"" + name + "\"", .hint = {}});
  }
  const std::string key = "constraints:" + name;
  if (system_attrs().contains(key)) {
    console::warn_once("a second value of constraint \"" + name + "\" is left out; the first counts");
    return;
  }
  set_system_attr(key, value);
}

std::filesystem::path Trial::checkpoint_dir() { return impl_->checkpoint_dir(); }

std::int64_t Trial::number() const { return impl_->number(); }
Map Trial::params() const { return impl_->frozen().params; }
SearchSpace Trial::distributions() const { return impl_->frozen().distributions; }
Map Trial::user_attrs() const { return impl_->frozen().user_attrs; }
Map Trial::system_attrs() const { return impl_->frozen().system_attrs; }
FrozenTrial Trial::frozen() const { return impl_->frozen(); }

FixedTrial::FixedTrial(Map params, std::int64_t number)
    : Trial(std::make_shared<detail::FixedImpl>(std::move(params), number)) {}

}  // namespace levin::tune
