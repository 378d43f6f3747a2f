#include <levin/tune/tuner.h>

#include <levin/core/atomic_file.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/core/rng.h>
#include <levin/tune/pruners/pruner.h>
#include <levin/tune/samplers/random.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

namespace levin::tune {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::string text_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    return exception.what();
  } catch (...) {
    return "an exception of unknown type";
  }
}

std::string numbered(const char* word, std::int64_t number) {
  char text[48];
  std::snprintf(text, sizeof text, "%s_%06lld", word, static_cast<long long>(number));
  return text;
}

// Attributes of a Tuner's trials in its study.
constexpr const char* variant_key = "tuner:variant";  // which of the search's trials it is
constexpr const char* ended_key = "tuner:ended";      // why it ended before its end, other than by the scheduler
constexpr const char* config_key = "config";          // the config at the end, where it is not what was suggested

// Threads that work on tasks; without threads, the caller's own when it takes them.
template <class Task>
class Workers {
 public:
  Workers(std::int64_t threads, std::function<void(Task&)> work) : work_(std::move(work)) {
    for (std::int64_t i = 0; i < threads; ++i) {
      threads_.emplace_back([this](std::stop_token stop) { run(stop); });
    }
  }
  ~Workers() {
    for (auto& thread : threads_) thread.request_stop();
    wake_.notify_all();
  }

  void submit(Task* task) {
    {
      const std::lock_guard lock(mutex_);
      due_.push_back(task);
    }
    wake_.notify_one();
  }

  // The next task that is done, waiting for it.
  Task* take() {
    if (threads_.empty()) {
      Task* task = due_.front();
      due_.pop_front();
      work_(*task);
      return task;
    }
    std::unique_lock lock(mutex_);
    done_wake_.wait(lock, [&] { return !done_.empty(); });
    Task* task = done_.front();
    done_.pop_front();
    return task;
  }

 private:
  void run(std::stop_token stop) {
    while (true) {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [&] { return !due_.empty(); })) return;
      Task* task = due_.front();
      due_.pop_front();
      lock.unlock();
      work_(*task);
      lock.lock();
      done_.push_back(task);
      done_wake_.notify_one();
    }
  }

  std::function<void(Task&)> work_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::condition_variable done_wake_;
  std::deque<Task*> due_, done_;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

// All combinations of the grids of a space, as parameters; one empty combination where there is no grid.
std::vector<Map> combinations(const SearchSpace& space) {
  std::vector<Map> out{Map()};
  for (const auto& [name, distribution] : space) {
    if (!distribution.is_grid()) continue;
    std::vector<Map> longer;
    for (const auto& before : out) {
      for (const auto& value : distribution.choices()) {
        longer.push_back(before);
        longer.back()[name] = value;
      }
    }
    if (longer.size() > 1'000'000) {
      throw Error({.what = "grid_search has more than a million combinations",
                   .value = {},
                   .where = "parameter \"" + name + "\"",
                   .hint = "search some of them by choice"});
    }
    out = std::move(longer);
  }
  return out;
}

}  // namespace

class Tuner::Controller : public TunerControl {
 public:
  Controller(const TrainableFactory& trainable, const SearchSpace& space, const TunerOptions& options, Study study)
      : trainable_(trainable),
        space_(space),
        options_(options),
        study_(std::move(study)),
        scheduler_(*options.scheduler.get()),
        seed_(seed_or_random(options.seed)),
        combinations_(combinations(space)),
        concurrency_(options.max_concurrent_trials == -1
                         ? std::max<std::int64_t>(1, std::thread::hardware_concurrency())
                         : options.max_concurrent_trials),
        workers_(concurrency_ == 1 ? 0 : concurrency_, [this](Slot& slot) { step(slot); }) {
    n_points_ = static_cast<std::int64_t>(options.points_to_evaluate.size());
    if (options.num_samples >= 0) {
      total_ = n_points_ + options.num_samples * static_cast<std::int64_t>(combinations_.size());
    }
  }

  ResultGrid run() {
    const auto metric = options_.metric;
    scheduler_.begin({.metric = metric, .mode = options_.mode, .seed = mix_seed(seed_, stable_hash("scheduler"))});
    if (options_.stop.get() != nullptr) options_.stop.get()->begin(metric, options_.mode);
    replay();
    try {
      loop();
    } catch (...) {
      while (in_flight_ > 0) take();
      abandon(text_of(std::current_exception()));
      throw;
    }
    return ResultGrid(metric, options_.mode, std::move(results_));
  }

  // What a restored search knows of its past.
  void recall(const RestoreOptions& restore);

  std::span<Run* const> live() const override { return live_; }
  bool more_to_come() const override {
    return ending_.empty() && (!total_ || created_ < *total_ || !to_resume_.empty());
  }
  SnapshotPtr save(const Run& run) override {
    Slot& slot = slot_of(run);
    if (slot.fresh) return slot.start;  // it was cloned, and has not run since
    if (slot.run.status != RunStatus::paused) {
      if (slot.in_flight) {
        throw Error({.what = "a trial that is running cannot be saved",
                     .value = "trial " + std::to_string(run.number),
                     .where = {},
                     .hint = "save the trial whose result is judged, or a paused one"});
      }
      slot.snapshot = std::make_shared<const Snapshot>(Snapshot{.state = slot.actor->save(),
                                                                .iteration = run.iteration,
                                                                .time_total_s = run.time_total_s,
                                                                .last_result = run.last_result});
    }
    return slot.snapshot;
  }
  void restart(const Run& run, SnapshotPtr snapshot, Config config) override {
    Slot& slot = slot_of(run);
    slot.run.iteration = snapshot->iteration;
    slot.run.time_total_s = snapshot->time_total_s;
    slot.run.last_result = snapshot->last_result;
    slot.run.config = std::move(config);
    slot.start = slot.snapshot = std::move(snapshot);
    slot.fresh = true;
    slot.mutated = true;
  }
  void end(const Run& run, Decision decision) override {
    if (run.status != RunStatus::paused || decision == Decision::pause || decision == Decision::proceed) {
      throw Error({.what = "a scheduler ends paused trials, by stop or complete",
                   .value = "trial " + std::to_string(run.number),
                   .where = {},
                   .hint = {}});
    }
    Slot& slot = slot_of(run);
    if (decision == Decision::complete) scheduler_.on_trial_complete(*this, slot.run, run.last_result);
    finish(slot, decision == Decision::stop ? TrialState::pruned : TrialState::complete);
  }

 private:
  struct Slot {
    Run run;
    std::size_t index = 0;
    std::optional<Trial> trial;
    std::unique_ptr<Trainable> actor;
    bool fresh = true;  // the actor is to be made (or reset) with the config, and to go on from `start`
    SnapshotPtr start;  // null: from the beginning, or from `start_file`
    std::filesystem::path start_file;
    SnapshotPtr snapshot;  // the last one saved
    bool mutated = false;
    bool in_flight = false;
    std::int64_t start_iteration = 0;  // of start_file
    std::int64_t failures = 0;
    std::int64_t reported = 0;  // the last step that the study has
    std::vector<std::pair<std::int64_t, double>> history;
    std::deque<std::string> files;
    // What the last step gave.
    Metrics metrics;
    double seconds = 0;
    std::exception_ptr error;
  };

  // A trial of an earlier search to be taken up again, by the number that it had.
  struct Resumption {
    bool from_checkpoint = false;
  };

  Slot& slot_of(const Run& run) { return *slots_[index_.at(run.number)]; }
  std::filesystem::path folder_of(std::int64_t number) const {
    return options_.checkpoint.folder / numbered("trial", number);
  }

  void loop();
  void fill();
  void create();
  void step(Slot& slot);
  Slot* take();
  void process(Slot& slot);
  void fail(Slot& slot);
  void pause(Slot& slot);
  void release(Slot& slot);
  void finish(Slot& slot, TrialState state, const std::string& error = {}, const std::string& reason = {});
  void write_checkpoint(Slot& slot);
  void read_checkpoint(Slot& slot, std::int64_t number);
  void end_search();
  void abandon(const std::string& why);
  void replay();

  const TrainableFactory& trainable_;
  const SearchSpace& space_;
  const TunerOptions& options_;
  Study study_;
  Scheduler& scheduler_;
  const std::uint64_t seed_;
  const std::vector<Map> combinations_;
  const std::int64_t concurrency_;
  std::int64_t n_points_ = 0;
  std::optional<std::int64_t> total_;
  std::int64_t created_ = 0;
  const Clock::time_point begun_ = Clock::now();
  std::vector<std::unique_ptr<Slot>> slots_;   // by index; null once the trial has ended
  std::map<std::int64_t, std::size_t> index_;  // by trial number
  std::vector<Run*> live_;
  std::vector<Slot*> active_;  // at work, not paused
  std::int64_t in_flight_ = 0;
  std::vector<std::unique_ptr<Trainable>> idle_actors_;
  std::vector<TrialResult> results_;
  std::string ending_;  // why the search ends before its end
  std::map<std::int64_t, Resumption> to_resume_;
  std::vector<std::unique_ptr<Slot>> retired_;  // ended in this round; whoever is still at work with them may look
  Workers<Slot> workers_;                       // last: its threads end before what they work on
};

void Tuner::Controller::loop() {
  while (true) {
    retired_.clear();
    if (ending_.empty()) {
      if (options_.stop_token.stop_requested()) ending_ = "interrupted";
      if (options_.time_budget_s && seconds_since(begun_) >= *options_.time_budget_s) ending_ = "time budget";
      if (options_.stop.get() != nullptr && options_.stop.get()->stop_all()) ending_ = "stopper";
    }
    if (!ending_.empty()) break;
    fill();
    if (active_.empty()) {
      if (live_.empty()) break;
      // The scheduler waits for something that will not come.
      while (!live_.empty()) finish(slot_of(*live_.front()), TrialState::pruned);
      continue;
    }
    for (Slot* slot : active_) {
      if (slot->in_flight) continue;
      if (slot->fresh && slot->actor == nullptr && !idle_actors_.empty()) {
        slot->actor = std::move(idle_actors_.back());
        idle_actors_.pop_back();
      }
      slot->in_flight = true;
      ++in_flight_;
      workers_.submit(slot);
    }
    if (options_.seed && concurrency_ > 1) {
      // All trials at work take one step; their results are judged in order of their number.
      while (in_flight_ > 0) take();
      std::vector<Slot*> round = active_;
      std::sort(round.begin(), round.end(), [](const Slot* a, const Slot* b) { return a->run.number < b->run.number; });
      for (Slot* slot : round) process(*slot);
    } else {
      process(*take());
    }
  }
  while (in_flight_ > 0) process(*take());
  end_search();
}

Tuner::Controller::Slot* Tuner::Controller::take() {
  Slot* slot = workers_.take();
  slot->in_flight = false;
  --in_flight_;
  return slot;
}

// Gives free places to paused trials or new ones, as the scheduler chooses.
void Tuner::Controller::fill() {
  while (std::ssize(active_) < concurrency_) {
    const bool can_create = more_to_come();
    const Run* chosen = scheduler_.choose(*this, can_create);
    if (chosen != nullptr) {
      Slot& slot = slot_of(*chosen);
      if (slot.run.status != RunStatus::paused) {
        throw Error({.what = "the scheduler chose a trial that is not paused",
                     .value = "trial " + std::to_string(chosen->number),
                     .where = {},
                     .hint = {}});
      }
      slot.run.status = RunStatus::running;
      active_.push_back(&slot);
    } else if (can_create) {
      create();
    } else {
      return;
    }
  }
}

void Tuner::Controller::create() {
  // Trials to be taken up again wait in the study's queue, as enqueued ones do.
  std::int64_t variant = -1;
  if (to_resume_.empty()) {
    variant = created_++;
    if (variant < n_points_) {
      study_.enqueue_trial(options_.points_to_evaluate[static_cast<std::size_t>(variant)]);
    } else if (const auto& grid = combinations_[static_cast<std::size_t>(variant - n_points_) % combinations_.size()];
               !grid.empty()) {
      study_.enqueue_trial(grid);
    }
  }
  Trial trial = study_.ask();
  auto slot = std::make_unique<Slot>();
  slot->run.number = trial.number();
  slot->index = slots_.size();
  try {
    if (variant >= 0) trial.set_system_attr(variant_key, variant);
    slot->run.config = suggest(trial, space_);
    if (!to_resume_.empty()) {
      const Map attrs = trial.system_attrs();
      const Value* before = attrs.find("failed_trial");
      const auto known = before == nullptr ? to_resume_.end() : to_resume_.find(before->as_int());
      if (known != to_resume_.end()) {
        if (known->second.from_checkpoint) read_checkpoint(*slot, known->first);
        to_resume_.erase(known);
      } else if (!attrs.contains("fixed_params")) {
        to_resume_.clear();  // the queue is empty: another process has taken them
      }
    }
    const Config suggested = slot->run.config;
    scheduler_.on_trial_add(*this, slot->run);
    slot->mutated |= !(slot->run.config == suggested);
  } catch (const std::exception& error) {
    trial.set_system_attr("fail_reason", error.what());
    study_.tell(trial, TrialState::fail);
    throw;
  }
  slot->trial = std::move(trial);
  slot->run.status = RunStatus::running;
  index_[slot->run.number] = slot->index;
  live_.insert(std::upper_bound(live_.begin(), live_.end(), &slot->run,
                                [](const Run* a, const Run* b) { return a->number < b->number; }),
               &slot->run);
  active_.push_back(slot.get());
  slots_.push_back(std::move(slot));
}

// Runs on a worker's thread; touches nothing but the slot.
void Tuner::Controller::step(Slot& slot) {
  const auto start = Clock::now();
  slot.error = nullptr;
  try {
    if (slot.fresh) {
      const TrialContext context{.number = slot.run.number,
                                 .seed = mix_seed(seed_, static_cast<std::uint64_t>(slot.run.number))};
      bool ready = false;
      if (slot.actor != nullptr && options_.reuse_actors) {
        slot.actor->set_context(context);
        ready = slot.actor->reset(slot.run.config);
      }
      if (!ready) {
        slot.actor = nullptr;
        slot.actor = trainable_();
        if (slot.actor == nullptr) throw Error("the factory of the trainable gave none");
        slot.actor->set_context(context);
        slot.actor->setup(slot.run.config);
      }
      if (slot.start != nullptr)
        slot.actor->load(slot.start->state);
      else if (!slot.start_file.empty())
        slot.actor->load_file(slot.start_file);
      slot.fresh = false;
    }
    slot.metrics = slot.actor->step();
  } catch (...) {
    slot.error = std::current_exception();
  }
  slot.seconds = seconds_since(start);
}

void Tuner::Controller::process(Slot& slot) {
  if (slot.error) return fail(slot);
  Run& run = slot.run;
  const Value* done_value = slot.metrics.find("done");
  bool done = done_value != nullptr && done_value->is_bool() && done_value->as_bool();
  if (done && slot.metrics.size() == 1) {  // it ended without another result
    if (run.last_result.empty()) {
      slot.error = std::make_exception_ptr(Error("the trial ended without a result"));
      return fail(slot);
    }
    scheduler_.on_trial_complete(*this, run, run.last_result);
    return finish(slot, TrialState::complete);
  }
  ++run.iteration;
  run.time_total_s += slot.seconds;
  run.last_result = std::move(slot.metrics);
  const auto add = [&](const char* name, const Value& value) {
    if (!run.last_result.contains(name)) run.last_result[name] = value;
  };
  add("training_iteration", run.iteration);
  add("time_total_s", run.time_total_s);
  const Value* metric = run.last_result.find(options_.metric);
  if (metric == nullptr || !metric->is_number()) {
    std::vector<std::string> names;
    for (const auto& [name, value] : run.last_result) names.push_back(name);
    throw Error({.what = metric == nullptr ? "a result lacks the metric" : "the metric of a result is no number",
                 .value = "\"" + options_.metric + "\"",
                 .where = "trial " + std::to_string(run.number),
                 .hint = did_you_mean(options_.metric, names)});
  }
  slot.history.emplace_back(run.iteration, metric->as_double());
  if (run.iteration > slot.reported) {  // a copy may stand before where it was
    slot.trial->report(metric->as_double(), run.iteration);
    slot.reported = run.iteration;
  }
  if (options_.on_result) options_.on_result(run, run.last_result);
  if (const auto every = options_.checkpoint.frequency; every > 0 && run.iteration % every == 0) {
    save(run);
    write_checkpoint(slot);
  }
  if (options_.stop.get() != nullptr) done |= options_.stop.get()->stop(run.number, run.last_result);
  if (done) {
    scheduler_.on_trial_complete(*this, run, run.last_result);
    return finish(slot, TrialState::complete);
  }
  switch (scheduler_.on_trial_result(*this, run, run.last_result)) {
    case Decision::proceed: return;
    case Decision::pause: return pause(slot);
    case Decision::stop: return finish(slot, TrialState::pruned);
    case Decision::complete: break;
  }
  scheduler_.on_trial_complete(*this, run, run.last_result);
  finish(slot, TrialState::complete);
}

// Tries the trial again from its last saved state, or gives it up.
void Tuner::Controller::fail(Slot& slot) {
  slot.actor = nullptr;
  slot.fresh = true;
  const std::string why = text_of(std::exchange(slot.error, nullptr));
  const auto allowed = options_.failure.max_failures;
  if (allowed < 0 || slot.failures < allowed) {
    ++slot.failures;
    slot.start = slot.snapshot;
    slot.run.iteration = slot.start != nullptr ? slot.start->iteration : slot.start_iteration;
    if (slot.start != nullptr) slot.run.time_total_s = slot.start->time_total_s;
    return;
  }
  finish(slot, TrialState::fail, why);
  if (options_.failure.fail_fast && ending_.empty()) ending_ = "a trial failed";
}

void Tuner::Controller::pause(Slot& slot) {
  if (!slot.fresh) {
    slot.start = save(slot.run);
    slot.fresh = true;
  }
  slot.run.status = RunStatus::paused;
  std::erase(active_, &slot);
  release(slot);
}

// Gives the trainable away: to the next trial that takes a place, or for good.
void Tuner::Controller::release(Slot& slot) {
  if (options_.reuse_actors && slot.actor != nullptr && std::ssize(idle_actors_) < concurrency_) {
    idle_actors_.push_back(std::move(slot.actor));
  }
  slot.actor = nullptr;
}

void Tuner::Controller::finish(Slot& slot, TrialState state, const std::string& error, const std::string& reason) {
  Run& run = slot.run;
  if (state != TrialState::fail && options_.checkpoint.at_end && slot.actor != nullptr && !slot.fresh) {
    save(run);
    write_checkpoint(slot);
  }
  run.status = RunStatus::finished;
  std::erase(active_, &slot);
  std::erase(live_, &run);
  release(slot);
  if (slot.mutated) slot.trial->set_user_attr(config_key, run.config);
  if (!reason.empty()) slot.trial->set_system_attr(ended_key, reason);
  TrialResult result{.number = run.number,
                     .state = state,
                     .config = run.config,
                     .metrics = run.last_result,
                     .history = std::move(slot.history),
                     .error = error,
                     .checkpoint = nullptr,
                     .checkpoint_folder = {}};
  if (state == TrialState::complete) {
    result.state = study_.tell(*slot.trial, run.last_result.get<double>(options_.metric)).state;
    if (result.state == TrialState::fail) result.error = "the metric is NaN";
  } else {
    if (!error.empty()) slot.trial->set_system_attr("fail_reason", error);
    study_.tell(*slot.trial, state);
  }
  if (options_.checkpoint.frequency > 0 || options_.checkpoint.at_end) result.checkpoint = slot.snapshot;
  if (!slot.files.empty()) result.checkpoint_folder = folder_of(run.number);
  if (state != TrialState::complete) scheduler_.on_trial_remove(*this, run);
  results_.push_back(std::move(result));
  if (options_.on_trial_end) options_.on_trial_end(results_.back());
  if (ending_.empty() && options_.stop.get() != nullptr && options_.stop.get()->stop_after_trial(study_)) {
    ending_ = "stopper";
  }
  index_.erase(run.number);
  retired_.push_back(std::move(slots_[slot.index]));
}

// A folder a trial; `trial.json` names the latest file once that is whole.
void Tuner::Controller::write_checkpoint(Slot& slot) {
  if (options_.checkpoint.folder.empty()) return;
  const auto folder = folder_of(slot.run.number);
  std::filesystem::create_directories(folder);
  const std::string name = numbered("checkpoint", slot.run.iteration);
  slot.actor->save_file(folder / name);
  Map result;
  for (const auto& [key, value] : slot.run.last_result) {
    if (value.is_number() || value.is_string() || value.is_bool()) result[key] = value;
  }
  write_file_atomically(folder / "trial.json", to_json(Map{{"file", name},
                                                           {"iteration", slot.run.iteration},
                                                           {"time_total_s", slot.run.time_total_s},
                                                           {"config", slot.run.config},
                                                           {"last_result", result}}) +
                                                   "\n");
  std::erase(slot.files, name);
  slot.files.push_back(name);
  while (std::ssize(slot.files) > options_.checkpoint.num_to_keep) {
    std::filesystem::remove(folder / slot.files.front());
    slot.files.pop_front();
  }
}

// Lets a new trial go on where trial `number` of an earlier search was saved, if it was.
void Tuner::Controller::read_checkpoint(Slot& slot, std::int64_t number) {
  const auto folder = folder_of(number);
  if (options_.checkpoint.folder.empty() || !std::filesystem::exists(folder / "trial.json")) return;
  const Value parsed = parse_json(read_file(folder / "trial.json"));
  const Map& saved = parsed.as_map();
  const std::filesystem::path file = saved.get<std::string>("file");
  if (file.has_parent_path()) {
    throw Error({.what = "a checkpoint's file lies in its own folder",
                 .value = file.string(),
                 .where = (folder / "trial.json").string(),
                 .hint = {}});
  }
  slot.start_file = folder / file;
  slot.run.iteration = slot.start_iteration = saved.get<std::int64_t>("iteration");
  slot.run.time_total_s = saved.get<double>("time_total_s");
  slot.run.last_result = saved.get<Map>("last_result");
  if (const Config config = saved.get<Map>("config"); !(config == slot.run.config)) {
    slot.run.config = config;
    slot.mutated = true;
  }
}

// Ends what is still live when the search ends before its end.
void Tuner::Controller::end_search() {
  const bool interrupted = ending_ == "interrupted";
  while (!live_.empty()) {
    Slot& slot = slot_of(*live_.back());
    if (interrupted) {
      if (slot.actor != nullptr && !slot.fresh && options_.checkpoint.frequency > 0) write_checkpoint(slot);
      finish(slot, TrialState::fail, "the search was interrupted", ending_);
    } else {
      finish(slot, slot.run.last_result.empty() ? TrialState::fail : TrialState::pruned,
             slot.run.last_result.empty() ? "the search ended before its first result" : "", ending_);
    }
  }
}

void Tuner::Controller::abandon(const std::string& why) {
  for (auto& slot : slots_) {
    if (slot == nullptr || !slot->trial || slot->run.status == RunStatus::finished) continue;
    try {
      slot->trial->set_system_attr("fail_reason", why);
      study_.tell(*slot->trial, TrialState::fail);
    } catch (const Error&) {  // the storage may be what is broken; the first error is thrown on
    }
  }
}

void Tuner::Controller::recall(const RestoreOptions& restore) {
  const auto& storage = study_.storage();
  const auto study_id = storage->find_study(study_.study_name());
  std::map<std::int64_t, bool> retried;
  const auto trials = study_.trials();
  for (const auto& trial : trials) {
    if (const Value* before = trial.system_attrs.find("failed_trial")) retried[before->as_int()] = true;
  }
  for (const auto& trial : trials) {
    const Value* variant = trial.system_attrs.find(variant_key);
    if (variant != nullptr) created_ = std::max(created_, variant->as_int() + 1);
    if (trial.state == TrialState::waiting) continue;
    if (retried.contains(trial.number)) continue;
    const bool died = trial.state == TrialState::running;
    const Value* ended = trial.system_attrs.find(ended_key);
    const bool unfinished = died || (ended != nullptr && *ended == Value("interrupted"));
    const std::string why = died ? "its process ended" : trial.system_attrs.get<std::string>("fail_reason", "");
    if (died) study_.tell(trial.number, TrialState::fail);
    const bool failed = died || trial.state == TrialState::fail;
    const bool again =
        failed && (unfinished ? restore.resume_unfinished : restore.resume_errored || restore.restart_errored);
    if (again) {
      FrozenTrial next;
      next.state = TrialState::waiting;
      List history;
      if (const Value* before = trial.system_attrs.find("retry_history")) history = before->as_list();
      history.push_back(trial.number);
      next.system_attrs["fixed_params"] = trial.params;
      next.system_attrs["failed_trial"] = trial.number;
      next.system_attrs["retry_history"] = std::move(history);
      if (variant != nullptr) next.system_attrs[variant_key] = *variant;
      storage->create_trial(*study_id, &next);
      to_resume_[trial.number] = {.from_checkpoint = unfinished || restore.resume_errored};
      continue;
    }
    TrialResult result{.number = trial.number,
                       .state = died ? TrialState::fail : trial.state,
                       .config = make_config(space_, trial.params),
                       .metrics = {},
                       .history = {trial.intermediate_values.begin(), trial.intermediate_values.end()},
                       .error = failed ? why : "",
                       .checkpoint = nullptr,
                       .checkpoint_folder = {}};
    if (const Value* config = trial.user_attrs.find(config_key)) result.config = config->as_map();
    if (!result.history.empty()) {
      result.metrics = {{options_.metric, result.history.back().second},
                        {"training_iteration", result.history.back().first}};
    }
    if (trial.values.size() == 1) result.metrics[options_.metric] = trial.values[0];
    if (!options_.checkpoint.folder.empty() && std::filesystem::exists(folder_of(trial.number))) {
      result.checkpoint_folder = folder_of(trial.number);
    }
    results_.push_back(std::move(result));
  }
}

// Lets the scheduler learn from the trials that an earlier search finished.
void Tuner::Controller::replay() {
  if (!scheduler_.learns_from_past()) return;
  for (const auto& result : results_) {
    if (result.failed()) continue;
    Run run{.number = result.number, .config = result.config, .status = RunStatus::running};
    scheduler_.on_trial_add(*this, run);
    for (const auto& [step, value] : result.history) {
      run.iteration = step;
      run.last_result = {{options_.metric, value}, {"training_iteration", step}};
      scheduler_.on_trial_result(*this, run, run.last_result);
    }
    run.status = RunStatus::finished;
    scheduler_.on_trial_remove(*this, run);
  }
}

Tuner::Tuner(TrainableFactory trainable, SearchSpace space, TunerOptions options)
    : trainable_(std::move(trainable)), space_(std::move(space)), options_(std::move(options)) {
  const auto fail = [](const std::string& what, const std::string& value, const std::string& hint = {}) {
    throw Error({.what = what, .value = value, .where = "Tuner", .hint = hint});
  };
  if (!trainable_) fail("a Tuner needs a trainable", "none", "tune::trainable<MyTrainable>()");
  if (options_.metric.empty()) fail("a Tuner needs the name of the metric to optimise", "\"\"", "set .metric");
  if (options_.num_samples < -1 || options_.num_samples == 0) {
    fail("num_samples is a number of trials, or -1 for no end", std::to_string(options_.num_samples));
  }
  if (options_.max_concurrent_trials < -1 || options_.max_concurrent_trials == 0) {
    fail("max_concurrent_trials is a number of threads, or -1 for one per processor",
         std::to_string(options_.max_concurrent_trials));
  }
  if (options_.time_budget_s && !(*options_.time_budget_s >= 0)) {
    fail("time_budget_s is a number of seconds", format_double(*options_.time_budget_s));
  }
  if (options_.failure.max_failures < -1) {
    fail("max_failures is a number of retries, or -1 for no end", std::to_string(options_.failure.max_failures));
  }
  const auto& checkpoint = options_.checkpoint;
  if (checkpoint.frequency < 0)
    fail("a checkpoint's frequency is a number of steps", std::to_string(checkpoint.frequency));
  if (checkpoint.num_to_keep < 1) {
    fail("at least one checkpoint of a trial is kept", std::to_string(checkpoint.num_to_keep));
  }
  if (!checkpoint.folder.empty() && checkpoint.frequency == 0 && !checkpoint.at_end) {
    fail("a checkpoint folder was given, but not when to write checkpoints", checkpoint.folder.string(),
         "set .checkpoint.frequency or .checkpoint.at_end");
  }
  if (options_.scheduler.get() == nullptr) fail("the scheduler is null", "nullptr");
  for (const auto& point : options_.points_to_evaluate) {
    for (const auto& [name, value] : point) {
      const Distribution& distribution = space_.at(name);
      if (!distribution.contains(distribution.to_internal(value))) {
        fail("a point to evaluate lies outside " + distribution.to_text(), name + " = " + value.to_string());
      }
    }
    for (const auto& relation : space_.relations()) {
      if (!relation.holds(point)) fail("a point to evaluate breaks " + relation.description(), point.to_string());
    }
  }
  combinations(space_);
}

Tuner Tuner::restore(TrainableFactory trainable, SearchSpace space, TunerOptions options, RestoreOptions restore) {
  if (options.name.empty()) {
    throw Error(
        {.what = "restoring a search needs its name", .value = "\"\"", .where = "Tuner::restore", .hint = "set .name"});
  }
  if (restore.resume_errored && restore.restart_errored) {
    throw Error("failed trials are resumed or restarted, not both");
  }
  Tuner tuner(std::move(trainable), std::move(space), std::move(options));
  tuner.restore_ = restore;
  return tuner;
}

ResultGrid Tuner::fit() {
  SamplerRef sampler = options_.search_alg ? options_.search_alg : SamplerRef(RandomSampler({.seed = options_.seed}));
  if (!space_.relations().empty() || options_.duplicates != Duplicates::allow) {
    sampler = SpaceSampler(space_, sampler, {.duplicates = options_.duplicates, .seed = options_.seed});
  }
  const Direction direction = options_.mode == Mode::min ? Direction::minimize : Direction::maximize;
  Study study =
      restore_
          ? load_study(
                {.study_name = options_.name, .storage = options_.storage, .sampler = sampler, .pruner = NopPruner()})
          : create_study({.storage = options_.storage,
                          .sampler = sampler,
                          .pruner = NopPruner(),
                          .study_name = options_.name,
                          .direction = direction});
  if (restore_) {
    const Map attrs = study.user_attrs();
    const Value* metric = attrs.find("metric");
    if (metric == nullptr || !(*metric == Value(options_.metric)) || study.direction() != direction) {
      throw Error(
          {.what = "the search to restore optimised something else",
           .value = (metric == nullptr ? "no metric" : metric->to_string()) + ", " + to_string(study.direction()),
           .where = "study \"" + options_.name + "\"",
           .hint = "give the same metric and mode"});
    }
  } else {
    study.set_user_attr("metric", options_.metric);
  }
  study_ = study;
  Controller controller(trainable_, space_, options_, study);
  if (restore_) controller.recall(*restore_);
  return controller.run();
}

Study Tuner::study() const {
  if (study_) return *study_;
  throw Error({.what = "there is no study before fit", .value = {}, .where = "Tuner", .hint = "call fit first"});
}

}  // namespace levin::tune
