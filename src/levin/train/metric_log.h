// MetricLog: where values given to `log` gather until somebody reads them.
#pragma once

#include <levin/core/export.h>
#include <levin/train/hooks.h>
#include <levin/train/metrics.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/** How an epoch value is made of the batches' values. */
enum class Reduce { mean, sum, min, max };

/** Options of `Module::log`, in Lightning's order. */
struct LogOptions {
  bool prog_bar = false;         ///< show in the progress bar
  bool logger = true;            ///< give to the loggers
  std::optional<bool> on_step;   ///< the batch's value; by default on in training steps
  std::optional<bool> on_epoch;  ///< reduced over the epoch; by default on in validation and test steps
  Reduce reduce_fx = Reduce::mean;
  std::optional<std::int64_t> batch_size;  ///< weight of the epoch mean; by default dimension 0 of the batch

  friend bool operator==(const LogOptions&, const LogOptions&) = default;
};

/** A name and its value, in order of logging. */
using MetricValues = std::vector<std::pair<std::string, double>>;

/**
 * The values logged in one stage of a run.
 *
 * A call site finds its slot by its place in the sequence of calls, so no string is hashed on the hot path. Scalars
 * on the CPU are read where they lie; scalars on a device are accumulated there and read when somebody asks.
 */
class LEVIN_API MetricLog {
 public:
  /** Starts a new hook call or batch: the sequence of calls begins anew. `batch_size` weighs epoch means. */
  void begin_batch(std::int64_t batch_size) {
    cursor_ = 0;
    batch_size_ = batch_size;
  }

  void log(std::string_view name, const at::Tensor& value, const LogOptions& options, Hook hook);
  void log(std::string_view name, double value, const LogOptions& options, Hook hook);
  void log(std::string_view name, const metrics::Metric& metric, const LogOptions& options, Hook hook);

  /** The latest step values; `names` with "_step" appended where a slot keeps both. */
  MetricValues step_values(bool for_logger) const;
  /** What the progress bar shows: the step value where there is one, else the last epoch's. */
  MetricValues progress_bar_values() const;
  /** Reduces the epoch, empties the accumulators and returns the epoch values (for the logger or all of them). */
  MetricValues finish_epoch();
  /** Forgets what was gathered of an epoch that did not come to its end. */
  void drop_epoch();
  /** The subset of the last finished epoch that goes to loggers. */
  const MetricValues& logged_epoch_values() const { return logged_epoch_; }

  /** The latest value under `name` (also "name_step", "name_epoch"), or nothing. */
  std::optional<double> find(std::string_view name) const;
  void append_names(std::vector<std::string>& names) const;

  /** Forgets values and accumulators, keeping nothing of the run so far. */
  void clear();

  /** Accumulators in mid-epoch, for checkpoints: restored by `load_state` before the run continues. */
  struct SlotState {
    std::string name;
    Hook hook;
    LogOptions options;
    double accumulated, weight, last;
    bool has_last, touched;
    std::optional<double> epoch_value;
  };
  std::vector<SlotState> state() const;
  void load_state(const std::vector<SlotState>& state);

 private:
  struct Slot {
    std::string name;
    Hook hook = Hook::none;
    LogOptions options;
    bool on_step = false, on_epoch = false;
    double last = 0;         // the latest step value, unless it waits on a device
    at::Tensor last_device;  // the same, not yet read
    bool has_last = false;
    double accumulated = 0, weight = 0;
    at::Tensor accumulated_device;
    metrics::Metric metric;
    std::optional<double> epoch_value;  // of the last finished epoch
    bool touched = false;               // logged since the last finished epoch
    bool restored = false;              // from a checkpoint: the first call's options count
  };

  Slot& slot(std::string_view name, const LogOptions& options, Hook hook);
  Slot& add_slot(std::string_view name, const LogOptions& options, Hook hook);
  static Slot make_slot(std::string_view name, const LogOptions& options, Hook hook);
  static void empty(Slot& slot);
  void accumulate(Slot& slot, double value);
  void accumulate_on_device(Slot& slot, const at::Tensor& value);
  std::int64_t weight(const Slot& slot) const;
  static double step_value(const Slot& slot);
  static double epoch_value(const Slot& slot);

  std::vector<Slot> slots_;
  std::size_t cursor_ = 0;
  std::int64_t batch_size_ = 1;
  MetricValues logged_epoch_;
};

}  // namespace levin
