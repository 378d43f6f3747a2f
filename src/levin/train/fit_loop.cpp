// The training loop, top to bottom: epochs, batches, the optimizer step, and what happens at their ends.
#include <levin/train/trainer_impl.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/optim/clip_grad.h>

#include <algorithm>

namespace levin {

bool Trainer::Impl::epochs_done() const {
  return options.max_epochs >= 0 && progress.epoch.current.completed >= options.max_epochs;
}

bool Trainer::Impl::steps_done() const {
  return options.max_steps >= 0 && progress.optimizer_step.total.completed >= options.max_steps;
}

bool Trainer::Impl::time_is_up() const { return options.max_time && self.training_time() >= *options.max_time; }

// A stop that was asked for waits for min_epochs and min_steps; Ctrl-C waits for nothing.
bool Trainer::Impl::stop_now() const {
  if (interrupted) return true;
  return should_stop && progress.epoch.current.completed >= options.min_epochs &&
         progress.optimizer_step.total.completed >= options.min_steps;
}

void Trainer::Impl::run_fit() {
  const auto done = [&] {
    return epochs_done() || steps_done() || stop_now() || time_is_up() || num_training_batches == 0;
  };
  if (done()) return;
  training_since = std::chrono::steady_clock::now();
  on_train_start();
  while (!done()) run_epoch();
  time_before = self.training_time();
  training_since.reset();
  on_train_end();
}

void Trainer::Impl::run_epoch() {
  active_log = &train_log;
  if (resumed_mid_epoch) {
    resumed_mid_epoch = false;
    finish_batch(progress.batch.current.ready - 1);
  } else {
    train_loader.begin_epoch(progress.epoch.current.completed);
    progress.batch.reset_current();
    progress.optimizer_step.reset_current();
    progress.zero_grad.reset_current();
    progress.scheduler.reset_current();
    progress.val_batch.reset_current();
    progress.is_last_batch = false;
    progress.epoch.increment_ready();
    on_train_epoch_start();
    progress.epoch.increment_started();
  }

  Batch batch;
  const auto leaves_early = [&] { return stop_now() || steps_done() || time_is_up(); };
  while (!leaves_early() && progress.batch.current.ready < num_training_batches && train_loader.next(batch)) {
    const std::int64_t batch_idx = progress.batch.current.ready;
    progress.batch.increment_ready();
    progress.is_last_batch = batch_idx + 1 == num_training_batches;
    if (!device.is_cpu()) batch = batch.to(device, /*non_blocking=*/true);
    train_log.begin_batch(batch.batch_size());

    on_train_batch_start(batch, batch_idx);
    progress.batch.increment_started();
    const std::int64_t steps_before = progress.optimizer_step.total.completed;
    train_batch(batch, batch_idx);
    last_batch_stepped = progress.optimizer_step.total.completed > steps_before;
    progress.batch.increment_processed();
    if (last_batch_stepped) step_schedulers(Interval::step, /*plateau=*/false);
    if (progress.is_last_batch) step_schedulers(Interval::epoch, /*plateau=*/false);
    pending = Tail::batch;
    on_train_batch_end(batch, batch_idx);
    finish_batch(batch_idx);
  }
  // After Ctrl-C the epoch stays open: it goes on when the run is resumed.
  if (!interrupted || progress.is_last_batch) finish_epoch();
}

// What follows a batch's hooks. A run resumed from a checkpoint that was taken in them begins here.
void Trainer::Impl::finish_batch(std::int64_t batch_idx) {
  interrupted = interrupt_requested();
  if (pending == Tail::batch) {
    progress.batch.increment_completed();
    if (last_batch_stepped && options.log_every_n_steps > 0 &&
        (progress.batches_that_stepped + 1) % options.log_every_n_steps == 0) {
      log_to_loggers(train_log.step_values(/*for_logger=*/true), progress.batches_that_stepped);
    }
    pending = Tail::validation;
    if (validation_due(batch_idx)) {
      run_validation(num_val_batches);
      active_log = &train_log;
    }
  }
  if (pending == Tail::validation && last_batch_stepped) {
    step_schedulers(Interval::step, /*plateau=*/true);
    ++progress.batches_that_stepped;
  }
  pending = Tail::none;
}

void Trainer::Impl::train_batch(const Batch& batch, std::int64_t batch_idx) {
  // The last window of an epoch may be shorter: its loss is divided by what it really holds.
  const std::int64_t window = options.accumulate_grad_batches;
  const std::int64_t window_begin = batch_idx - batch_idx % window;
  const std::int64_t window_size = std::min(window, num_training_batches - window_begin);
  const bool window_ends = batch_idx + 1 == window_begin + window_size;
  const bool has_optimizer = optimizers.defined();

  context = Hook::training_step;
  torch::Tensor loss = model->training_step(batch, batch_idx);
  context = Hook::none;
  if (loss.defined() && loss.numel() != 1) {
    throw Error({.what = "training_step must return a loss with one element",
                 .value = "a tensor of " + std::to_string(loss.numel()) + " elements",
                 .where = {},
                 .hint = "reduce it, for instance with .mean()"});
  }
  if (!has_optimizer) return;

  if (batch_idx == window_begin) {
    call_callbacks(Hook::on_before_zero_grad, &CallbackImpl::on_before_zero_grad, optimizers.optimizer());
    call_module(Hook::on_before_zero_grad, &Module::on_before_zero_grad, optimizers.optimizer());
    progress.zero_grad.increment_ready();
    optimizers.optimizer().zero_grad();
    progress.zero_grad.increment_completed();
  }
  if (loss.defined()) {
    if (window_size > 1) loss = loss / static_cast<double>(window_size);
    call_callbacks(Hook::on_before_backward, &CallbackImpl::on_before_backward, loss);
    call_module(Hook::on_before_backward, &Module::on_before_backward, loss);
    context = Hook::none;
    if (!loss.requires_grad()) {
      throw Error({.what = "the loss of training_step does not depend on any parameter that requires grad",
                   .value = {},
                   .where = {},
                   .hint = "compute it from the model's output without detach(), and leave some parameter unfrozen"});
    }
    loss.backward();
    on_after_backward();
  }
  if (window_ends) optimizer_step();
}

void Trainer::Impl::optimizer_step() {
  optim::Optimizer& optimizer = optimizers.optimizer();
  call_callbacks(Hook::on_before_optimizer_step, &CallbackImpl::on_before_optimizer_step, optimizer);
  call_module(Hook::on_before_optimizer_step, &Module::on_before_optimizer_step, optimizer);
  context = Hook::none;
  if (options.gradient_clip_val) {
    if (options.gradient_clip_algorithm == ClipAlgorithm::norm) {
      optim::clip_grad_norm_(optimizer, *options.gradient_clip_val);
    } else {
      optim::clip_grad_value_(optimizer, *options.gradient_clip_val);
    }
  }
  progress.optimizer_step.increment_ready();
  optimizer.step();
  progress.optimizer_step.increment_completed();
}

void Trainer::Impl::step_schedulers(Interval interval, bool plateau) {
  for (LRSchedulerConfig& config : optimizers.schedulers()) {
    if (config.interval != interval || config.scheduler.needs_metric() != plateau) continue;
    const std::int64_t done =
        interval == Interval::epoch ? progress.epoch.current.ready : progress.batches_that_stepped + 1;
    if (done % config.frequency != 0) continue;
    progress.scheduler.increment_ready();
    if (!plateau) {
      config.scheduler.step();
    } else if (config.strict || find_metric(config.monitor)) {
      config.scheduler.step(self.metric(config.monitor, "LRSchedulerConfig::monitor"));
    }
    progress.scheduler.increment_completed();
  }
}

bool Trainer::Impl::validation_due(std::int64_t batch_idx) const {
  if (num_val_batches == 0 || (interrupted && !progress.is_last_batch)) return false;
  if (progress.epoch.current.ready % options.check_val_every_n_epoch != 0) return false;
  return (batch_idx + 1) % val_check_batch == 0 || stop_now();
}

void Trainer::Impl::finish_epoch() {
  progress.epoch.increment_processed();
  train_log.begin_batch(1);
  MetricValues logged;
  const auto reduce = [&] {
    train_log.finish_epoch();
    for (const auto& value : train_log.logged_epoch_values()) logged.push_back(value);
    recent_log = &train_log;
  };
  const auto call = [&](bool monitors) {
    for (CallbackImpl* callback : hooked[static_cast<std::size_t>(Hook::on_train_epoch_end)]) {
      context = Hook::on_train_epoch_end;
      if (callback->monitors() == monitors) callback->on_train_epoch_end(self, *model);
    }
  };
  reduce();
  call(/*monitors=*/false);
  call_module(Hook::on_train_epoch_end, &Module::on_train_epoch_end);
  reduce();  // what the hooks logged counts for this epoch
  // Lightning steps these schedulers after the checkpoint is taken, and a resumed run then lacks the step.
  step_schedulers(Interval::epoch, /*plateau=*/true);
  call(/*monitors=*/true);
  reduce();
  context = Hook::none;
  log_to_loggers(logged, std::max<std::int64_t>(progress.batches_that_stepped - 1, 0));
  progress.epoch.increment_completed();
}

}  // namespace levin
