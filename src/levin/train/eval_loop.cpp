// Validation, test and prediction: the same loop with different steps.
#include <levin/train/trainer_impl.h>

namespace levin {

ModeGuard::ModeGuard(torch::nn::Module& root, bool train) {
  flags_.emplace_back(&root, root.is_training());
  for (const auto& module : root.modules(/*include_self=*/false))
    flags_.emplace_back(module.get(), module->is_training());
  root.train(train);
}

ModeGuard::~ModeGuard() {
  // Parents come before children: train() reaches down, and the deeper flags are then put right one by one.
  for (const auto& [module, training] : flags_) {
    if (module->is_training() != training) module->train(training);
  }
}

void Trainer::Impl::eval_batches(Stage stage, DataLoader& loader, std::int64_t batches,
                                 const std::function<void(const Batch&, std::int64_t)>& step) {
  using BatchHook = void (Impl::*)(const Batch&, std::int64_t);
  BatchHook start = &Impl::on_validation_batch_start, end = &Impl::on_validation_batch_end;
  Hook step_hook = Hook::validation_step;
  if (stage == Stage::test) {
    start = &Impl::on_test_batch_start, end = &Impl::on_test_batch_end;
    step_hook = Hook::test_step;
  } else if (stage == Stage::predict) {
    start = &Impl::on_predict_batch_start, end = &Impl::on_predict_batch_end;
    step_hook = Hook::predict_step;
  }

  loader.begin_epoch(0);
  Batch batch;
  for (std::int64_t batch_idx = 0; batch_idx < batches && loader.next(batch); ++batch_idx) {
    if (!device.is_cpu()) batch = batch.to(device, /*non_blocking=*/true);
    active_log->begin_batch(batch.batch_size());
    (this->*start)(batch, batch_idx);
    context = step_hook;
    step(batch, batch_idx);
    context = Hook::none;
    (this->*end)(batch, batch_idx);
  }
}

void Trainer::Impl::run_sanity_check() {
  const std::int64_t batches =
      options.num_sanity_val_steps < 0 ? num_val_batches : std::min(options.num_sanity_val_steps, num_val_batches);
  if (batches == 0 || options.fast_dev_run > 0) return;
  // A trial run leaves nothing behind: neither metrics nor random numbers drawn.
  auto generator = torch::globalContext().defaultGenerator(torch::kCPU);
  const torch::Tensor rng_state = generator.get_state();
  sanity_checking = true;
  on_sanity_check_start();
  run_validation(batches);
  on_sanity_check_end();
  sanity_checking = false;
  val_log.clear();
  progress.val_batch = {};
  recent_log = nullptr;
  generator.set_state(rng_state);
}

void Trainer::Impl::run_validation(std::int64_t batches) {
  const torch::NoGradGuard no_grad;
  const ModeGuard eval_mode(*model, /*train=*/false);
  active_log = &val_log;
  val_log.begin_batch(1);
  progress.val_batch.reset_current();
  on_validation_start();
  on_validation_epoch_start();
  eval_batches(Stage::validate, val_loader, batches, [this](const Batch& batch, std::int64_t batch_idx) {
    progress.val_batch.increment_ready();
    progress.val_batch.increment_started();
    model->validation_step(batch, batch_idx);
    progress.val_batch.increment_processed();
    progress.val_batch.increment_completed();
  });
  val_log.begin_batch(1);
  on_validation_epoch_end();
  val_log.finish_epoch();
  recent_log = &val_log;
  if (!sanity_checking) log_to_loggers(val_log.logged_epoch_values(), progress.batches_that_stepped);
  on_validation_end();
}

void Trainer::Impl::run_test(DataLoader& loader, std::int64_t batches) {
  active_log = &test_log;
  test_log.clear();
  on_test_start();
  on_test_epoch_start();
  eval_batches(Stage::test, loader, batches,
               [this](const Batch& batch, std::int64_t batch_idx) { model->test_step(batch, batch_idx); });
  test_log.begin_batch(1);
  on_test_epoch_end();
  test_log.finish_epoch();
  recent_log = &test_log;
  log_to_loggers(test_log.logged_epoch_values(), progress.batches_that_stepped);
  on_test_end();
}

std::vector<Batch> Trainer::Impl::run_predict(DataLoader& loader, std::int64_t batches) {
  std::vector<Batch> predictions;
  predictions.reserve(static_cast<std::size_t>(batches));
  on_predict_start();
  on_predict_epoch_start();
  eval_batches(Stage::predict, loader, batches, [&](const Batch& batch, std::int64_t batch_idx) {
    predictions.push_back(model->predict_step(batch, batch_idx).to(torch::kCPU));
  });
  on_predict_epoch_end();
  on_predict_end();
  return predictions;
}

}  // namespace levin
