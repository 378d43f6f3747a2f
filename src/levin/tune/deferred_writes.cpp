#include <levin/tune/deferred_writes.h>

#include <levin/core/console.h>
#include <levin/tune/trial_impl.h>

#include <chrono>
#include <exception>

namespace levin::tune::detail {

DeferredWrites& DeferredWrites::instance() {
  static DeferredWrites writes;
  return writes;
}

DeferredWrites::~DeferredWrites() {
  thread_.request_stop();
  wake_.notify_all();
}

void DeferredWrites::add(std::weak_ptr<StudyTrial> trial) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  trials_.push_back(std::move(trial));
  if (trials_.size() == 1) wake_.notify_all();  // else the thread gathers already
}

void DeferredWrites::run(std::stop_token stop) {
  using namespace std::chrono_literals;
  while (!stop.stop_requested()) {
    std::unique_lock lock(mutex_);
    if (!wake_.wait(lock, stop, [&] { return !trials_.empty(); })) return;
    wake_.wait_for(lock, stop, 100ms, [] { return false; });  // gather what comes in the meantime
    const auto due = std::exchange(trials_, {});
    lock.unlock();
    for (const auto& weak : due) {
      const auto trial = weak.lock();
      if (trial == nullptr) continue;
      try {
        trial->flush();
      } catch (const std::exception& error) {
        // What was not written stays with the trial; its next write tries again and tells the caller.
        console::warn_once(std::string("a trial could not be written yet: ") + error.what());
      }
    }
  }
}

}  // namespace levin::tune::detail
