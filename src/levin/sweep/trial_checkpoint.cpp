#include <levin/sweep/trial_checkpoint.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <system_error>

namespace levin::tune {

TrialCheckpointImpl::TrialCheckpointImpl(Trial trial, std::chrono::milliseconds interval)
    : path_(trial.checkpoint_dir() / "trial.ckpt"), interval_(interval) {
  if (interval.count() <= 0) {
    throw Error({.what = "the time between two checkpoints must be above 0",
                 .value = std::to_string(interval.count()) + " ms",
                 .where = "TrialCheckpoint",
                 .hint = {}});
  }
}

std::string TrialCheckpointImpl::ckpt_path() const {
  std::error_code ignored;
  return std::filesystem::exists(path_, ignored) ? path_.string() : "";
}

void TrialCheckpointImpl::remove() {
  std::error_code ignored;
  std::filesystem::remove(path_, ignored);
  std::filesystem::remove(path_.parent_path(), ignored);  // if it is empty now
}

void TrialCheckpointImpl::on_train_start(Trainer&, Module&) { last_save_ = std::chrono::steady_clock::now(); }

void TrialCheckpointImpl::on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_save_ < interval_) return;
  save(trainer);
  last_save_ = std::chrono::steady_clock::now();
}

std::int64_t TrialCheckpointImpl::batches_to_skip(const Trainer&, Stage) const {
  return std::chrono::steady_clock::now() - last_save_ < interval_ ? kAllBatches : 0;
}

void TrialCheckpointImpl::on_fit_end(Trainer& trainer, Module&) {
  if (trainer.interrupted() && trainer.global_step() > 0) save(trainer);
}

void TrialCheckpointImpl::save(Trainer& trainer) {
  try {
    trainer.save_checkpoint(path_.string());
  } catch (const Error& error) {
    if (!failed_) console::warning(std::string("a trial's checkpoint could not be written: ") + error.what());
    failed_ = true;
  }
}

}  // namespace levin::tune
