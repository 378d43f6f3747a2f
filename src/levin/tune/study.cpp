#include <levin/tune/study.h>

#include <levin/core/console.h>
#include <levin/core/progress_bar.h>
#include <levin/tune/pareto.h>
#include <levin/tune/pruners/percentile.h>
#include <levin/tune/samplers/tpe.h>
#include <levin/tune/study_core.h>
#include <levin/tune/trial_impl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string_view>
#include <thread>
#include <utility>

namespace levin::tune {
namespace {

using detail::StudyCore;
using detail::StudyTrial;

// Why values cannot be those of a complete trial, or "".
std::string flaw(const std::vector<double>& values, std::size_t n_objectives) {
  if (values.size() != n_objectives) {
    return "the objective gave " + std::to_string(values.size()) + " values for " + std::to_string(n_objectives) +
           " objectives";
  }
  for (const double value : values) {
    if (std::isnan(value)) return "the objective is NaN";
  }
  return {};
}

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

// Studies whose optimize loop this thread is in.
thread_local std::vector<const StudyCore*> loops_of_this_thread;

struct LoopMark {
  explicit LoopMark(const StudyCore* core) { loops_of_this_thread.push_back(core); }
  ~LoopMark() { loops_of_this_thread.pop_back(); }
};

std::string random_name() {
  std::random_device device;
  char text[40];
  std::snprintf(text, sizeof text, "%08x-%04x-4%03x-%04x-%04x%08x", device(), device() & 0xffff, device() & 0xfff,
                0x8000 | (device() & 0x3fff), device() & 0xffff, device());
  return std::string("no-name-") + text;
}

// Beside the file that the storage is, if it is one.
std::string default_checkpoint_dir(const Storage& storage, const std::string& study) {
  const std::string url = storage.url();
  for (const std::string_view scheme : {"sqlite:///", "journal:///"}) {
    if (!url.starts_with(scheme) || url.ends_with(":memory:")) continue;
    std::string name = study;
    std::replace(name.begin(), name.end(), '/', '_');
    if (name == "." || name == "..") name = "_";
    return url.substr(scheme.size()) + ".checkpoints/" + name;
  }
  return "";
}

Study open_study(std::shared_ptr<Storage> storage, std::int64_t id, const SamplerRef& sampler, const PrunerRef& pruner,
                 const std::optional<HeartbeatOptions>& heartbeat, const std::string& checkpoint_dir) {
  if (heartbeat) detail::check(*heartbeat);
  auto core = std::make_shared<StudyCore>();
  const FrozenStudy frozen = storage->study(id);
  core->storage = std::move(storage);
  core->id = id;
  core->name = frozen.study_name;
  core->directions = frozen.directions;
  core->sampler = sampler ? sampler.get() : std::make_shared<TPESampler>();
  core->pruner = pruner ? pruner.get() : std::make_shared<MedianPruner>();
  core->cache = std::make_shared<TrialCache>(core->storage, id);
  core->first_view.emplace(core->name, core->directions, core->cache);
  if (heartbeat) core->heartbeats = std::make_unique<detail::Heartbeats>(core->storage, *heartbeat);
  core->checkpoint_dir = checkpoint_dir.empty() ? default_checkpoint_dir(*core->storage, core->name) : checkpoint_dir;
  if (!core->checkpoint_dir.empty()) core->checkpoint_dir = std::filesystem::absolute(core->checkpoint_dir);
  return Study(std::move(core));
}

[[noreturn]] void throw_no_study(Storage& storage, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& study : storage.studies()) names.push_back(study.study_name);
  throw Error({.what = "there is no study \"" + name + "\"",
               .value = {},
               .where = storage.url(),
               .hint = names.empty() ? "the storage holds no study yet" : did_you_mean(name, names)});
}

bool same_params(const Map& a, const Map& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, value] : a) {
    const Value* other = b.find(name);
    if (other == nullptr) return false;
    const bool both_nan =
        value.is_float() && other->is_float() && std::isnan(value.as_double()) && std::isnan(other->as_double());
    if (!both_nan && !(value == *other)) return false;
  }
  return true;
}

}  // namespace

Study create_study(const CreateStudyOptions& options) {
  if (options.direction && !options.directions.empty()) {
    throw Error("a study takes direction or directions, not both");
  }
  std::vector<Direction> directions = options.directions;
  if (directions.empty()) directions = {options.direction.value_or(Direction::minimize)};
  if (options.load_if_exists && options.study_name.empty()) {
    throw Error("load_if_exists needs a study_name");
  }
  auto storage = options.storage.open();
  const std::string name = options.study_name.empty() ? random_name() : options.study_name;
  std::optional<std::int64_t> id;
  // A study that another process creates or deletes in between leads to one more round.
  while (!id) {
    if (options.load_if_exists) id = storage->find_study(name);
    if (id) break;
    id = storage->create_study(name, directions);
    if (!id && !options.load_if_exists) {
      throw Error({.what = "a study of this name exists already",
                   .value = "\"" + name + "\"",
                   .where = storage->url(),
                   .hint = "set load_if_exists = true to continue it, or choose another study_name"});
    }
  }
  Study study =
      open_study(std::move(storage), *id, options.sampler, options.pruner, options.heartbeat, options.checkpoint_dir);
  const bool given = options.direction || !options.directions.empty();
  if (given && study.directions() != directions) {
    std::string stored;
    for (const auto direction : study.directions()) stored += (stored.empty() ? "" : ", ") + to_string(direction);
    throw Error({.what = "the existing study has other directions",
                 .value = stored,
                 .where = "study \"" + name + "\"",
                 .hint = "leave direction out to continue it as it is, or choose another study_name"});
  }
  return study;
}

Study load_study(const LoadStudyOptions& options) {
  auto storage = options.storage.open(false);
  std::string name = options.study_name;
  if (name.empty()) {
    const auto studies = storage->studies();
    if (studies.size() != 1) {
      std::vector<std::string> names;
      for (const auto& study : studies) names.push_back(study.study_name);
      throw Error({.what = studies.empty() ? "the storage holds no study" : "the storage holds several studies",
                   .value = join_words(names),
                   .where = storage->url(),
                   .hint = studies.empty() ? "" : "name one by study_name"});
    }
    name = studies.front().study_name;
  }
  const auto id = storage->find_study(name);
  if (!id) throw_no_study(*storage, name);
  return open_study(std::move(storage), *id, options.sampler, options.pruner, options.heartbeat,
                    options.checkpoint_dir);
}

void delete_study(const DeleteStudyOptions& options) {
  const auto storage = options.storage.open(false);
  const auto id = storage->find_study(options.study_name);
  if (!id) throw_no_study(*storage, options.study_name);
  storage->delete_study(*id);
}

std::vector<StudySummary> study_summaries(const StorageRef& ref) {
  const auto storage = ref.open(false);
  std::vector<StudySummary> out;
  for (auto& study : storage->studies()) {
    TrialCache cache(storage, study.study_id);
    StudySummary summary{.study_name = study.study_name,
                         .directions = study.directions,
                         .best_trial = std::nullopt,
                         .n_trials = 0,
                         .datetime_start = std::nullopt,
                         .user_attrs = study.user_attrs,
                         .system_attrs = study.system_attrs,
                         .study_id = study.study_id};
    for (const auto& trial : cache.read().by_number()) {
      ++summary.n_trials;
      if (trial->datetime_start && (!summary.datetime_start || *trial->datetime_start < *summary.datetime_start)) {
        summary.datetime_start = trial->datetime_start;
      }
    }
    if (study.directions.size() == 1) {
      if (const auto best = cache.best(study.directions.front())) summary.best_trial = *best;
    }
    out.push_back(std::move(summary));
  }
  return out;
}

void copy_study(const CopyStudyOptions& options) {
  const auto from = options.from_storage.open(false);
  const auto id = from->find_study(options.from_study_name);
  if (!id) throw_no_study(*from, options.from_study_name);
  const FrozenStudy study = from->study(*id);
  auto trials = from->read_trials(*id, {}, -1);
  std::vector<std::string> extended;
  for (auto& trial : trials) {
    auto changed = std::make_shared<FrozenTrial>(*trial);
    for (const auto& [name, more] : options.extend_choices) {
      const Distribution* old = trial->distributions.find(name);
      if (old == nullptr) continue;
      if (!old->is_categorical()) {
        throw Error({.what = "only the choices of a categorical parameter can be extended",
                     .value = old->to_text(),
                     .where = "parameter \"" + name + "\"",
                     .hint = "numeric ranges may change from trial to trial"});
      }
      List choices = old->choices();
      for (const auto& choice : more.as_list()) {
        if (std::find(choices.begin(), choices.end(), choice) == choices.end()) choices.push_back(choice);
      }
      changed->distributions.set(name, CategoricalDistribution{std::move(choices)});
      if (std::find(extended.begin(), extended.end(), name) == extended.end()) extended.push_back(name);
    }
    if (!options.extend_choices.empty()) trial = std::move(changed);
  }
  for (const auto& [name, more] : options.extend_choices) {
    if (std::find(extended.begin(), extended.end(), name) != extended.end()) continue;
    std::vector<std::string> names;
    for (const auto& trial : trials) {
      for (const auto& [known, distribution] : trial->distributions) {
        if (std::find(names.begin(), names.end(), known) == names.end()) names.push_back(known);
      }
    }
    throw Error({.what = "no trial of the study has a parameter \"" + name + "\"",
                 .value = {},
                 .where = "extend_choices",
                 .hint = did_you_mean(name, names)});
  }
  const auto to = options.to_storage.open();
  const std::string name = options.to_study_name.empty() ? options.from_study_name : options.to_study_name;
  const auto copy = to->create_study(name, study.directions);
  if (!copy) {
    throw Error({.what = "a study of this name exists already",
                 .value = "\"" + name + "\"",
                 .where = to->url(),
                 .hint = "choose another to_study_name"});
  }
  for (const auto& [key, value] : study.user_attrs) to->set_study_user_attr(*copy, key, value);
  for (const auto& [key, value] : study.system_attrs) to->set_study_system_attr(*copy, key, value);
  to->create_trials(*copy, trials);
}

Trial Study::ask(const SearchSpace& fixed) {
  Trial trial = *next_trial(std::nullopt);
  suggest(trial, fixed);
  return trial;
}

std::optional<Trial> Study::ask_below(std::int64_t limit) { return next_trial(limit); }

std::optional<Trial> Study::next_trial(std::optional<std::int64_t> limit) {
  if (core_->heartbeats) core_->heartbeats->reclaim(core_->id);
  TrialPtr stored = core_->storage->next_trial(core_->id, core_->heartbeats != nullptr, limit);
  if (stored == nullptr) return std::nullopt;
  if (core_->heartbeats) core_->heartbeats->add(stored->trial_id);
  auto impl = std::make_shared<StudyTrial>(core_, std::move(stored));
  impl->begin();
  return Trial(std::move(impl));
}

FrozenTrial Study::tell(const TrialKey& trial, double value, const TellOptions& options) {
  return *core_->storage->trial(finish(trial, {value}, true, options, {}));
}

FrozenTrial Study::tell(const TrialKey& trial, const std::vector<double>& values, const TellOptions& options) {
  return *core_->storage->trial(finish(trial, values, true, options, {}));
}

FrozenTrial Study::tell(const TrialKey& trial, TrialState state, const TellOptions& options) {
  if (options.state && *options.state != state) {
    throw Error({.what = "two states were told",
                 .value = to_string(state) + " and " + to_string(*options.state),
                 .where = {},
                 .hint = {}});
  }
  return *core_->storage->trial(
      finish(trial, {}, false, {.state = state, .skip_if_finished = options.skip_if_finished}, {}));
}

std::int64_t Study::finish(const TrialKey& key, std::vector<double> values, bool has_values, const TellOptions& options,
                           const std::string& failure) {
  const std::int64_t number = key.number();
  const std::string where = "trial " + std::to_string(number);
  const auto fail = [&](const std::string& what, const std::string& value) {
    throw Error({.what = what, .value = value, .where = where, .hint = {}});
  };
  StudyTrial* handle = nullptr;
  if (key.trial()) {
    handle = dynamic_cast<StudyTrial*>(key.trial()->impl_.get());
    if (handle == nullptr || handle->core()->storage != core_->storage || handle->core()->id != core_->id) {
      fail("this trial is not one of study \"" + core_->name + "\"", std::to_string(number));
    }
  }
  FrozenTrial trial;
  if (handle != nullptr && !options.skip_if_finished) {
    trial = handle->frozen();
  } else {
    // By its number a trial is looked up, after what this process still holds of it was written.
    core_->flush_trials();
    TrialPtr found;
    const auto snapshot = core_->cache->read();
    for (const auto list : {snapshot.unfinished(), snapshot.finished()}) {
      for (const auto& candidate : list) {
        if (candidate->number == number) found = candidate;
      }
    }
    if (found == nullptr) fail("there is no such trial in study \"" + core_->name + "\"", std::to_string(number));
    trial = *found;
    if (is_finished(trial.state) && options.skip_if_finished) return trial.trial_id;
  }
  if (trial.state != TrialState::running) fail("only a running trial can be told", to_string(trial.state));

  std::optional<TrialState> state = options.state;
  std::string reason = failure;
  if (state == TrialState::complete) {
    if (!has_values) fail("a complete trial needs a value", "none");
    if (const std::string what = flaw(values, core_->directions.size()); !what.empty()) fail(what, to_string(*state));
  } else if (state == TrialState::pruned || state == TrialState::fail) {
    if (has_values) fail("values belong to complete trials only", to_string(*state));
    if (state == TrialState::pruned && !trial.intermediate_values.empty()) {
      values = trial.reported(trial.intermediate_values.back().first);
      if (!flaw(values, core_->directions.size()).empty()) values.clear();
    }
  } else if (state) {
    fail("a trial ends as COMPLETE, PRUNED or FAIL", to_string(*state));
  } else if (const std::string what = flaw(values, core_->directions.size()); !what.empty()) {
    state = TrialState::fail;
    values.clear();
    reason = what;
  } else {
    state = TrialState::complete;
  }

  StudyView view = core_->view();
  if (!reason.empty()) view.set_system_attr("fail_reason", reason);
  // Whatever the sampler does, the trial does not stay RUNNING.
  std::exception_ptr sampler_error;
  try {
    core_->sampler->after_trial(view, trial, *state, values);
  } catch (...) {
    sampler_error = std::current_exception();
  }
  if (handle != nullptr) {
    handle->finish(*state, values, view.requested_system_attrs());
  } else {
    core_->storage->update_trial(trial.trial_id, {.params = {},
                                                  .intermediate_values = {},
                                                  .user_attrs = {},
                                                  .system_attrs = view.requested_system_attrs(),
                                                  .state = state,
                                                  .values = values});
  }
  if (core_->heartbeats) core_->heartbeats->remove(trial.trial_id);
  if (view.stop_requested()) core_->stop = true;
  if (sampler_error) std::rethrow_exception(sampler_error);
  if (!reason.empty()) console::warning("trial " + std::to_string(number) + " failed: " + reason);
  return trial.trial_id;
}

// How an objective ended, before its trial is told.
struct Study::Outcome {
  Trial trial;
  std::vector<double> values;
  TellOptions options;
  std::string failure;
  std::exception_ptr error;
};

Study::Outcome Study::run_objective(Trial trial, const MultiObjective& objective) const {
  Outcome outcome{.trial = std::move(trial), .values = {}, .options = {}, .failure = {}, .error = {}};
  try {
    outcome.values = objective(outcome.trial);
  } catch (const TrialPruned&) {
    outcome.options.state = TrialState::pruned;
  } catch (...) {
    outcome.options.state = TrialState::fail;
    outcome.error = std::current_exception();
    outcome.failure = text_of(outcome.error);
  }
  return outcome;
}

std::int64_t Study::tell(const Outcome& outcome) {
  return finish(outcome.trial, outcome.values, !outcome.options.state, outcome.options, outcome.failure);
}

void Study::optimize(const Objective& objective, const OptimizeOptions& options) {
  optimize([&](Trial& trial) { return std::vector<double>{objective(trial)}; }, options);
}

void Study::optimize(const MultiObjective& objective, const OptimizeOptions& options) {
  using Clock = std::chrono::steady_clock;
  if (std::find(loops_of_this_thread.begin(), loops_of_this_thread.end(), core_.get()) != loops_of_this_thread.end()) {
    throw Error({.what = "optimize was called from within an objective or callback of the same study",
                 .value = {},
                 .where = "study \"" + core_->name + "\"",
                 .hint = "use enqueue_trial to add trials"});
  }
  if (options.n_jobs == 0 || options.n_jobs < -1) {
    throw Error({.what = "n_jobs is a number of threads, or -1 for one per processor",
                 .value = std::to_string(options.n_jobs),
                 .where = {},
                 .hint = {}});
  }
  if (options.n_trials && *options.n_trials < 0) {
    throw Error(
        {.what = "n_trials must not be negative", .value = std::to_string(*options.n_trials), .where = {}, .hint = {}});
  }
  if (options.timeout && !(*options.timeout >= 0)) {
    throw Error(
        {.what = "timeout is a number of seconds", .value = format_double(*options.timeout), .where = {}, .hint = {}});
  }

  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  std::atomic<std::int64_t> started{0};
  std::mutex mutex;  // one callback, one look at the progress bar at a time
  std::exception_ptr first_error;
  std::atomic<bool> broken{false};
  ProgressBar bar({.description = core_->name,
                   .total = options.n_trials,
                   .initial = 0,
                   .unit = "trial",
                   .leave = true,
                   .enabled = options.show_progress_bar});

  const auto may_start = [&] {
    if (broken || core_->stop || options.stop_token.stop_requested()) return false;
    if (options.timeout && elapsed() >= *options.timeout) return false;
    return !options.n_trials || started.fetch_add(1) < *options.n_trials;
  };
  const auto conclude = [&](const Outcome& outcome) {
    const std::int64_t id = tell(outcome);
    if (outcome.error && !options.catch_errors(outcome.error)) std::rethrow_exception(outcome.error);
    const TrialPtr trial = options.callbacks.empty() ? nullptr : core_->storage->trial(id);  // a query of its own
    const std::lock_guard lock(mutex);
    for (const auto& callback : options.callbacks) callback(*this, *trial);
    if (options.show_progress_bar) {
      if (core_->directions.size() == 1) {
        if (const auto best = core_->cache->best(core_->directions.front())) bar.metric("best", best->value());
      }
      bar.advance();
    }
  };
  const auto guarded = [&](const auto& body) {
    const LoopMark mark(core_.get());
    try {
      body();
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!broken.exchange(true)) first_error = std::current_exception();
    }
  };
  const auto worker = [&] {
    guarded([&] {
      while (may_start()) conclude(run_objective(ask(), objective));
    });
  };
  const auto rounds = [&](std::int64_t n_jobs) {
    while (!broken) {
      std::vector<std::optional<Outcome>> outcomes;
      guarded([&] {
        const TrialsSnapshot moment = core_->cache->read();
        std::vector<Trial> trials;
        while (std::cmp_less(trials.size(), n_jobs) && may_start()) {
          trials.push_back(ask());
          static_cast<StudyTrial&>(*trials.back().impl_).show(moment);
        }
        outcomes.resize(trials.size());
        std::vector<std::jthread> threads;
        for (std::size_t i = 0; i < trials.size(); ++i) {
          threads.emplace_back([&, i] {
            const LoopMark mark(core_.get());
            outcomes[i] = run_objective(trials[i], objective);
          });
        }
      });
      if (outcomes.empty()) return;
      for (const auto& outcome : outcomes) guarded([&] { conclude(*outcome); });
    }
  };

  if (core_->optimizing++ == 0) {
    core_->stop = false;
    core_->interrupted = false;
  }
  {
    const std::stop_callback on_stop(options.stop_token, [core = core_] { core->interrupted = true; });
    const auto n_jobs =
        options.n_jobs == -1 ? std::max<std::int64_t>(1, std::thread::hardware_concurrency()) : options.n_jobs;
    if (options.synchronous) {
      rounds(n_jobs);
    } else if (n_jobs == 1) {
      worker();
    } else {
      std::vector<std::jthread> threads;
      for (std::int64_t i = 0; i < n_jobs; ++i) threads.emplace_back(worker);
    }
  }
  --core_->optimizing;
  bar.finish();
  if (first_error) std::rethrow_exception(first_error);
}

void Study::stop() {
  if (core_->optimizing == 0) {
    throw Error({.what = "stop ends a running optimize, and none is running",
                 .value = {},
                 .where = "study \"" + core_->name + "\"",
                 .hint = "call it from an objective or a callback"});
  }
  core_->stop = true;
}

void Study::enqueue_trial(const Map& params, const EnqueueOptions& options) {
  if (options.skip_if_exists) {
    for (const auto& trial : trials()) {
      const Value* fixed = trial.system_attrs.find("fixed_params");
      if (same_params(fixed != nullptr && fixed->is_map() ? fixed->as_map() : trial.params, params)) return;
    }
  }
  FrozenTrial trial;
  trial.state = TrialState::waiting;
  trial.user_attrs = options.user_attrs;
  trial.system_attrs = {{"fixed_params", params}};
  core_->storage->create_trial(core_->id, &trial);
}

void Study::add_trial(const FrozenTrial& trial) {
  const auto fail = [&](const std::string& what, const std::string& value) {
    throw Error({.what = what, .value = value, .where = "add_trial", .hint = {}});
  };
  if (trial.state == TrialState::complete) {
    if (const std::string what = flaw(trial.values, core_->directions.size()); !what.empty()) fail(what, "COMPLETE");
  }
  if (trial.state == TrialState::fail && !trial.values.empty()) fail("a failed trial has no values", "FAIL");
  if (trial.params.size() != trial.distributions.size()) {
    fail("params and distributions must name the same parameters", trial.params.to_string());
  }
  for (const auto& [name, distribution] : trial.distributions) {
    const Value* value = trial.params.find(name);
    if (value == nullptr) fail("there is no value for parameter \"" + name + "\"", trial.params.to_string());
    if (!distribution.contains(distribution.to_internal(*value))) {
      fail("parameter \"" + name + "\" lies outside " + distribution.to_text(), value->to_string());
    }
  }
  FrozenTrial content = trial;
  if (is_finished(content.state)) {
    const TimePoint now = std::chrono::system_clock::now();
    if (!content.datetime_start) content.datetime_start = now;
    if (!content.datetime_complete) content.datetime_complete = now;
  }
  core_->storage->create_trial(core_->id, &content);
}

FrozenTrial Study::best_trial() const {
  if (core_->directions.size() != 1) {
    throw Error({.what = "a study with several objectives has no single best trial",
                 .value = std::to_string(core_->directions.size()) + " objectives",
                 .where = "study \"" + core_->name + "\"",
                 .hint = "use best_trials()"});
  }
  if (const auto best = core_->cache->best(core_->directions.front())) return *best;
  throw Error({.what = "no (feasible) trial is complete yet",
               .value = std::to_string(trials().size()) + " trials",
               .where = "study \"" + core_->name + "\"",
               .hint = {}});
}

double Study::best_value() const { return best_trial().value(); }
Map Study::best_params() const { return best_trial().params; }

std::vector<FrozenTrial> Study::best_trials() const {
  std::vector<FrozenTrial> candidates;
  std::vector<std::vector<double>> losses;
  for (auto& trial : trials({TrialState::complete})) {
    if (trial.infeasibility() > 0) continue;
    losses.push_back(to_losses(trial.values, core_->directions));
    candidates.push_back(std::move(trial));
  }
  const auto ranks = nondomination_ranks(losses);
  std::vector<FrozenTrial> out;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (ranks[i] == 0) out.push_back(std::move(candidates[i]));
  }
  return out;
}

std::vector<FrozenTrial> Study::trials(const std::vector<TrialState>& states) const {
  core_->flush_trials();
  std::vector<FrozenTrial> out;
  for (const auto& trial : core_->cache->read().by_number()) {
    if (states.empty() || std::find(states.begin(), states.end(), trial->state) != states.end()) out.push_back(*trial);
  }
  return out;
}

TrialsSnapshot Study::snapshot() const {
  core_->flush_trials();
  return core_->cache->read();
}

bool Study::stop_requested() const { return core_->stop; }

void Study::requeue(const Trial& trial) {
  core_->flush_trials();
  const std::int64_t id = trial.frozen().trial_id;
  core_->storage->update_trial(id, {.state = TrialState::waiting});
  if (core_->heartbeats) core_->heartbeats->remove(id);
}

void Study::reclaim_stale_trials() {
  if (core_->heartbeats) core_->heartbeats->reclaim(core_->id);
}

const std::string& Study::study_name() const { return core_->name; }
Direction Study::direction() const { return core_->view().direction(); }
const std::vector<Direction>& Study::directions() const { return core_->directions; }
Map Study::user_attrs() const { return core_->storage->study(core_->id).user_attrs; }
Map Study::system_attrs() const { return core_->storage->study(core_->id).system_attrs; }
void Study::set_user_attr(const std::string& key, const Value& value) {
  core_->storage->set_study_user_attr(core_->id, key, value);
}
void Study::set_system_attr(const std::string& key, const Value& value) {
  core_->storage->set_study_system_attr(core_->id, key, value);
}
std::vector<std::string> Study::metric_names() const {
  std::vector<std::string> out;
  const Map attrs = system_attrs();
  if (const Value* names = attrs.find("study:metric_names"); names != nullptr && names->is_list()) {
    for (const auto& name : names->as_list()) out.push_back(name.as_string());
  }
  return out;
}

void Study::set_metric_names(const std::vector<std::string>& names) {
  if (names.size() != core_->directions.size()) {
    throw Error({.what = "a study has as many metric names as objectives",
                 .value = std::to_string(names.size()) + " names",
                 .where = "study \"" + core_->name + "\"",
                 .hint = "give " + std::to_string(core_->directions.size())});
  }
  set_system_attr("study:metric_names", List(names.begin(), names.end()));
}

const std::shared_ptr<Storage>& Study::storage() const { return core_->storage; }
std::shared_ptr<Sampler> Study::sampler() const { return core_->sampler; }
std::shared_ptr<Pruner> Study::pruner() const { return core_->pruner; }

}  // namespace levin::tune
