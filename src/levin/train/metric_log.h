// MetricLog: where values given to `log` gather until somebody reads them.
#pragma once

#include <levin/core/export.h>
#include <levin/train/hooks.h>
#include <levin/train/log_point.h>
#include <levin/train/metrics.h>

#include <ATen/core/Tensor.h>

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace levin {

class Batch;

/** How an epoch value is made of the batches' values. */
enum class Reduce { mean, sum, min, max };

/** Options of `log`, in Lightning's order. */
struct LogOptions {
  bool prog_bar = false;         ///< show in the progress bar
  bool logger = true;            ///< give to the loggers
  std::optional<bool> on_step;   ///< the batch's value; by default on in the hooks of a training batch
  std::optional<bool> on_epoch;  ///< reduced over the epoch; by default on everywhere else
  Reduce reduce_fx = Reduce::mean;
  bool add_dataloader_idx = true;  ///< with several evaluation loaders: a metric each, "name/dataloader_idx_0"
  /**
   * The samples behind this value, its weight in an epoch mean. By default dimension 0 of the batch's tensors; where
   * they differ there is no default and it must be said. A value logged outside a batch has weight 1.
   */
  std::optional<std::int64_t> batch_size;
};

/** A value that can be logged: a tensor with one element, a number, or a metric object. */
class LogValue {
 public:
  LogValue(at::Tensor tensor) : value_(std::move(tensor)) {}
  LogValue(metrics::Metric metric) : value_(std::move(metric)) {}
  template <class T>
  requires std::is_arithmetic_v<T> LogValue(T number) : value_(static_cast<double>(number)) {}

  template <class Visitor>
  void visit(Visitor&& visitor) const {
    std::visit(std::forward<Visitor>(visitor), value_);
  }

 private:
  std::variant<at::Tensor, metrics::Metric, double> value_;
};

/** Counts the writings to all logs of a run, so that the latest value under a name is known. */
using LogClock = std::uint64_t;

/**
 * The values logged in one stage of a run.
 *
 * A call site finds its slot by its place in the sequence of calls, so no string is hashed on the hot path. Scalars
 * on the CPU are read where they lie; scalars on a device are accumulated there and read when somebody asks, all that
 * a row needs in one transfer.
 */
class LEVIN_API MetricLog {
 public:
  /** `training`: step values are metrics that callbacks may monitor (in evaluation only epoch values are). */
  MetricLog(LogClock& clock, bool training) : clock_(&clock), training_(training) {}
  MetricLog(const MetricLog&) = delete;
  MetricLog& operator=(const MetricLog&) = delete;

  /** Starts a batch: the sequence of calls begins anew. `dataloader_idx` only where there are several loaders. */
  void begin_batch(const Batch& batch, std::optional<std::int64_t> dataloader_idx = {});
  /** As above for a batch of so many samples; `sizes_differ`: its tensors do not agree on that. */
  void begin_batch(std::int64_t batch_size, std::optional<std::int64_t> dataloader_idx = {}, bool sizes_differ = false);
  /** What follows belongs to no batch: values have weight 1 and no loader. */
  void end_batches();

  void log(std::string_view name, const at::Tensor& value, const LogOptions& options, Hook hook);
  void log(std::string_view name, double value, const LogOptions& options, Hook hook);
  void log(std::string_view name, const metrics::Metric& metric, const LogOptions& options, Hook hook);

  /** Where the last call found its slot: good for log_again until slots are added or cleared. */
  std::size_t place() const { return cursor_ - 1; }
  /** The same call in a further batch. */
  void log_again(std::size_t place, double value);

  /** Step values logged since the last finished epoch; `names` with "_step" appended where a slot keeps both. */
  MetricValues step_values(bool for_logger) const;
  /** Those for the logger that the running batch's loader gave. */
  MetricValues batch_step_values() const;
  /** The running batch among those of its loader in all epochs, from 0. */
  std::int64_t batch_number() const;
  /** Whether there is anything that `step_values(true)` would return. */
  bool has_step_values() const;
  /** What the progress bar shows: the latest step and epoch values. */
  MetricValues progress_bar_values() const;
  /** What went to the loggers last: the latest step and epoch values. */
  MetricValues logged_values() const;
  /** Reduces the epoch, empties the accumulators and returns the epoch values (for the logger or all of them). */
  MetricValues finish_epoch();
  /** Forgets what was gathered of an epoch that did not come to its end. */
  void drop_epoch();
  /** The subset of the last finished epoch that goes to loggers. */
  const MetricValues& logged_epoch_values() const { return logged_epoch_; }
  /** Of these, what evaluation loader `dataloader_idx` gave and what belongs to none. */
  MetricValues logged_epoch_values_of(std::int64_t dataloader_idx) const;

  /** The latest value under `name` (also "name_step", "name_epoch"), or nothing. */
  std::optional<double> find(std::string_view name) const;
  /** When the value that `find` would return was written; 0 for none. Reads nothing from a device. */
  LogClock written(std::string_view name) const;
  /** All names that `find` knows. */
  void append_names(std::vector<std::string>& names) const;

  /** Samples of all batches so far. */
  std::int64_t samples() const { return samples_; }
  void set_samples(std::int64_t samples) { samples_ = samples; }

  /** Forgets values and accumulators, keeping nothing of the run so far. */
  void clear();

  /** Accumulators in mid-epoch, for checkpoints: restored by `load_state` before the run continues. */
  struct SlotState {
    std::string name;
    Hook hook;
    LogOptions options;
    std::int64_t dataloader_idx;  // -1: none
    double accumulated, weight, last;
    bool has_last, touched;
    std::optional<double> epoch_value;
    metrics::Metric metric;  // of this epoch; its own state is the module's to save
  };
  std::vector<SlotState> state() const;
  void load_state(const std::vector<SlotState>& state);

 private:
  struct Slot {
    std::string name;
    Hook hook = Hook::none;
    LogOptions options;
    std::int64_t loader = -1;
    bool on_step = false, on_epoch = false;
    std::string full_name, step_name, epoch_name;  // with the loader's suffix; "_step" and "_epoch" where both are kept
    double last = 0;                               // the latest step value, unless it waits on a device
    at::Tensor last_device;                        // the same, not yet read
    bool has_last = false;
    double accumulated = 0, weight = 0;
    at::Tensor accumulated_device;
    bool on_device = false;  // accumulated_device holds something of this epoch
    metrics::Metric metric;
    std::optional<double> epoch_value;  // of the last finished epoch
    LogClock logged = 0, reduced = 0;   // when `last` and `epoch_value` were written
    bool touched = false;               // logged since the last finished epoch
    bool restored = false;              // from a checkpoint: the first call's options count
  };
  // Either value of a slot.
  struct Reading {
    const Slot* slot = nullptr;
    bool epoch = false;
    LogClock written = 0;
  };

  Slot& slot(std::string_view name, const LogOptions& options, Hook hook);
  Slot& find_slot(std::string_view name, const LogOptions& options, Hook hook, std::int64_t loader);
  Slot& add_slot(std::string_view name, const LogOptions& options, Hook hook, std::int64_t loader);
  Slot& arrive(Slot& slot, std::size_t index);
  static Slot make_slot(std::string_view name, const LogOptions& options, Hook hook, std::int64_t loader);
  static void empty(Slot& slot);
  void mark(Slot& slot) const;
  double weight(const Slot& slot) const;
  void accumulate(Slot& slot, double value) const;
  void accumulate_on_device(Slot& slot, const at::Tensor& value) const;
  Reading look(std::string_view name) const;
  template <class Wanted>
  MetricValues read(const Wanted& wanted) const;

  LogClock* clock_;
  bool training_;
  std::vector<Slot> slots_;
  std::size_t cursor_ = 0;
  std::vector<std::size_t> starts_;  // by loader, -1 first: where the calls of its batches begin
  std::vector<std::int64_t> seen_;   // likewise: its batches so far
  bool first_call_ = false;          // of this batch is still to come
  std::int64_t batch_size_ = 1;
  bool sizes_differ_ = false;
  std::int64_t loader_ = -1;
  std::int64_t samples_ = 0;
  MetricValues logged_epoch_;
  std::vector<std::pair<std::int64_t, std::size_t>> logged_epoch_loaders_;  // loader and index in logged_epoch_
};

}  // namespace levin
