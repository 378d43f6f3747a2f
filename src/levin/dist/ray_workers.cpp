#include <levin/dist/ray_workers.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <mutex>
#include <optional>
#include <random>
#include <stop_token>
#include <thread>
#include <vector>

namespace levin::dist {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::seconds;

constexpr std::int64_t kMistake = 2;           // exit code of a program that was told something wrong
constexpr seconds kPatience{60};               // for a cluster that does not answer
constexpr seconds kStopPatience{15};           // for jobs that were told to stop
constexpr auto kLook = std::chrono::milliseconds(500);

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// A job's log as lines. A connection that breaks is made anew; what came before is passed over then.
class JobLog {
 public:
  JobLog(const RayJobs& jobs, std::string job, std::string node)
      : jobs_(jobs), job_(std::move(job)), node_(std::move(node)) {}

  // Reads what comes within `time`; false when nothing did.
  template <class Use>
  bool read(double time, const Use& use) {
    if (!stream_) {
      stream_ = jobs_.log(job_, node_);
      to_skip_ = seen_;
    }
    const auto text = stream_->read(time);
    if (!text) {
      stream_.reset();
      return false;
    }
    if (stream_->status() != 200) return false;  // the file is not there yet
    std::string_view fresh = *text;
    const auto skipped = std::min(to_skip_, fresh.size());
    to_skip_ -= skipped;
    fresh.remove_prefix(skipped);
    seen_ += fresh.size();
    text_ += fresh;
    for (auto end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
      use(std::string_view(text_).substr(0, end));
      text_.erase(0, end + 1);
    }
    return !text->empty();
  }

  // Reads the rest, once nothing more is written.
  template <class Use>
  void finish(const Use& use) {
    const auto start = Clock::now();
    while (seconds_since(start) < 3 && read(0.5, use)) {
    }
    if (!text_.empty()) use(std::exchange(text_, {}));
  }

 private:
  const RayJobs& jobs_;
  std::string job_, node_, text_;
  std::optional<HttpStream> stream_;
  std::size_t seen_ = 0, to_skip_ = 0;
};

// Lines that Ray itself writes into a job's log before the program runs.
bool is_of_ray(std::string_view line) {
  return line.find("job_manager.py") != std::string_view::npos ||
         line.starts_with("Running entrypoint for job ");
}

}  // namespace

class RayWorkers::Impl {
 public:
  Impl(RayJobs jobs, RayWorkersOptions options) : jobs_(std::move(jobs)), options_(std::move(options)) {
    if (options_.n_workers < 1) {
      throw Error({.what = "there must be a worker at least",
                   .value = std::to_string(options_.n_workers),
                   .where = "RayWorkers",
                   .hint = {}});
    }
    if (!options_.entrypoint) throw Error("workers on Ray need an entrypoint, the command line that they run");
    // Ids are the cluster's, for good: those of another run must not be met.
    std::random_device random;
    char text[16];
    std::snprintf(text, sizeof text, "-%08x", random());
    run_ = options_.name + text;
    left_ = options_.n_workers;
    for (std::int64_t i = 0; i < options_.n_workers; ++i) {
      threads_.emplace_back([this, i](std::stop_token stop) { guarded(stop, i); });
    }
  }

  ~Impl() { stop(); }

  bool done() const { return left_ == 0; }
  void note_progress() { failures_ = 0; }

  void stop() {
    for (auto& thread : threads_) thread.request_stop();
    wake_.notify_all();
    for (auto& thread : threads_) {
      if (thread.joinable()) thread.join();
    }
  }

  void rethrow() const {
    const std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(error_);
  }

 private:
  enum class End { done, stopped, again };

  void guarded(const std::stop_token& stop, std::int64_t worker) {
    try {
      for (std::int64_t attempt = 0; !stop.stop_requested() && !broken_; ++attempt) {
        if (attempt > 0) pause(stop, std::min(30.0, std::pow(2.0, static_cast<double>(std::min<std::int64_t>(failures_, 10)) - 1)));
        if (run(stop, worker, attempt) != End::again) break;
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!error_) error_ = std::current_exception();
      broken_ = true;
    }
    --left_;
    wake_.notify_all();
  }

  void pause(const std::stop_token& stop, double time) {
    std::unique_lock lock(mutex_);
    wake_.wait_for(lock, stop, std::chrono::duration<double>(time), [&] { return broken_.load(); });
  }

  // Repeats what fails for want of an answer.
  template <class Call>
  auto patiently(const std::stop_token& stop, const Call& call) {
    for (const auto start = Clock::now();;) {
      try {
        return call();
      } catch (const Unreachable&) {
        if (stop.stop_requested() || seconds_since(start) > std::chrono::duration<double>(kPatience).count()) throw;
      }
      pause(stop, 1);
    }
  }

  // Waits until one more job may wait for room in the cluster.
  bool may_submit(const std::stop_token& stop) {
    while (!stop.stop_requested() && !broken_) {
      const auto room = patiently(stop, [&] { return jobs_.free_slots(options_.job.cpus, options_.job.gpus); });
      {
        const std::lock_guard lock(mutex_);
        if (pending_ < std::max<std::int64_t>(1, room.value_or(1))) {
          ++pending_;
          return true;
        }
      }
      pause(stop, 1);
    }
    return false;
  }

  void no_longer_pending(bool& pending) {
    if (!std::exchange(pending, false)) return;
    const std::lock_guard lock(mutex_);
    --pending_;
  }

  void event(const std::string& text) {
    const std::lock_guard lock(output_);
    if (options_.on_event) options_.on_event(text);
  }

  void line(std::int64_t worker, std::string_view text) {
    if (is_of_ray(text)) return;
    const std::lock_guard lock(output_);
    if (options_.on_line) options_.on_line(worker, text);
  }

  // One attempt, from its submission to its end.
  End run(const std::stop_token& stop, std::int64_t worker, std::int64_t attempt) {
    if (!may_submit(stop)) return End::stopped;
    bool pending = true;
    const std::string who = "worker " + std::to_string(worker);
    RayJob job = options_.job;
    job.submission_id = run_ + "-w" + std::to_string(worker) + "-a" + std::to_string(attempt);
    job.entrypoint = options_.entrypoint();
    try {
      if (!options_.archive.empty()) {
        const std::lock_guard lock(upload_);  // once for those that begin together
        job.package = patiently(stop, [&] { return jobs_.upload(options_.archive); });
      }
      patiently(stop, [&] { jobs_.submit(job); });
      const RayStatus status = follow(stop, worker, job, pending);
      no_longer_pending(pending);
      return judge(stop, who, status);
    } catch (...) {
      no_longer_pending(pending);
      throw;
    }
  }

  RayStatus follow(const std::stop_token& stop, std::int64_t worker, const RayJob& job, bool& pending) {
    const std::string who = "worker " + std::to_string(worker);
    const auto use = [&](std::string_view text) { line(worker, text); };
    const auto submitted = Clock::now();
    std::optional<Clock::time_point> told_to_stop;
    bool warned = false;
    std::optional<JobLog> log;
    for (;;) {
      const RayStatus status = patiently(stop, [&] { return jobs_.status(job.submission_id); });
      if (status.state != RayState::pending) no_longer_pending(pending);
      if (status.state != RayState::pending && !log && !status.node_id.empty()) {
        event(who + " runs on node " + status.node_id.substr(0, 8) + " as job " + job.submission_id);
        log.emplace(jobs_, job.submission_id, status.node_id);
      }
      if (has_ended(status.state)) {
        if (log) log->finish(use);
        return status;
      }
      if (stop.stop_requested()) {
        if (status.state == RayState::pending || (told_to_stop && Clock::now() - *told_to_stop > kStopPatience)) {
          return status;  // it cannot be stopped
        }
        if (!told_to_stop) {
          jobs_.stop(job.submission_id);
          told_to_stop = Clock::now();
        }
      }
      if (!warned && status.state == RayState::pending && Clock::now() - submitted > kPatience) {
        warned = true;
        event(who + " waits for room in the cluster: " + (status.message.empty() ? "pending" : status.message));
      }
      const double wait = std::chrono::duration<double>(kLook).count();
      if (log) {
        if (!log->read(wait, use)) pause(stop, 0.1);
      } else {
        pause(stop, wait);
      }
    }
  }

  End judge(const std::stop_token& stop, const std::string& who, const RayStatus& status) {
    if (status.state == RayState::succeeded) return End::done;
    if (stop.stop_requested()) return End::stopped;
    if (status.state == RayState::stopped) {
      event(who + " was stopped by somebody else and is not submitted again");
      return End::stopped;
    }
    const bool mistaken = status.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR" && status.exit_code == kMistake;
    const std::string reason = reason_of(status);
    if (mistaken) throw Error({.what = who + " cannot work: " + reason, .value = {}, .where = jobs_.address(), .hint = {}});
    if (status.error_type == "JOB_SUPERVISOR_ACTOR_START_TIMEOUT") {
      event(who + " waited too long for room and is submitted again");
      return End::again;
    }
    if (++failures_ >= options_.max_failures * options_.n_workers) {
      throw Error({.what = "workers fail one after the other, without a trial between them; the last one: " + reason,
                   .value = {},
                   .where = jobs_.address(),
                   .hint = "look at the job's log in the cluster's dashboard"});
    }
    event(who + " failed and is submitted again: " + reason);
    return End::again;
  }

  static std::string reason_of(const RayStatus& status) {
    std::string last;
    for (std::size_t start = 0; start < status.message.size();) {
      const auto end = std::min(status.message.find('\n', start), status.message.size());
      if (end > start) last = status.message.substr(start, end - start);
      start = end + 1;
    }
    std::string out = status.error_type.empty() ? "" : status.error_type + ", ";
    if (status.exit_code) out += "exit code " + std::to_string(*status.exit_code) + ", ";
    return out + last;
  }

  const RayJobs jobs_;
  const RayWorkersOptions options_;
  std::string run_;
  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  std::mutex output_, upload_;
  std::int64_t pending_ = 0;
  std::atomic<std::int64_t> failures_{0};
  std::atomic<std::int64_t> left_{0};
  std::atomic<bool> broken_{false};
  std::exception_ptr error_;
  std::vector<std::jthread> threads_;  // last: they use what stands above
};

RayWorkers::RayWorkers(RayJobs jobs, RayWorkersOptions options)
    : impl_(std::make_unique<Impl>(std::move(jobs), std::move(options))) {}
RayWorkers::~RayWorkers() = default;
bool RayWorkers::done() const { return impl_->done(); }
void RayWorkers::note_progress() { impl_->note_progress(); }
void RayWorkers::stop() { impl_->stop(); }
void RayWorkers::rethrow() const { impl_->rethrow(); }

}  // namespace levin::dist
