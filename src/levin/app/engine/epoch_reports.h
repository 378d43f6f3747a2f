// EpochReports: tells other programs, line by line, how a training goes.
#pragma once

#include <levin/train/callbacks/callback.h>

#include <fstream>
#include <optional>
#include <ostream>
#include <string>

namespace levin::app {

/**
 * Writes a line of JSON after each epoch, once its checkpoint is written: the epoch as `step`, the monitored metric as
 * `value`, and every metric under its name; so a `levin worker` or another tuner can run `levin fit` as its program.
 */
class EpochReportsImpl : public CallbackImpl {
 public:
  /** `path`: the file, or "-" for standard output. Throws Error when it cannot be written. */
  EpochReportsImpl(const std::string& path, std::string monitor);

  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  bool is_checkpoint() const override { return true; }  // after those that are

  /** The last line: the result. */
  void finish(double value);

 private:
  void write(const std::string& line);

  std::string path_, monitor_;
  std::ofstream file_;
};

using EpochReports = CallbackHolder<EpochReportsImpl>;

}  // namespace levin::app
