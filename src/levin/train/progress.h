// Counters of a run, as a Lightning checkpoint keeps them.
#pragma once

#include <cstdint>

namespace levin {

/** How far the items of a loop have come: fetched, begun (after *_start), done, and finished (after *_end). */
struct ProgressCount {
  std::int64_t ready = 0, started = 0, processed = 0, completed = 0;
};

/** Counts over the whole run and since the last reset. */
struct Progress {
  ProgressCount total, current;

  void increment_ready() { ++total.ready, ++current.ready; }
  void increment_started() { ++total.started, ++current.started; }
  void increment_processed() { ++total.processed, ++current.processed; }
  void increment_completed() { ++total.completed, ++current.completed; }
  void reset_current() { current = {}; }
};

/** All counters of a fit. `epoch.current` runs over the whole fit, the others' `current` over the epoch. */
struct FitProgress {
  Progress epoch, batch, val_batch;
  Progress optimizer_step, zero_grad, scheduler;
  Progress manual_step;  ///< optimizer steps in manual optimization
  bool is_last_batch = false;
  std::int64_t batches_that_stepped = 0;  ///< batches that ended in an optimizer step: the loggers' x-axis

  /** Steps of all optimizers: `Trainer::global_step`. */
  std::int64_t global_step() const { return optimizer_step.total.completed + manual_step.total.completed; }
};

}  // namespace levin
