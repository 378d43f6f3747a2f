// Profiler: how long the parts of a run take.
#pragma once

#include <levin/core/export.h>
#include <levin/train/hooks.h>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/** Base of profilers: told when each action of a run begins and ends. Actions nest. */
class LEVIN_API ProfilerImpl {
 public:
  virtual ~ProfilerImpl();
  virtual void start(std::string_view action) = 0;
  virtual void stop(std::string_view action) = 0;
  /** A report for people; empty where there is none. */
  virtual std::string summary() const { return {}; }
  /** The run's begin and end; `log_dir` is where its files go. */
  virtual void begin_run() {}
  virtual void end_run(const std::string& log_dir) = 0;
};

/** Options of the profilers, in Lightning's order. */
struct ProfilerOptions {
  std::string dirpath = {};   ///< where `filename` goes; by default the run's log folder
  std::string filename = {};  ///< "": the report is printed; else it is written to "<filename>.txt"
};

/** Calls, mean, total and share of the run's time of each action (Lightning's SimpleProfiler). */
class LEVIN_API SimpleProfilerImpl : public ProfilerImpl {
 public:
  explicit SimpleProfilerImpl(ProfilerOptions options = {}) : options_(std::move(options)) {}
  void start(std::string_view action) override;
  void stop(std::string_view action) override;
  std::string summary() const override;
  void begin_run() override;
  void end_run(const std::string& log_dir) override;

  struct Record {
    std::int64_t calls = 0;
    std::chrono::duration<double> total{0};
  };
  /** By action. */
  const std::map<std::string, Record, std::less<>>& records() const { return records_; }

 protected:
  using Clock = std::chrono::steady_clock;
  ProfilerOptions options_;
  std::map<std::string, Record, std::less<>> records_;
  std::vector<std::pair<std::string, Clock::time_point>> running_;  // innermost last
  std::chrono::duration<double> run_time_{0};
  Clock::time_point run_since_{};
};

/** As the simple one, and which torch operators each action spends its time in. */
class LEVIN_API AdvancedProfilerImpl : public SimpleProfilerImpl {
 public:
  /** `rows`: operators listed for an action, those with the most time first. */
  explicit AdvancedProfilerImpl(ProfilerOptions options = {}, std::int64_t rows = 10);
  ~AdvancedProfilerImpl() override;
  void start(std::string_view action) override;
  void stop(std::string_view action) override;
  std::string summary() const override;
  void begin_run() override;
  void end_run(const std::string& log_dir) override;

  /** Operators by action. */
  using Operators = std::map<std::string, Record, std::less<>>;
  const std::map<std::string, Operators, std::less<>>& operators() const { return operators_; }

 private:
  struct Observer;
  std::int64_t rows_;
  std::map<std::string, Operators, std::less<>> operators_;
  std::unique_ptr<Observer> observer_;
};

struct TraceProfilerOptions {
  std::string dirpath = {};        ///< by default the run's log folder
  std::string filename = "trace";  ///< of "<filename>.json"
  std::int64_t skip = 1;           ///< training batches before the trace begins: the first ones are not typical
  std::int64_t batches = 10;       ///< training batches that are traced
};

/** A trace of some training batches for chrome://tracing or Perfetto: actions and operators, on the GPU too. */
class LEVIN_API TraceProfilerImpl : public ProfilerImpl {
 public:
  explicit TraceProfilerImpl(TraceProfilerOptions options = {});
  ~TraceProfilerImpl() override;
  void start(std::string_view action) override;
  void stop(std::string_view action) override;
  void begin_run() override;
  void end_run(const std::string& log_dir) override;
  /** The file of the last trace; "" before it was written. */
  const std::string& path() const { return path_; }

 private:
  struct Trace;
  TraceProfilerOptions options_;
  std::int64_t batches_seen_ = 0;
  std::unique_ptr<Trace> trace_;
  std::string path_;
};

/** Handle of a profiler: "simple", "advanced", "trace" (also "pytorch"), or one of your own. Copies share it. */
class LEVIN_API Profiler {
 public:
  Profiler() = default;
  Profiler(const std::string& name);
  Profiler(const char* name) : Profiler(std::string(name)) {}
  template <std::derived_from<ProfilerImpl> Impl>
  Profiler(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

  explicit operator bool() const { return impl_ != nullptr; }
  ProfilerImpl* operator->() const { return impl_.get(); }
  ProfilerImpl* get() const { return impl_.get(); }

 private:
  std::shared_ptr<ProfilerImpl> impl_;
};

/** Times an action until it goes out of scope; without a profiler it does nothing. */
class ProfiledAction {
 public:
  ProfiledAction(ProfilerImpl* profiler, std::string_view action) : profiler_(profiler), action_(action) {
    if (profiler_) profiler_->start(action_);
  }
  /** A hook or a step, by its name. */
  ProfiledAction(ProfilerImpl* profiler, Hook hook)
      : ProfiledAction(profiler, profiler ? std::string_view(hook_name(hook)) : std::string_view()) {}
  ~ProfiledAction() {
    if (profiler_) profiler_->stop(action_);
  }
  ProfiledAction(const ProfiledAction&) = delete;
  ProfiledAction& operator=(const ProfiledAction&) = delete;

 private:
  ProfilerImpl* profiler_;
  std::string_view action_;
};

}  // namespace levin
