// ThroughputMonitor: batches, samples and floating point operations a second.
#pragma once

#include <levin/train/callbacks/callback.h>

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <optional>

namespace levin {

struct ThroughputMonitorOptions {
  /** Samples of a batch; by default the first dimension of its first tensor. */
  std::function<std::int64_t(const Batch&)> batch_size_fn = {};
  /** Items of a batch, for instance tokens; none by default. */
  std::function<std::int64_t(const Batch&)> length_fn = {};
  std::int64_t window_size = 100;              ///< batches over which speeds are measured, at least 2
  std::optional<double> flops_per_batch = {};  ///< floating point operations that a batch takes
  std::optional<double> available_flops = {};  ///< of the device, a second: the share in use is logged as mfu
};

/**
 * Gives the loggers how fast batches go by, by the names of Lightning's ThroughputMonitor: "train/time",
 * "train/batches", "train/samples" so far, and once the window is full "train/device/batches_per_sec",
 * ".../samples_per_sec", ".../items_per_sec", ".../flops_per_sec" and ".../mfu"; the same for "validate", "test" and
 * "predict". Rows come every log_every_n_steps. On a GPU each batch is waited for, as it must be to be timed.
 */
class LEVIN_API ThroughputMonitorImpl : public CallbackImpl {
 public:
  explicit ThroughputMonitorImpl(ThroughputMonitorOptions options = {});

  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_validation_start(Trainer& trainer, Module& module) override;
  void on_validation_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_test_start(Trainer& trainer, Module& module) override;
  void on_test_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_predict_start(Trainer& trainer, Module& module) override;
  void on_predict_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;

 private:
  using Clock = std::chrono::steady_clock;
  struct Reading {
    double time;
    std::int64_t batches, samples, items;
  };
  struct Stretch {
    Clock::time_point begin;
    std::deque<Reading> window;
    std::int64_t batches = 0, samples = 0, items = 0;
  };

  void start(Stage stage);
  void measure(Trainer& trainer, Stage stage, const Batch& batch, std::int64_t step);

  ThroughputMonitorOptions options_;
  std::array<Stretch, 4> stretches_;
  bool training_ = false;
};

/** See ThroughputMonitorImpl. */
class ThroughputMonitor : public CallbackHolder<ThroughputMonitorImpl> {
 public:
  explicit ThroughputMonitor(ThroughputMonitorOptions options = {})
      : CallbackHolder(std::make_shared<ThroughputMonitorImpl>(std::move(options))) {}
};

}  // namespace levin
