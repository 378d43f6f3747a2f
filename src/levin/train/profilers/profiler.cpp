#include <levin/train/profilers/profiler.h>

#include <levin/core/atomic_file.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/text_table.h>

#include <ATen/Context.h>
#include <ATen/record_function.h>
#include <torch/csrc/autograd/profiler_kineto.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <set>

namespace levin {
namespace {

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string in_folder(const std::string& dirpath, const std::string& log_dir, const std::string& name) {
  const std::string& folder = dirpath.empty() ? log_dir : dirpath;
  std::filesystem::create_directories(folder);
  return folder + "/" + name;
}

// Largest total first.
template <class Records>
auto by_total(const Records& records) {
  std::vector<std::pair<std::string, SimpleProfilerImpl::Record>> sorted(records.begin(), records.end());
  std::ranges::stable_sort(sorted, [](const auto& a, const auto& b) { return a.second.total > b.second.total; });
  return sorted;
}

void add_row(TextTable& table, const std::string& name, const SimpleProfilerImpl::Record& record, double whole) {
  const double total = record.total.count();
  table.add_row({name, fixed(total / static_cast<double>(record.calls) * 1e6, 1), std::to_string(record.calls),
                 fixed(total, 4), fixed(whole > 0 ? 100 * total / whole : 0, 1)});
}

const std::vector<std::string>& columns() {
  static const std::vector<std::string> names{"action", "mean us", "calls", "total s", "%"};
  return names;
}

}  // namespace

ProfilerImpl::~ProfilerImpl() = default;

Profiler::Profiler(const std::string& name) {
  if (name == "simple") {
    impl_ = std::make_shared<SimpleProfilerImpl>();
  } else if (name == "advanced") {
    impl_ = std::make_shared<AdvancedProfilerImpl>();
  } else if (name == "trace" || name == "pytorch") {
    impl_ = std::make_shared<TraceProfilerImpl>();
  } else {
    static const std::vector<std::string> known{"simple", "advanced", "trace", "pytorch"};
    throw Error(
        {.what = "unknown profiler", .value = "\"" + name + "\"", .where = {}, .hint = did_you_mean(name, known)});
  }
}

// --- simple ---

void SimpleProfilerImpl::start(std::string_view action) { running_.emplace_back(action, Clock::now()); }

void SimpleProfilerImpl::stop(std::string_view action) {
  const auto now = Clock::now();
  const auto it = std::find_if(running_.rbegin(), running_.rend(), [&](const auto& r) { return r.first == action; });
  if (it == running_.rend()) {
    throw Error({.what = "the profiler was told of the end of an action that had not begun",
                 .value = "\"" + std::string(action) + "\"",
                 .where = {},
                 .hint = "call start(action) first"});
  }
  auto record = records_.find(action);
  if (record == records_.end()) record = records_.try_emplace(std::string(action)).first;
  ++record->second.calls;
  record->second.total += now - it->second;
  running_.erase(std::next(it).base());
}

void SimpleProfilerImpl::begin_run() {
  running_.clear();
  run_since_ = Clock::now();
}

std::string SimpleProfilerImpl::summary() const {
  if (records_.empty()) return {};
  TextTable table(columns());
  const double whole = run_time_.count();
  add_row(table, "run", {.calls = 1, .total = run_time_}, whole);
  for (const auto& [action, record] : by_total(records_)) add_row(table, action, record, whole);
  return table.to_string();
}

void SimpleProfilerImpl::end_run(const std::string& log_dir) {
  run_time_ += Clock::now() - run_since_;
  const std::string report = summary();
  if (report.empty()) return;
  if (options_.filename.empty()) {
    console::write(report);
  } else {
    write_file_atomically(in_folder(options_.dirpath, log_dir, options_.filename + ".txt"), report);
  }
}

// --- advanced ---

// Adds the time of outermost operators to the action under way. Operators of backward run in threads of their own.
struct AdvancedProfilerImpl::Observer {
  struct Begin : at::ObserverContext {
    Clock::time_point time;
  };
  static inline std::atomic<AdvancedProfilerImpl*> active{nullptr};
  static inline thread_local int depth = 0;
  static inline std::mutex mutex;

  at::CallbackHandle handle =
      at::addGlobalCallback(at::RecordFunctionCallback(
                                [](const at::RecordFunction&) -> std::unique_ptr<at::ObserverContext> {
                                  ++depth;
                                  auto begin = std::make_unique<Begin>();
                                  begin->time = Clock::now();
                                  return begin;
                                },
                                [](const at::RecordFunction& function, at::ObserverContext* context) {
                                  if (--depth > 0) return;
                                  depth = 0;
                                  const auto time = Clock::now() - static_cast<Begin*>(context)->time;
                                  const std::lock_guard lock(mutex);
                                  AdvancedProfilerImpl* profiler = active.load();
                                  if (!profiler || profiler->running_.empty()) return;
                                  Record& record =
                                      profiler->operators_[profiler->running_.back().first][function.name()];
                                  ++record.calls;
                                  record.total += time;
                                })
                                .scopes({at::RecordScope::FUNCTION}));
  ~Observer() { at::removeCallback(handle); }
};

AdvancedProfilerImpl::AdvancedProfilerImpl(ProfilerOptions options, std::int64_t rows)
    : SimpleProfilerImpl(std::move(options)), rows_(rows) {
  if (rows < 1) {
    throw Error(
        {.what = "AdvancedProfiler: rows must be at least 1", .value = std::to_string(rows), .where = {}, .hint = {}});
  }
}

AdvancedProfilerImpl::~AdvancedProfilerImpl() {
  if (Observer::active == this) Observer::active = nullptr;
}

// Operators of other threads look at the actions under way.
void AdvancedProfilerImpl::start(std::string_view action) {
  const std::lock_guard lock(Observer::mutex);
  SimpleProfilerImpl::start(action);
}
void AdvancedProfilerImpl::stop(std::string_view action) {
  const std::lock_guard lock(Observer::mutex);
  SimpleProfilerImpl::stop(action);
}

void AdvancedProfilerImpl::begin_run() {
  SimpleProfilerImpl::begin_run();
  if (Observer::active.exchange(this) != nullptr) {
    console::warning("two AdvancedProfilers at once: only the one begun last sees operators");
  }
  observer_ = std::make_unique<Observer>();
}

void AdvancedProfilerImpl::end_run(const std::string& log_dir) {
  observer_.reset();
  Observer::active = nullptr;
  SimpleProfilerImpl::end_run(log_dir);
}

std::string AdvancedProfilerImpl::summary() const {
  std::string text = SimpleProfilerImpl::summary();
  for (const auto& [action, operators] : operators_) {
    TextTable table({"operators of " + action, "mean us", "calls", "total s", "%"});
    const auto record = records_.find(action);
    const double whole = record == records_.end() ? 0 : record->second.total.count();
    auto sorted = by_total(operators);
    if (static_cast<std::int64_t>(sorted.size()) > rows_) sorted.resize(static_cast<std::size_t>(rows_));
    for (const auto& [name, used] : sorted) add_row(table, name, used, whole);
    text += "\n" + table.to_string();
  }
  return text;
}

// --- trace ---

namespace profiler = torch::autograd::profiler;

struct TraceProfilerImpl::Trace {
  std::vector<std::pair<std::string, std::unique_ptr<at::RecordFunction>>> running;
  std::unique_ptr<profiler::ProfilerResult> result;  // once recording has ended

  Trace() {
    const torch::profiler::impl::ProfilerConfig config(torch::profiler::impl::ProfilerState::KINETO);
    std::set<torch::profiler::impl::ActivityType> activities{torch::profiler::impl::ActivityType::CPU};
    if (at::globalContext().hasCUDA()) activities.insert(torch::profiler::impl::ActivityType::CUDA);
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION, at::RecordScope::USER_SCOPE});
  }
  ~Trace() { finish(); }
  void finish() {
    running.clear();
    if (!result) result = profiler::disableProfiler();
  }
};

TraceProfilerImpl::TraceProfilerImpl(TraceProfilerOptions options) : options_(std::move(options)) {
  if (options_.skip < 0 || options_.batches < 1) {
    throw Error({.what = "TraceProfiler: skip must be at least 0 and batches at least 1",
                 .value = std::to_string(options_.skip) + " and " + std::to_string(options_.batches),
                 .where = {},
                 .hint = {}});
  }
}

TraceProfilerImpl::~TraceProfilerImpl() = default;

void TraceProfilerImpl::begin_run() { batches_seen_ = 0; }

void TraceProfilerImpl::start(std::string_view action) {
  if (action == "run_training_batch" && ++batches_seen_ == options_.skip + 1 && !trace_) {
    trace_ = std::make_unique<Trace>();
  }
  if (!trace_ || trace_->result) return;
  auto function = std::make_unique<at::RecordFunction>(at::RecordScope::USER_SCOPE);
  if (function->isActive()) function->before(std::string(action));
  trace_->running.emplace_back(action, std::move(function));
}

void TraceProfilerImpl::stop(std::string_view action) {
  if (!trace_ || trace_->result) return;
  auto& running = trace_->running;
  const auto it = std::find_if(running.rbegin(), running.rend(), [&](const auto& r) { return r.first == action; });
  if (it != running.rend()) running.erase(std::next(it).base());
  // Recording ends with the last batch asked for; the file is written at the end of the run, for that takes its time.
  if (action == "run_training_batch" && batches_seen_ == options_.skip + options_.batches) trace_->finish();
}

void TraceProfilerImpl::end_run(const std::string& log_dir) {
  if (!trace_) return;
  path_ = in_folder(options_.dirpath, log_dir, options_.filename + ".json");
  trace_->finish();
  trace_->result->save(path_);
  trace_.reset();
}

}  // namespace levin
