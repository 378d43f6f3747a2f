// ProgressBarCallback: one bar for a whole fit, one for each evaluation.
#pragma once

#include <levin/core/progress_bar.h>
#include <levin/train/callbacks/callback.h>

#include <optional>
#include <string>

namespace levin {

/** Shows the batches done, their rate and the metrics logged with `prog_bar` on standard error. */
class LEVIN_API ProgressBarCallbackImpl : public CallbackImpl {
 public:
  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_epoch_start(Trainer& trainer, Module& module) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_validation_start(Trainer& trainer, Module& module) override;
  void on_validation_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_train_end(Trainer& trainer, Module& module) override;
  void on_test_start(Trainer& trainer, Module& module) override;
  void on_test_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_test_end(Trainer& trainer, Module& module) override;
  void on_predict_start(Trainer& trainer, Module& module) override;
  void on_predict_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_predict_end(Trainer& trainer, Module& module) override;
  void on_exception(Trainer& trainer, Module& module, std::exception_ptr error) override;
  /** All while the bar needs no redrawing. */
  std::int64_t batches_to_skip(const Trainer& trainer, Stage stage) const override;
  bool is_progress_bar() const override { return true; }

 private:
  void start(std::string description, std::optional<std::int64_t> total, std::int64_t initial);
  void show_metrics(Trainer& trainer);
  void finish(Trainer* trainer);
  std::string epoch_text(const Trainer& trainer) const;

  std::optional<ProgressBar> bar_;
  bool fitting_ = false;
};

using ProgressBarCallback = CallbackHolder<ProgressBarCallbackImpl>;

}  // namespace levin
