#include <levin/train/callbacks/progress_bar.h>

#include <levin/train/trainer.h>

#include <algorithm>

namespace levin {

void ProgressBarCallbackImpl::start(std::string description, std::optional<std::int64_t> total, std::int64_t initial) {
  bar_.emplace(
      ProgressBarOptions{.description = std::move(description), .total = total, .initial = initial, .unit = "batch"});
}

void ProgressBarCallbackImpl::show_metrics(Trainer& trainer) {
  for (const auto& [name, value] : trainer.progress_bar_metrics()) bar_->metric(name, value);
}

void ProgressBarCallbackImpl::finish(Trainer* trainer) {
  if (!bar_) return;
  if (trainer) show_metrics(*trainer);
  if (trainer && fitting_) bar_->set_position(trainer->total_batches());
  bar_->finish();
  bar_.reset();
}

std::string ProgressBarCallbackImpl::epoch_text(const Trainer& trainer) const {
  const std::int64_t last = trainer.options().max_epochs.value_or(-1);
  std::string text = "epoch " + std::to_string(trainer.current_epoch() + 1);
  if (last > 0) text += "/" + std::to_string(last);
  return text;
}

void ProgressBarCallbackImpl::on_train_start(Trainer& trainer, Module&) {
  fitting_ = true;
  const auto& options = trainer.options();
  std::optional<std::int64_t> total;
  if (options.max_epochs.value_or(-1) >= 0 && trainer.num_training_batches() != kUnknownLength)
    total = *options.max_epochs * trainer.num_training_batches();
  if (options.max_steps >= 0) {
    const std::int64_t batches = options.max_steps * options.accumulate_grad_batches;
    total = std::min(total.value_or(batches), batches);
  }
  start(epoch_text(trainer), total, trainer.total_batches());
}

void ProgressBarCallbackImpl::on_train_epoch_start(Trainer& trainer, Module&) {
  if (!bar_) return;
  bar_->set_position(trainer.total_batches());
  bar_->set_description(epoch_text(trainer));
}

void ProgressBarCallbackImpl::on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) {
  if (!bar_) return;
  if (bar_->due()) show_metrics(trainer);
  bar_->set_position(trainer.total_batches() + 1);  // not counted yet
}

std::int64_t ProgressBarCallbackImpl::batches_to_skip(const Trainer&, Stage stage) const {
  if (!bar_) return kAllBatches;
  // The bar of an evaluation by itself counts its batches.
  return (stage == Stage::fit || fitting_) && !bar_->due() ? kAllBatches : 0;
}

void ProgressBarCallbackImpl::on_validation_start(Trainer& trainer, Module&) {
  if (fitting_) {
    if (!bar_) return;
    bar_->set_position(trainer.total_batches());
    bar_->set_description(epoch_text(trainer) + ", validating");
  } else if (!trainer.sanity_checking()) {
    const std::int64_t batches = trainer.num_val_batches();
    start("validating", batches == kUnknownLength ? std::optional<std::int64_t>() : batches, 0);
  }
}

void ProgressBarCallbackImpl::on_validation_batch_end(Trainer&, Module&, const Batch&, std::int64_t) {
  if (bar_) bar_->advance(fitting_ ? 0 : 1);
}

void ProgressBarCallbackImpl::on_validation_end(Trainer& trainer, Module&) {
  if (fitting_) {
    if (bar_) bar_->set_description(epoch_text(trainer));
  } else {
    finish(&trainer);
  }
}

void ProgressBarCallbackImpl::on_train_end(Trainer& trainer, Module&) {
  finish(&trainer);
  fitting_ = false;
}

void ProgressBarCallbackImpl::on_test_start(Trainer&, Module&) { start("testing", std::nullopt, 0); }
void ProgressBarCallbackImpl::on_test_batch_end(Trainer&, Module&, const Batch&, std::int64_t) { bar_->advance(); }
void ProgressBarCallbackImpl::on_test_end(Trainer& trainer, Module&) { finish(&trainer); }
void ProgressBarCallbackImpl::on_predict_start(Trainer&, Module&) { start("predicting", std::nullopt, 0); }
void ProgressBarCallbackImpl::on_predict_batch_end(Trainer&, Module&, const Batch&, std::int64_t) { bar_->advance(); }
void ProgressBarCallbackImpl::on_predict_end(Trainer&, Module&) { finish(nullptr); }

void ProgressBarCallbackImpl::on_exception(Trainer&, Module&, std::exception_ptr) {
  finish(nullptr);
  fitting_ = false;
}

}  // namespace levin
