// DeviceStatsMonitor: memory and load of the machine beside the metrics.
#pragma once

#include <levin/train/callbacks/callback.h>

#include <optional>
#include <string>

namespace levin {

struct DeviceStatsMonitorOptions {
  std::optional<bool> cpu_stats = {};  ///< the processor's, too; by default only when the run is on it
};

/**
 * Gives the loggers "DeviceStatsMonitor.on_train_batch_start/<name>" and the same for ..._batch_end and the other
 * stages, every log_every_n_steps (Lightning's DeviceStatsMonitor). Of the processor: cpu_percent since the reading
 * before, cpu_vm_percent and cpu_swap_percent of the machine, and process_resident_bytes. Of a GPU: the caching
 * allocator's bytes (allocated, reserved, active and inactive_split, each current and peak) and its counts of retries
 * and failures. Needs a logger.
 */
class LEVIN_API DeviceStatsMonitorImpl : public CallbackImpl {
 public:
  explicit DeviceStatsMonitorImpl(DeviceStatsMonitorOptions options = {}) : options_(options) {}

  void setup(Trainer& trainer, Module& module, Stage stage) override;
  void on_train_batch_start(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_validation_batch_start(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_validation_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_test_batch_start(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_test_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;

 private:
  void record(Trainer& trainer, const char* hook, std::int64_t step);

  DeviceStatsMonitorOptions options_;
  double busy_ = 0, total_ = 0;  // of the processor, at the last reading
};

/** See DeviceStatsMonitorImpl. */
class DeviceStatsMonitor : public CallbackHolder<DeviceStatsMonitorImpl> {
 public:
  explicit DeviceStatsMonitor(DeviceStatsMonitorOptions options = {})
      : CallbackHolder(std::make_shared<DeviceStatsMonitorImpl>(options)) {}
};

}  // namespace levin
