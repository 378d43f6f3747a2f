// TrainState: the whole state of a run as a value in memory.
#pragma once

#include <levin/core/export.h>
#include <levin/train/callbacks/callback.h>

#include <memory>
#include <string>

namespace levin {

/**
 * What a checkpoint file holds, in memory: weights, optimizers, schedulers, counters, random states, the loader's
 * position, callbacks. A value: training that goes on does not change it, and copies share it. `Trainer::state` takes
 * one, `FitOptions::state` resumes from it, to the same bits as from a file.
 */
class LEVIN_API TrainState {
 public:
  TrainState() = default;
  /** Keeps a copy of all tensors of `checkpoint`. */
  explicit TrainState(const Checkpoint& checkpoint);

  bool defined() const noexcept { return checkpoint_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  /** The content in Lightning's layout; throws Error when undefined. */
  const Checkpoint& checkpoint() const;

  /** Writes it as a checkpoint file; atomic. */
  void save(const std::string& path) const;
  /** Reads a checkpoint file. */
  static TrainState load(const std::string& path);

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
};

}  // namespace levin
