// OrderedPrefetch: numbered jobs run ahead by threads, their results taken in order.
#pragma once

#include <levin/core/error.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace levin {

/**
 * Runs `job(ticket, thread)` for consecutive tickets on some threads, at most `depth` tickets ahead of the one that is
 * taken next. Results come in the order of the tickets whatever the threads do; a job's exception comes at its turn.
 *
 * One thread takes. `stop` and the destructor wait for jobs that run, since a thread cannot be interrupted; results
 * that nobody took are dropped.
 */
template <class T>
class OrderedPrefetch {
 public:
  using Job = std::function<T(std::int64_t ticket, std::int64_t thread)>;
  using OnStart = std::function<void(std::int64_t thread)>;

  /** `on_start` runs first on every thread; an exception of it comes from the next `take`. */
  OrderedPrefetch(std::int64_t threads, std::int64_t depth, Job job, OnStart on_start = {})
      : job_(std::move(job)), on_start_(std::move(on_start)), slots_(static_cast<std::size_t>(depth)) {
    try {
      for (std::int64_t i = 0; i < threads; ++i) threads_.emplace_back([this, i] { work(i); });
    } catch (...) {
      end_threads();
      throw;
    }
  }
  ~OrderedPrefetch() { end_threads(); }
  OrderedPrefetch(const OrderedPrefetch&) = delete;
  OrderedPrefetch& operator=(const OrderedPrefetch&) = delete;

  /** Begins with the tickets first, ..., end - 1. Call it before the first `take` and after `stop`. */
  void start(std::int64_t first, std::int64_t end) {
    {
      const std::lock_guard lock(mutex_);
      next_ = taken_ = first;
      end_ = end;
    }
    wake_threads_.notify_all();
  }

  /** No job runs any more when this returns; what was computed ahead is dropped. */
  void stop() {
    std::unique_lock lock(mutex_);
    end_ = next_;
    wake_taker_.wait(lock, [this] { return running_ == 0; });
    for (auto& slot : slots_) slot = {};
  }

  /** The result of the next ticket, or its exception. Throws Error when it takes longer than `timeout` (0: for ever).
   */
  T take(std::chrono::duration<double> timeout = {}) {
    std::unique_lock lock(mutex_);
    auto& slot = slots_[static_cast<std::size_t>(taken_) % slots_.size()];
    const auto ready = [&] { return slot.done || failure_; };
    if (timeout.count() <= 0) {
      wake_taker_.wait(lock, ready);
    } else if (!wake_taker_.wait_for(lock, timeout, ready)) {
      throw Error({.what = "the workers gave nothing within the timeout",
                   .value = std::to_string(timeout.count()) + " seconds",
                   .where = {},
                   .hint = "raise the timeout, or look at what a worker waits for"});
    }
    if (!slot.done) std::rethrow_exception(failure_);
    auto taken = std::exchange(slot, {});
    ++taken_;
    lock.unlock();
    wake_threads_.notify_one();
    if (taken.exception) std::rethrow_exception(taken.exception);
    return std::move(*taken.result);
  }

 private:
  struct Slot {
    bool done = false;
    std::optional<T> result;
    std::exception_ptr exception;
  };

  bool has_work() const { return next_ < end_ && next_ < taken_ + static_cast<std::int64_t>(slots_.size()); }

  void work(std::int64_t thread) {
    try {
      if (on_start_) on_start_(thread);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      failure_ = std::current_exception();
      wake_taker_.notify_all();
      return;
    }
    std::unique_lock lock(mutex_);
    while (true) {
      wake_threads_.wait(lock, [this] { return ending_ || has_work(); });
      if (ending_) return;
      const auto ticket = next_++;
      ++running_;
      lock.unlock();
      Slot slot{.done = true, .result = {}, .exception = {}};
      try {
        slot.result = job_(ticket, thread);
      } catch (...) {
        slot.exception = std::current_exception();
      }
      lock.lock();
      --running_;
      slots_[static_cast<std::size_t>(ticket) % slots_.size()] = std::move(slot);
      wake_taker_.notify_all();
    }
  }

  void end_threads() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_threads_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  Job job_;
  OnStart on_start_;
  std::mutex mutex_;
  std::condition_variable wake_threads_, wake_taker_;
  std::vector<Slot> slots_;  // of ticket t at t mod depth
  std::int64_t next_ = 0;    // the ticket that a thread begins next
  std::int64_t taken_ = 0;   // the ticket that is taken next
  std::int64_t end_ = 0;
  std::int64_t running_ = 0;
  std::exception_ptr failure_;  // of a thread that could not start
  bool ending_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace levin
