// The training loop, top to bottom: epochs, batches, and what happens at their ends.
#include <levin/train/trainer_impl.h>

#include <levin/core/interrupt.h>

#include <algorithm>

namespace levin {

bool Trainer::Impl::epochs_done() const {
  return *options.max_epochs >= 0 && progress.epoch.current.completed >= *options.max_epochs;
}

bool Trainer::Impl::steps_done() const { return options.max_steps >= 0 && progress.global_step() >= options.max_steps; }

bool Trainer::Impl::time_is_up() const { return options.max_time && self.training_time() >= *options.max_time; }

// A stop that was asked for waits for min_epochs and min_steps; Ctrl-C waits for nothing.
bool Trainer::Impl::stop_now() const {
  if (interrupted) return true;
  return should_stop && progress.epoch.current.completed >= options.min_epochs &&
         progress.global_step() >= options.min_steps;
}

void Trainer::Impl::run_fit() {
  const auto done = [&] { return epochs_done() || steps_done() || stop_now() || time_is_up(); };
  if (options.limit_train_batches.value() == 0) return;
  if (!train_loader.defined()) setup_train_loader();
  if (done()) return;
  if (!val_loader.defined()) setup_val_loader();
  position_train_loader();
  training_since = last_validation = std::chrono::steady_clock::now();
  on_train_start();
  while (!done()) run_epoch();
  time_before = self.training_time();
  training_since.reset();
  on_train_end();
}

void Trainer::Impl::run_epoch() {
  const ProfiledAction epoch_action(profiler(), "run_training_epoch");
  active_log = &train_log;
  skip_epoch = false;
  if (resumed_mid_epoch) {
    resumed_mid_epoch = false;
    finish_batch(progress.batch.current.ready - 1);
  } else {
    if (reload_due(LoaderKind::train)) setup_train_loader();
    train_loader.begin_epoch(progress.epoch.current.completed);
    progress.batch.reset_current();
    progress.optimizer_step.reset_current();
    progress.manual_step.reset_current();
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
  const auto next = [&] {
    const ProfiledAction action(profiler(), "train_dataloader_next");
    return train_loader.next(batch);
  };
  while (!progress.is_last_batch && !leaves_early() && next()) {
    const ProfiledAction batch_action(profiler(), "run_training_batch");
    const std::int64_t batch_idx = progress.batch.current.ready;
    progress.batch.increment_ready();
    progress.is_last_batch = batch_idx + 1 == num_training_batches || (!train_length_known && train_loader.at_end());
    dataloader_idx = train_loader.dataloader_idx();
    receive(batch);
    train_log.begin_batch(batch);

    on_train_batch_start(batch, batch_idx);
    if (skip_epoch) {
      progress.is_last_batch = true;
      break;
    }
    progress.batch.increment_started();
    const std::int64_t steps_before = progress.global_step();
    train_batch(batch, batch_idx);
    last_batch_stepped = progress.global_step() > steps_before;
    progress.batch.increment_processed();
    if (last_batch_stepped) step_schedulers(Interval::step, /*plateau=*/false);
    if (progress.is_last_batch) step_schedulers(Interval::epoch, /*plateau=*/false);
    pending = Tail::batch;
    on_train_batch_end(batch, batch_idx);
    finish_batch(batch_idx);
  }
  dataloader_idx = 0;
  // After a signal the epoch stays open: it goes on when the run is resumed.
  if (!interrupted || (progress.is_last_batch && pending == Tail::none)) finish_epoch();
}

// What follows a batch's hooks. A run resumed from a checkpoint that was taken in them begins here.
void Trainer::Impl::finish_batch(std::int64_t batch_idx) {
  interrupted = interrupt_requested();
  if (pending == Tail::batch) {
    progress.batch.increment_completed();
    if (last_batch_stepped && options.log_every_n_steps > 0 &&
        ((progress.batches_that_stepped + 1) % options.log_every_n_steps == 0 || should_stop)) {
      log_to_loggers(train_log.step_values(/*for_logger=*/true), progress.batches_that_stepped);
    }
    pending = validation_due(batch_idx) ? Tail::validation : Tail::after_validation;
  }
  if (pending == Tail::validation) {
    clear_gradients_for_validation();
    if (reload_due(LoaderKind::val)) setup_val_loader();
    run_validation(num_val_batches);
    active_log = &train_log;
    if (pending == Tail::validation) return;  // a signal came: a resumed run validates first
  }
  if (pending == Tail::after_validation && last_batch_stepped) {
    step_schedulers(Interval::step, /*plateau=*/true);
    ++progress.batches_that_stepped;
  }
  pending = Tail::none;
}

bool Trainer::Impl::validation_due(std::int64_t batch_idx) const {
  if (num_val_batches.empty()) return false;
  const bool epoch_ends = progress.is_last_batch;
  if (interrupted && !epoch_ends) return false;
  if (const ValCheckInterval& interval = options.val_check_interval; interval.across_epochs()) {
    const Every& every = interval.interval();
    if (every.by_clock()) {
      const auto epoch_counts = progress.epoch.current.ready % options.check_val_every_n_epoch.value_or(1) == 0;
      return epoch_counts && std::chrono::steady_clock::now() - last_validation >= every.period();
    }
    switch (every.unit()) {
      case Unit::batches: return progress.batch.total.ready % every.count() == 0;
      case Unit::steps: return last_batch_stepped && progress.global_step() % every.count() == 0;
      case Unit::epochs: return epoch_ends && progress.epoch.current.ready % every.count() == 0;
    }
  }
  if (!options.check_val_every_n_epoch) return progress.batch.total.ready % val_check_batch == 0;
  if (progress.epoch.current.ready % *options.check_val_every_n_epoch != 0) return false;
  if (stop_now()) return true;
  return val_check_batch == kUnknownLength ? epoch_ends : (batch_idx + 1) % val_check_batch == 0;
}

void Trainer::Impl::finish_epoch() {
  progress.epoch.increment_processed();
  train_log.end_batches();
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
  if (!options.lightning_compat) step_schedulers(Interval::epoch, /*plateau=*/true);
  call(/*monitors=*/true);
  if (options.lightning_compat) step_schedulers(Interval::epoch, /*plateau=*/true);
  reduce();
  context = Hook::none;
  log_to_loggers(logged, std::max<std::int64_t>(progress.batches_that_stepped - 1, 0));
  progress.epoch.increment_completed();
}

}  // namespace levin
