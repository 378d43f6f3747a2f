// TrialCheckpoint: lets a trial whose process died go on where it was.
#pragma once

#include <levin/train/callbacks/callback.h>
#include <levin/tune/trial.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>

namespace levin::tune {

/**
 * Saves the fit's whole state into the trial's `checkpoint_dir` now and then, and when the fit is interrupted. The
 * study must have heartbeats with `max_retry`, for only then is a trial run again whose process died. Give it after the
 * other callbacks, so that it saves what they have done.
 *
 *     TrialCheckpoint checkpoint(trial);
 *     Trainer trainer({.callbacks = {checkpoint}});
 *     trainer.fit(model, loader, {.ckpt_path = checkpoint->ckpt_path()});
 *     checkpoint->remove();
 *
 * A save that fails gives a warning, once; the fit goes on, and what was saved before stays.
 */
class LEVIN_API TrialCheckpointImpl : public CallbackImpl {
 public:
  TrialCheckpointImpl(Trial trial, std::chrono::milliseconds interval);

  /** What to resume from: the checkpoint that an earlier run of this trial left, or "". */
  std::string ckpt_path() const;
  /** Removes the checkpoint with its folder, when the trial has ended; other files in it stay. */
  void remove();

  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_fit_end(Trainer& trainer, Module& module) override;
  std::int64_t batches_to_skip(const Trainer& trainer, Stage stage) const override;

 private:
  void save(Trainer& trainer);

  std::filesystem::path path_;
  std::chrono::milliseconds interval_;
  std::chrono::steady_clock::time_point last_save_;
  bool failed_ = false;
};

/** See TrialCheckpointImpl. */
class TrialCheckpoint : public CallbackHolder<TrialCheckpointImpl> {
 public:
  /** `interval`: time from save to save; a fit that is shorter writes nothing. */
  explicit TrialCheckpoint(Trial& trial, std::chrono::milliseconds interval = std::chrono::seconds(30))
      : CallbackHolder(std::make_shared<TrialCheckpointImpl>(trial, interval)) {}
};

}  // namespace levin::tune
