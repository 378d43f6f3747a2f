// Validation, test and prediction: the same loop with different steps.
#include <levin/train/trainer_impl.h>

#include <levin/core/interrupt.h>
#include <levin/train/compiled_stages.h>

#include <algorithm>

namespace levin {

ModeGuard::ModeGuard(torch::nn::Module& root) {
  flags_.emplace_back(&root, root.is_training());
  for (const auto& module : root.modules(/*include_self=*/false))
    flags_.emplace_back(module.get(), module->is_training());
}

ModeGuard::~ModeGuard() {
  // Parents come before children: train() reaches down, and the deeper flags are then put right one by one.
  for (const auto& [module, training] : flags_) {
    if (module->is_training() != training) module->train(training);
  }
}

namespace {

/** Calls a module's own hook around the modes of a stage: its eval hook now, its train hook at the end. */
class EvalScope {
 public:
  using ModeHook = void (Module::*)();

  EvalScope(Module& model, HookSet hooks, Hook eval_hook, ModeHook eval, Hook train_hook, ModeHook train)
      : model_(model), train_(hooks.has(train_hook) ? train : nullptr) {
    if (!train_) guard_.emplace(model);
    if (hooks.has(eval_hook)) {
      (model.*eval)();
    } else {
      model.eval();
    }
  }
  ~EvalScope() noexcept(false) {
    if (train_ && std::uncaught_exceptions() == 0) (model_.*train_)();
  }
  EvalScope(const EvalScope&) = delete;
  EvalScope& operator=(const EvalScope&) = delete;

 private:
  Module& model_;
  ModeHook train_;
  std::optional<ModeGuard> guard_;
};

}  // namespace

bool Trainer::Impl::eval_batches(Stage stage, DataLoader& loader, std::span<const std::int64_t> batches,
                                 Progress* counts, const std::function<void(const Batch&, std::int64_t)>& step) {
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

  // Loaders in sequence are counted and limited one by one; any other is one stream of batches.
  const bool in_sequence = batches.size() > 1;
  num_dataloaders = static_cast<std::int64_t>(batches.size());
  bool complete = true;
  Batch batch;
  for (std::size_t i = 0; i < batches.size() && complete; ++i) {
    DataLoader part = in_sequence ? loader.parts()[i] : loader;
    part.begin_epoch(0);
    for (std::int64_t batch_idx = 0; batch_idx < batches[i]; ++batch_idx) {
      if (compiled && stage != Stage::predict) {
        dataloader_idx = in_sequence ? static_cast<std::int64_t>(i) : 0;
        const auto loader_idx = in_sequence ? std::optional(dataloader_idx) : std::nullopt;
        for (std::int64_t done = 1; done > 0 && batch_idx < batches[i]; batch_idx += done) {
          done = compiled->evaluate_block(stage, part.impl(), batches[i] - batch_idx, loader_idx, counts);
        }
        if (batch_idx >= batches[i]) break;
      }
      if (!part.next(batch)) break;
      if (interrupt_requested()) {
        complete = false;
        break;
      }
      dataloader_idx = in_sequence ? static_cast<std::int64_t>(i) : part.dataloader_idx();
      receive(batch);
      active_log->begin_batch(batch, num_dataloaders > 1 ? std::optional(dataloader_idx) : std::nullopt);
      (this->*start)(batch, batch_idx);
      if (counts) counts->increment_ready(), counts->increment_started();
      context = step_hook;
      {
        const ProfiledAction action(profiler(), step_hook);
        const Precision::Context forward(options.precision, device.type());
        step(batch, batch_idx);
      }
      context = Hook::none;
      if (counts) counts->increment_processed(), counts->increment_completed();
      (this->*end)(batch, batch_idx);
      log_eval_step();
    }
  }
  dataloader_idx = 0;
  num_dataloaders = 1;
  if (!complete) interrupted = true;
  return complete;
}

void Trainer::Impl::run_sanity_check() {
  const std::int64_t wanted = options.num_sanity_val_steps.value_or(2);
  if (wanted == 0) return;
  setup_val_loader();
  std::vector<std::int64_t> batches = num_val_batches;
  if (wanted > 0) {
    for (std::int64_t& count : batches) count = std::min(count, wanted);
  }
  if (batches.empty()) return;
  // A trial run leaves nothing behind: neither metrics nor random numbers drawn.
  std::vector<std::pair<torch::Generator, torch::Tensor>> generators;
  const auto keep = [&](torch::Device of) {
    auto generator = at::globalContext().defaultGenerator(of);
    generators.emplace_back(generator, generator.get_state());
  };
  keep(torch::kCPU);
  if (!device.is_cpu()) keep(device);
  sanity_checking = true;
  on_sanity_check_start();
  run_validation(batches);
  on_sanity_check_end();
  sanity_checking = false;
  val_log.clear();
  progress.val_batch = {};
  recent_log = nullptr;
  active_log = &train_log;
  for (auto& [generator, state] : generators) generator.set_state(state);
}

void Trainer::Impl::run_validation(std::span<const std::int64_t> batches) {
  const ProfiledAction action(profiler(), "run_validation");
  const torch::NoGradGuard no_grad;
  const EvalScope scope(*model, model_hooks, Hook::on_validation_model_eval, &Module::on_validation_model_eval,
                        Hook::on_validation_model_train, &Module::on_validation_model_train);
  active_log = &val_log;
  val_log.end_batches();
  progress.val_batch.reset_current();
  on_validation_start();
  on_validation_epoch_start();
  const bool complete = eval_batches(Stage::validate, val_loader, batches, &progress.val_batch,
                                     [this](const Batch& batch, std::int64_t batch_idx) {
                                       if (!compiled || !compiled->evaluate(Stage::validate, batch, batch_idx)) {
                                         model->validation_step(batch, batch_idx, dataloader_idx);
                                       }
                                     });
  val_log.end_batches();
  if (!complete) return val_log.drop_epoch();
  on_validation_epoch_end();
  val_log.finish_epoch();
  recent_log = &val_log;
  if (!sanity_checking) log_to_loggers(val_log.logged_epoch_values(), progress.batches_that_stepped);
  if (pending == Tail::validation) pending = Tail::after_validation;
  last_validation = std::chrono::steady_clock::now();
  on_validation_end();
}

void Trainer::Impl::run_test(DataLoader& loader, std::span<const std::int64_t> batches) {
  const EvalScope scope(*model, model_hooks, Hook::on_test_model_eval, &Module::on_test_model_eval,
                        Hook::on_test_model_train, &Module::on_test_model_train);
  active_log = &test_log;
  test_log.clear();
  on_test_start();
  on_test_epoch_start();
  const bool complete =
      eval_batches(Stage::test, loader, batches, nullptr, [this](const Batch& batch, std::int64_t batch_idx) {
        if (compiled && compiled->evaluate(Stage::test, batch, batch_idx)) return;
        model->test_step(batch, batch_idx, dataloader_idx);
      });
  if (!complete) return test_log.clear();
  test_log.end_batches();
  on_test_epoch_end();
  test_log.finish_epoch();
  recent_log = &test_log;
  log_to_loggers(test_log.logged_epoch_values(), progress.batches_that_stepped);
  on_test_end();
}

std::vector<Batch> Trainer::Impl::run_predict(DataLoader& loader, std::span<const std::int64_t> batches, bool keep) {
  const EvalScope scope(*model, model_hooks, Hook::on_predict_model_eval, &Module::on_predict_model_eval,
                        Hook::on_predict_model_train, &Module::on_predict_model_train);
  std::vector<Batch> predictions;
  on_predict_start();
  on_predict_epoch_start();
  const bool complete =
      eval_batches(Stage::predict, loader, batches, nullptr, [&](const Batch& batch, std::int64_t batch_idx) {
        Batch prediction;
        if (!compiled || !compiled->predict(batch, batch_idx, prediction)) {
          prediction = model->predict_step(batch, batch_idx, dataloader_idx);
        }
        if (keep) predictions.push_back(prediction.to(torch::kCPU));
      });
  if (!complete) return {};
  on_predict_epoch_end();
  on_predict_end();
  return predictions;
}

}  // namespace levin
