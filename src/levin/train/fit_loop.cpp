// The training loop, top to bottom: epochs, batches, and what happens at their ends.
#include <levin/train/trainer_impl.h>

#include <levin/core/interrupt.h>
#include <levin/train/compiled_stages.h>

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
  while (!progress.is_last_batch && !leaves_early()) {
    if (compiled && train_block()) continue;
    if (!next()) break;
    const ProfiledAction batch_action(profiler(), "run_training_batch");
    const std::int64_t batch_idx = begin_batch();
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
    end_batch(steps_before);
    on_train_batch_end(batch, batch_idx);
    finish_batch(batch_idx);
  }
  dataloader_idx = 0;
  // After a signal the epoch stays open: it goes on when the run is resumed.
  if (!interrupted || (progress.is_last_batch && pending == Tail::none)) finish_epoch();
}

// Counts the batch that was fetched; its index in the epoch.
std::int64_t Trainer::Impl::begin_batch() {
  const std::int64_t batch_idx = progress.batch.current.ready;
  progress.batch.increment_ready();
  progress.is_last_batch = batch_idx + 1 == num_training_batches || (!train_length_known && train_loader.at_end());
  return batch_idx;
}

// What lies between a batch's training and its hooks.
void Trainer::Impl::end_batch(std::int64_t steps_before) {
  last_batch_stepped = progress.global_step() > steps_before;
  progress.batch.increment_processed();
  if (last_batch_stepped) step_schedulers(Interval::step, /*plateau=*/false);
  if (progress.is_last_batch) step_schedulers(Interval::epoch, /*plateau=*/false);
  pending = Tail::batch;
}

// Batches of data in memory whose hooks nobody needs, one after the other on the compiled step. Nothing is due at the
// ends of all but the last. False: the next batch has to come the long way.
bool Trainer::Impl::train_block() {
  const std::int64_t batches = compiled->begin_training_block(batches_until_event());
  if (batches == 0) return false;
  dataloader_idx = 0;
  for (std::int64_t left = batches;;) {
    const std::int64_t batch_idx = begin_batch();
    progress.batch.increment_started();
    const std::int64_t steps_before = progress.global_step();
    compiled->train_next(batch_idx, window_of(batch_idx));
    end_batch(steps_before);
    if (--left == 0 || interrupt_requested()) break;
    progress.batch.increment_completed();
    if (last_batch_stepped) ++progress.batches_that_stepped;
    pending = Tail::none;
  }
  compiled->end_block();
  finish_batch(progress.batch.current.ready - 1);
  return true;
}

// How many of the next batches may run before finish_batch or the loop's conditions have to look: nothing is due before
// the end of the last of them. May be too few, never too many.
std::int64_t Trainer::Impl::batches_until_event() const {
  if (should_stop) return 0;
  std::int64_t batches = num_training_batches - progress.batch.current.ready;
  // `done` of a unit so far: at a multiple of `every` something is due.
  const auto every = [&](std::int64_t period, std::int64_t done) {
    batches = std::min(batches, period - done % period);
  };
  if (options.max_steps >= 0) batches = std::min(batches, options.max_steps - progress.global_step());
  if (options.log_every_n_steps > 0 && !loggers.empty()) {
    every(options.log_every_n_steps, progress.batches_that_stepped);
  }
  for (const LRSchedulerConfig& config : optimizers.schedulers()) {
    if (config.interval == Interval::step && config.scheduler.needs_metric()) {
      every(config.frequency, progress.batches_that_stepped);
    }
  }
  if (!num_val_batches.empty()) {
    if (const ValCheckInterval& interval = options.val_check_interval; interval.across_epochs()) {
      if (!interval.interval().by_clock() && interval.interval().unit() != Unit::epochs) {
        every(interval.interval().count(),
              interval.interval().unit() == Unit::batches ? progress.batch.total.ready : progress.global_step());
      }
    } else if (!options.check_val_every_n_epoch) {
      every(val_check_batch, progress.batch.total.ready);
    } else if (val_check_batch != kUnknownLength) {
      every(val_check_batch, progress.batch.current.ready);
    }
  }
  return batches;
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
