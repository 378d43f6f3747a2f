#include <levin/tune/heartbeat.h>

#include <levin/core/console.h>
#include <levin/tune/storage/trial_store.h>

namespace levin::tune {

std::optional<std::int64_t> retried_trial_number(const FrozenTrial& trial) {
  const Value* number = trial.system_attrs.find("failed_trial");
  return number != nullptr && number->is_int() ? std::optional(number->as_int()) : std::nullopt;
}

std::vector<std::int64_t> retry_history(const FrozenTrial& trial) {
  std::vector<std::int64_t> out;
  const Value* history = trial.system_attrs.find("retry_history");
  if (history == nullptr || !history->is_list()) return out;
  for (const auto& number : history->as_list()) out.push_back(number.as_int());
  return out;
}

namespace detail {

std::optional<FrozenTrial> retry_of(const FrozenTrial& failed, const HeartbeatOptions& options) {
  auto history = retry_history(failed);
  history.push_back(failed.number);
  if (options.max_retry >= 0 && std::cmp_less(options.max_retry, history.size())) return std::nullopt;
  FrozenTrial next;
  next.state = TrialState::waiting;
  next.params = failed.params;
  next.distributions = failed.distributions;
  next.user_attrs = failed.user_attrs;
  next.system_attrs = failed.system_attrs;
  next.system_attrs.erase(kHeartbeatKey);
  next.system_attrs.erase("fail_reason");
  if (!next.system_attrs.contains("failed_trial")) next.system_attrs["failed_trial"] = failed.number;
  next.system_attrs["retry_history"] = List(history.begin(), history.end());
  if (options.inherit_intermediate_values) next.intermediate_values = failed.intermediate_values;
  return next;
}

void check(const HeartbeatOptions& options) {
  const auto fail = [](const std::string& what, double value) {
    throw Error({.what = what, .value = format_double(value), .where = "heartbeat", .hint = {}});
  };
  if (!(options.interval > 0)) fail("the interval of heartbeats is a number of seconds above 0", options.interval);
  if (options.grace_period && !(*options.grace_period > options.interval)) {
    fail("the grace period must be longer than the interval of heartbeats", *options.grace_period);
  }
  if (options.max_retry < -1) {
    fail("max_retry is a number of runs, or -1 for no limit", static_cast<double>(options.max_retry));
  }
}

Heartbeats::Heartbeats(std::shared_ptr<Storage> storage, HeartbeatOptions options)
    : storage_(std::move(storage)), options_(options) {}

Heartbeats::~Heartbeats() {
  thread_.request_stop();
  wake_.notify_all();
}

void Heartbeats::add(std::int64_t trial_id) {
  const std::lock_guard lock(mutex_);
  trial_ids_.insert(trial_id);
  if (!thread_.joinable()) thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  wake_.notify_all();
}

void Heartbeats::remove(std::int64_t trial_id) {
  const std::lock_guard lock(mutex_);
  trial_ids_.erase(trial_id);
}

void Heartbeats::run(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    wake_.wait_for(lock, stop, std::chrono::duration<double>(options_.interval), [] { return false; });
    if (trial_ids_.empty()) {
      if (!wake_.wait(lock, stop, [&] { return !trial_ids_.empty(); })) return;
      continue;
    }
    const std::vector<std::int64_t> ids(trial_ids_.begin(), trial_ids_.end());
    lock.unlock();
    try {
      storage_->record_heartbeats(ids);
    } catch (const std::exception& error) {
      console::warn_once(std::string("a heartbeat could not be written: ") + error.what());
    }
    lock.lock();
  }
}

void Heartbeats::reclaim(std::int64_t study_id) {
  {
    const std::lock_guard lock(mutex_);
    const auto now = std::chrono::steady_clock::now();
    if (last_look_ && now - *last_look_ < std::chrono::duration<double>(grace_period() / 4)) return;
    last_look_ = now;
  }
  const auto failed = storage_->fail_stale_trials(
      study_id, grace_period(), [this](const FrozenTrial& trial) { return retry_of(trial, options_); });
  for (const auto& trial : failed) {
    console::warning("trial " + std::to_string(trial->number) + " failed: its process gave no sign of life for " +
                     format_double(grace_period()) + " s");
  }
}

}  // namespace detail
}  // namespace levin::tune
