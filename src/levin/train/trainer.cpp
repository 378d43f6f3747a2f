#include <levin/train/trainer.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/text_table.h>
#include <levin/train/accelerator.h>
#include <levin/train/callbacks/model_checkpoint.h>
#include <levin/train/callbacks/progress_bar.h>
#include <levin/train/checkpoint.h>
#include <levin/train/loggers/csv_logger.h>
#include <levin/train/slurm.h>
#include <levin/train/summary.h>
#include <levin/train/compiled_stages.h>
#include <levin/train/trainer_impl.h>

#include <ATen/Context.h>
#include <torch/csrc/autograd/anomaly_mode.h>
#include <torch/utils.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <initializer_list>
#include <typeinfo>
#include <utility>

namespace levin {
namespace {

[[noreturn]] void throw_option(const std::string& what, const std::string& value, const std::string& hint) {
  throw Error({.what = what, .value = value, .where = "TrainerOptions", .hint = hint});
}

/** Determinism, cuDNN's search and anomaly detection for the length of a run. */
class GlobalModes {
 public:
  GlobalModes(const TrainerOptions& options, bool fitting)
      : deterministic_(at::globalContext().deterministicAlgorithms()),
        warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        benchmark_(at::globalContext().benchmarkCuDNN()),
        anomaly_(torch::autograd::AnomalyMode::is_enabled()) {
    if (options.deterministic.on()) {
      ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
      at::globalContext().setDeterministicAlgorithms(true, options.deterministic.warn_only());
    }
    if (options.benchmark) {
      at::globalContext().setBenchmarkCuDNN(*options.benchmark);
    } else if (options.deterministic.on()) {
      at::globalContext().setBenchmarkCuDNN(false);
    }
    if (options.detect_anomaly && fitting) torch::autograd::AnomalyMode::set_enabled(true);
  }
  ~GlobalModes() {
    at::globalContext().setDeterministicAlgorithms(deterministic_, warn_only_);
    at::globalContext().setBenchmarkCuDNN(benchmark_);
    torch::autograd::AnomalyMode::set_enabled(anomaly_);
  }
  GlobalModes(const GlobalModes&) = delete;
  GlobalModes& operator=(const GlobalModes&) = delete;

 private:
  bool deterministic_, warn_only_, benchmark_, anomaly_;
};

/** The signals that a run answers to. */
std::initializer_list<int> run_signals() {
  static const std::initializer_list<int> plain{SIGINT, SIGTERM}, in_slurm{SIGINT, SIGTERM, SIGUSR1};
  return SlurmJob::current() ? in_slurm : plain;
}

}  // namespace

Trainer::Impl::Impl(Trainer& trainer, TrainerOptions trainer_options)
    : self(trainer), options(std::move(trainer_options)) {
  apply_environment(options);
  check(options);
  device = choose_device(options.accelerator, options.device, "TrainerOptions");
  if (options.fast_dev_run > 0) {
    const Limit few = count(options.fast_dev_run);
    options.limit_train_batches = options.limit_val_batches = options.limit_test_batches =
        options.limit_predict_batches = few;
    options.max_epochs = 1;
    options.max_steps = options.fast_dev_run;
    options.num_sanity_val_steps = 0;
    options.val_check_interval = fraction(1.0);
    options.check_val_every_n_epoch = 1;
    options.logger = false;
    options.enable_checkpointing = false;
    std::erase_if(options.callbacks, [](const Callback& callback) { return callback->is_checkpoint(); });
  }
  if (options.barebones) {
    options.logger = false;
    options.enable_checkpointing = options.enable_progress_bar = options.enable_model_summary = false;
    options.num_sanity_val_steps = 0;
  }
  if (!options.max_epochs) {
    const bool limited = options.max_steps >= 0 || options.max_time;
    if (!limited) console::warning("no max_epochs, max_steps or max_time was set: training stops after 1000 epochs");
    options.max_epochs = limited ? -1 : 1000;
  }
  loggers = options.logger.list();
  if (options.logger.wants_default()) loggers.push_back(CSVLogger({.save_dir = options.default_root_dir}));

  own_callbacks = options.callbacks;
  const auto has = [&](bool (CallbackImpl::*kind)() const) {
    return std::any_of(own_callbacks.begin(), own_callbacks.end(), [&](const Callback& c) { return ((*c).*kind)(); });
  };
  if (options.enable_checkpointing == false && has(&CallbackImpl::is_checkpoint)) {
    throw_option("enable_checkpointing = false contradicts the ModelCheckpoint among the callbacks", "",
                 "drop one of the two");
  }
  if (options.enable_progress_bar == false && has(&CallbackImpl::is_progress_bar)) {
    throw_option("enable_progress_bar = false contradicts the progress bar among the callbacks", "",
                 "drop one of the two");
  }
  if (options.enable_model_summary == false && has(&CallbackImpl::is_model_summary)) {
    throw_option("enable_model_summary = false contradicts the ModelSummary among the callbacks", "",
                 "drop one of the two");
  }
  options.enable_checkpointing = options.enable_checkpointing.value_or(true);
  options.enable_progress_bar = options.enable_progress_bar.value_or(true);
  options.enable_model_summary = options.enable_model_summary.value_or(*options.enable_progress_bar) &&
                                 !has(&CallbackImpl::is_model_summary);
  if (*options.enable_progress_bar && !has(&CallbackImpl::is_progress_bar))
    own_callbacks.push_back(ProgressBarCallback());
  if (*options.enable_checkpointing && !has(&CallbackImpl::is_checkpoint)) own_callbacks.push_back(ModelCheckpoint());
  set_callbacks();
}

// The callbacks of a run: the Trainer's, and those of configure_callbacks in place of ones of the same type.
void Trainer::Impl::set_callbacks() {
  callbacks = own_callbacks;
  if (model && model_hooks.has(Hook::configure_callbacks)) {
    context = Hook::configure_callbacks;
    const std::vector<Callback> configured = model->configure_callbacks();
    context = Hook::none;
    std::erase_if(callbacks, [&](const Callback& own) {
      return std::any_of(configured.begin(), configured.end(),
                         [&](const Callback& c) { return typeid(*c) == typeid(*own); });
    });
    callbacks.insert(callbacks.end(), configured.begin(), configured.end());
  }
  std::stable_partition(callbacks.begin(), callbacks.end(), [](const Callback& c) { return !c->is_checkpoint(); });

  std::vector<std::string> keys;
  for (auto& list : hooked) list.clear();
  for (const Callback& callback : callbacks) {
    if (const std::string key = callback->state_key(); !key.empty()) {
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
        throw_option("two callbacks would save their state under one key", "\"" + key + "\"",
                     "give them different options or override state_key()");
      }
      keys.push_back(key);
    }
    for (std::size_t hook = 0; hook < hooked.size(); ++hook) {
      if (callback.hooks().has(static_cast<Hook>(hook))) hooked[hook].push_back(&*callback);
    }
  }
}

// What every stage shares: the module knows its trainer, modes are set and put back, hooks and loggers see the end.
void Trainer::Impl::run(ModuleRef ref, Stage stage, const DataModuleRef* data_ref, const std::function<void()>& body) {
  fitting = stage == Stage::fit;
  if (torch::InferenceMode::is_enabled() && fitting) {
    throw Error({.what = "fit was called inside torch::InferenceMode, where gradients cannot be recorded",
                 .value = {},
                 .where = {},
                 .hint = "call it outside the guard's scope"});
  }
  if (running) {
    throw Error({.what = "a Trainer runs one thing at a time, and this one is in the middle of a run",
                 .value = {},
                 .where = {},
                 .hint = "call it once the run is over, or take a second Trainer and a copy of the module"});
  }
  if (ref.module().has_trainer()) {
    throw Error(
        {.what = "the module is in another Trainer's run", .value = {}, .where = {}, .hint = "train a copy of it"});
  }
  std::optional<InterruptGuard> signals;
  if (options.handle_signals) signals.emplace(run_signals());
  const GlobalModes modes(options, fitting);
  model = &ref.module();
  model_life = model->lifetime_.watch();
  model_hooks = ref.hooks();
  data = data_ref ? &data_ref->data() : nullptr;
  data_life = data ? data->lifetime_.watch() : Lifetime::Watch();
  data_hooks = data_ref ? data_ref->hooks() : HookSet();
  transfers_by_hook = false;
  for (const Hook hook :
       {Hook::on_before_batch_transfer, Hook::transfer_batch_to_device, Hook::on_after_batch_transfer}) {
    transfers_by_hook |= model_hooks.has(hook) || data_hooks.has(hook);
  }
  model->trainer_ = &self;
  running = true;
  struct Release {
    Impl* run;
    ~Release() { run->release(); }
  } release_at_end{this};

  interrupted = false;
  interrupted_checkpoint.clear();
  active_log = fitting ? &train_log : stage == Stage::validate ? &val_log : &test_log;
  try {
    if (profiler()) profiler()->begin_run();
    begin_run(stage);
    if (fitting || !options.inference_mode) {
      const torch::AutoGradMode mode(fitting);
      body();
    } else {
      const torch::InferenceMode mode;
      body();
    }
    if (data) data->teardown(stage);
    call_callbacks(Hook::teardown, &CallbackImpl::teardown, stage);
    call_module(Hook::teardown, &Module::teardown, stage);
    context = Hook::none;
    for (const Logger& logger : loggers) logger->finalize("success");
    if (profiler()) profiler()->end_run(log_dir());
  } catch (...) {
    end_in_error(std::current_exception());
    throw;
  }
  if (interrupted && interrupt_signal() == SIGUSR1) {
    if (const auto job = SlurmJob::current()) job->requeue();
  }
  // From here the signal that ended the run takes its usual effect, unless the program has a guard of its own.
  if (signals && interrupted) {
    release();
    signals->release_and_deliver();
  }
}

void Trainer::Impl::begin_run(Stage stage) {
  set_callbacks();
  if (options.compile.on()) compiled = std::make_unique<CompiledStages>(*this);
  if (data) {
    data->prepare_data();
  }
  if (model_hooks.has(Hook::prepare_data)) {
    context = Hook::prepare_data;
    model->prepare_data();
  }
  if (data) data->setup(stage);
  call_callbacks(Hook::setup, &CallbackImpl::setup, stage);
  call_module(Hook::setup, &Module::setup, stage);
  if (model_hooks.has(Hook::configure_model)) {
    context = Hook::configure_model;
    model->configure_model();
  }
  context = Hook::none;
  options.precision.convert_module(*model);  // before any weights are loaded
}

void Trainer::Impl::end_in_error(std::exception_ptr error) {
  if (training_since) {
    time_before = self.training_time();
    training_since.reset();
  }
  sanity_checking = false;
  untoggle();
  // What fails here must not hide the error that ended the run.
  const auto quietly = [](const auto& action) {
    try {
      action();
    } catch (const std::exception& second) {
      console::warning(std::string("while ending the run: ") + second.what());
    }
  };
  for (CallbackImpl* callback : hooked[static_cast<std::size_t>(Hook::on_exception)]) {
    quietly([&] { callback->on_exception(self, *model, error); });
  }
  if (data) quietly([&] { data->on_exception(error); });
  if (model_hooks.has(Hook::on_exception)) quietly([&] { model->on_exception(error); });
  for (const Logger& logger : loggers) quietly([&] { logger->finalize("failed"); });
  if (profiler()) quietly([&] { profiler()->end_run(log_dir()); });
  context = Hook::none;
}

void Trainer::Impl::fit(const FitOptions& fit_options) {
  should_stop = resumed = resumed_mid_epoch = false;
  accumulate_grad_batches = options.accumulate_grad_batches;
  pending = Tail::none;
  train_loader = val_loader = DataLoader();
  train_loader_state.reset();
  num_val_batches.clear();
  num_training_batches = 0;
  if (!model->is_training()) {
    console::info("the module was in eval mode: fit sets it to train mode");
    model->train();
  }

  ckpt_path = fit_options.ckpt_path.empty() ? "" : resolve_ckpt_path(fit_options.ckpt_path, Stage::fit);
  if (ckpt_path.empty() && !fit_options.state && options.handle_signals && SlurmJob::current())
    ckpt_path = last_hpc_checkpoint(options.default_root_dir);
  if (!fit_options.ckpt_path.empty() && fit_options.state) {
    throw Error({.what = "a fit resumes from a file or from a state, not from both",
                 .value = fit_options.ckpt_path,
                 .where = "FitOptions",
                 .hint = "leave out one of the two"});
  }
  TrainState from = fit_options.state;
  const std::string where = from ? "FitOptions::state" : ckpt_path;
  if (!from && !ckpt_path.empty()) from = TrainState::load(ckpt_path);
  if (from) {
    load_weights(from.checkpoint(), where);
    restore_data(from.checkpoint());
  }
  model->to(device);
  context = Hook::configure_optimizers;
  optimizers = model->configure_optimizers();
  context = Hook::none;
  levin::check(optimizers);
  if (!optimizers.defined()) console::warning("configure_optimizers returned no optimizer: fit will not train");
  if (!model->automatic_optimization() && (options.accumulate_grad_batches > 1 || options.gradient_clip_val)) {
    throw_option("in manual optimization the module accumulates and clips by itself",
                 options.gradient_clip_val ? "gradient_clip_val" : "accumulate_grad_batches",
                 "leave it out, and use clip_gradients() in training_step");
  }

  on_fit_start();
  log_hyperparams();
  if (*options.enable_model_summary) console::info(summarize(*model));
  if (from) restore(from.checkpoint(), where);
  from = {};
  if (epochs_done() && *options.max_epochs > 0 && progress.epoch.current.completed > 0) {
    console::info("nothing to train: max_epochs = " + std::to_string(*options.max_epochs) + " is reached");
  }
  if (!resumed_mid_epoch) run_sanity_check();
  run_fit();
  if (interrupted) save_interrupted();
  on_fit_end();
}

// The module's and the data module's together, as a run's; in every stage.
void Trainer::Impl::log_hyperparams() const {
  Map hparams = model->hparams();
  if (data) {
    for (const auto& [name, value] : data->hparams()) {
      if (const Value* own = hparams.find(name); own && !(*own == value)) {
        throw Error({.what = "module and data module have different values of the hyperparameter \"" + name + "\"",
                     .value = own->to_string() + " and " + value.to_string(),
                     .where = {},
                     .hint = "save it in one of the two, or under another name"});
      }
      hparams[name] = value;
    }
  }
  if (hparams.empty()) return;
  for (const Logger& logger : loggers) logger->log_hyperparams(hparams);
}

// The module of the run, or of the last one if it is still there.
Module& Trainer::Impl::living_model(const char* purpose) const {
  if (!model) {
    throw Error({.what = std::string(purpose) + ": the trainer has not run a module",
                 .value = {},
                 .where = {},
                 .hint = "call fit first"});
  }
  if (model_life.ended()) {
    throw Error({.what = std::string(purpose) + ": the module of the last run is gone",
                 .value = {},
                 .where = {},
                 .hint = "keep it as long as the trainer is asked for its state"});
  }
  return *model;
}

// A run that a signal ends leaves a checkpoint that goes on at the next batch.
void Trainer::Impl::save_interrupted() {
  if (interrupt_signal() == SIGUSR1) {
    interrupted_checkpoint = next_hpc_checkpoint(options.default_root_dir);
  } else if (*options.enable_checkpointing) {
    const auto* checkpoint = self.find_callback<ModelCheckpointImpl>();
    const std::filesystem::path folder =
        checkpoint && !checkpoint->dirpath().empty() ? checkpoint->dirpath() : log_dir() + "/checkpoints";
    interrupted_checkpoint = (folder / "interrupted.ckpt").string();
  } else {
    return;
  }
  self.save_checkpoint(interrupted_checkpoint);
  console::warning("interrupted after " + std::to_string(progress.global_step()) +
                   " steps; resume with ckpt_path = \"" + interrupted_checkpoint + "\"");
}

Map Trainer::Impl::evaluate(Stage stage, const EvalOptions& eval_options) {
  const bool testing = stage == Stage::test;
  if (!eval_options.ckpt_path.empty()) {
    const std::string path = resolve_ckpt_path(eval_options.ckpt_path, stage);
    load_weights(load_checkpoint(path), path);
  }
  model->to(device);
  log_hyperparams();
  if ((testing ? options.limit_test_batches : options.limit_val_batches).value() == 0) return {};
  DataLoader loader = request_loader(testing ? LoaderKind::test : LoaderKind::val);
  if (!loader.defined()) {
    throw Error(
        {.what = std::string(testing ? "test" : "validate") + " needs a loader",
         .value = "none",
         .where = {},
         .hint = testing ? "pass one, or override test_dataloader()" : "pass one, or override val_dataloader()"});
  }
  MetricLog& log = testing ? test_log : val_log;
  if (testing) {
    run_test(loader, eval_limits(loader, options.limit_test_batches, "limit_test_batches"));
  } else {
    val_loader = std::move(loader);
    val_log.clear();
    // Callbacks that steer a fit tell by the training batches that this is none.
    const std::int64_t batches_of_fit = std::exchange(num_training_batches, 0);
    num_val_batches = eval_limits(val_loader, options.limit_val_batches, "limit_val_batches");
    run_validation(num_val_batches);
    num_training_batches = batches_of_fit;
  }
  Map results;
  if (interrupted) return results;
  for (const auto& [name, value] : log.logged_epoch_values()) results[name] = value;
  if (eval_options.verbose && !results.empty()) {
    TextTable table({std::string(testing ? "test" : "validation") + " metric", "value"});
    for (const auto& [name, value] : results) table.add_row({name, format_metric(value.as_double())});
    console::write(table.to_string());
  }
  return results;
}

std::vector<Batch> Trainer::Impl::predict(const EvalOptions& eval_options) {
  if (!eval_options.ckpt_path.empty()) {
    const std::string path = resolve_ckpt_path(eval_options.ckpt_path, Stage::predict);
    load_weights(load_checkpoint(path), path);
  }
  model->to(device);
  log_hyperparams();
  if (options.limit_predict_batches.value() == 0) return {};
  DataLoader loader = request_loader(LoaderKind::predict);
  if (!loader.defined()) {
    throw Error({.what = "predict needs a loader",
                 .value = "none",
                 .where = {},
                 .hint = "pass one, or override predict_dataloader()"});
  }
  return run_predict(loader, eval_limits(loader, options.limit_predict_batches, "limit_predict_batches"),
                     eval_options.return_predictions);
}

Map Trainer::Impl::evaluate_run(ModuleRef ref, Stage stage, const DataModuleRef* data_ref,
                                const EvalOptions& eval_options) {
  Map results;
  run(ref, stage, data_ref, [&] { results = evaluate(stage, eval_options); });
  return results;
}

std::vector<Batch> Trainer::Impl::predict_run(ModuleRef ref, const DataModuleRef* data_ref,
                                              const EvalOptions& eval_options) {
  std::vector<Batch> predictions;
  run(ref, Stage::predict, data_ref, [&] { predictions = predict(eval_options); });
  return predictions;
}

std::string Trainer::Impl::log_dir() const {
  for (const Logger& logger : loggers) {
    if (auto dir = logger->log_dir(); !dir.empty()) return dir;
  }
  return options.default_root_dir;
}

// --- the public face ---

Trainer::Trainer(TrainerOptions options) : impl_(std::make_unique<Impl>(*this, std::move(options))) {}
Trainer::~Trainer() = default;

// Each entry point names where the loaders come from; everything else is in Impl.

void Trainer::fit(ModuleRef model, DataLoader train, DataLoader val, FitOptions options) {
  impl_->give_loaders({.train = std::move(train), .val = std::move(val)});
  impl_->run(model, Stage::fit, nullptr, [&] { impl_->fit(options); });
}
void Trainer::fit(ModuleRef model, DataLoader train, FitOptions options) {
  fit(model, std::move(train), {}, std::move(options));
}
void Trainer::fit(ModuleRef model, DataModuleRef data, FitOptions options) {
  impl_->give_no_loaders();
  impl_->run(model, Stage::fit, &data, [&] { impl_->fit(options); });
}
void Trainer::fit(ModuleRef model, FitOptions options) {
  impl_->give_no_loaders();
  impl_->run(model, Stage::fit, nullptr, [&] { impl_->fit(options); });
}

Map Trainer::validate(ModuleRef model, DataLoader val, EvalOptions options) {
  impl_->give_loaders({.val = std::move(val)});
  return impl_->evaluate_run(model, Stage::validate, nullptr, options);
}
Map Trainer::validate(ModuleRef model, DataModuleRef data, EvalOptions options) {
  impl_->give_no_loaders();
  return impl_->evaluate_run(model, Stage::validate, &data, options);
}
Map Trainer::validate(ModuleRef model, EvalOptions options) {
  impl_->give_no_loaders();
  return impl_->evaluate_run(model, Stage::validate, nullptr, options);
}

Map Trainer::test(ModuleRef model, DataLoader test, EvalOptions options) {
  impl_->give_loaders({.test = std::move(test)});
  return impl_->evaluate_run(model, Stage::test, nullptr, options);
}
Map Trainer::test(ModuleRef model, DataModuleRef data, EvalOptions options) {
  impl_->give_no_loaders();
  return impl_->evaluate_run(model, Stage::test, &data, options);
}
Map Trainer::test(ModuleRef model, EvalOptions options) {
  impl_->give_no_loaders();
  return impl_->evaluate_run(model, Stage::test, nullptr, options);
}

std::vector<Batch> Trainer::predict(ModuleRef model, DataLoader data, EvalOptions options) {
  impl_->give_loaders({.predict = std::move(data)});
  return impl_->predict_run(model, nullptr, options);
}
std::vector<Batch> Trainer::predict(ModuleRef model, DataModuleRef data, EvalOptions options) {
  impl_->give_no_loaders();
  return impl_->predict_run(model, &data, options);
}
std::vector<Batch> Trainer::predict(ModuleRef model, EvalOptions options) {
  impl_->give_no_loaders();
  return impl_->predict_run(model, nullptr, options);
}

std::int64_t Trainer::current_epoch() const { return impl_->progress.epoch.current.completed; }
std::int64_t Trainer::global_step() const { return impl_->progress.global_step(); }
std::int64_t Trainer::batch_idx() const { return impl_->progress.batch.current.ready - 1; }
std::int64_t Trainer::total_batches() const { return impl_->progress.batch.total.completed; }
std::int64_t Trainer::num_training_batches() const { return impl_->num_training_batches; }
std::int64_t Trainer::num_val_batches() const {
  std::int64_t sum = 0;
  for (const std::int64_t batches : impl_->num_val_batches) {
    if (batches == kUnknownLength) return kUnknownLength;
    sum += batches;
  }
  return sum;
}

std::int64_t Trainer::estimated_stepping_batches() {
  if (!impl_->train_loader.defined()) {
    impl_->living_model("the number of steps is not known");
    impl_->setup_train_loader();
  }
  const TrainerOptions& o = impl_->options;
  const std::int64_t by_steps = o.max_steps >= 0 ? o.max_steps : kUnknownLength;
  if (*o.max_epochs < 0 || impl_->num_training_batches == kUnknownLength) return by_steps;
  const std::int64_t an_epoch =
      (impl_->num_training_batches + impl_->accumulate_grad_batches - 1) / impl_->accumulate_grad_batches;
  return std::min(by_steps, *o.max_epochs * an_epoch);
}

std::int64_t Trainer::dataloader_idx() const { return impl_->dataloader_idx; }
const std::string& Trainer::ckpt_path() const { return impl_->ckpt_path; }
bool Trainer::sanity_checking() const { return impl_->sanity_checking; }
bool Trainer::is_last_batch() const { return impl_->progress.is_last_batch; }
void Trainer::stop() { impl_->should_stop = true; }
bool Trainer::should_stop() const { return impl_->should_stop; }
void Trainer::skip_epoch() { impl_->skip_epoch = true; }
bool Trainer::interrupted() const { return impl_->interrupted; }
const std::string& Trainer::interrupted_checkpoint() const { return impl_->interrupted_checkpoint; }

std::chrono::duration<double> Trainer::training_time() const {
  auto time = impl_->time_before;
  if (impl_->training_since) time += std::chrono::steady_clock::now() - *impl_->training_since;
  return time;
}

const TrainerOptions& Trainer::options() const { return impl_->options; }
torch::Device Trainer::device() const { return impl_->device; }

bool Trainer::has_optimizer() const { return impl_->optimizers.defined(); }

optim::Optimizer& Trainer::optimizer(std::int64_t index) const {
  if (index >= 0 && index < impl_->optimizers.size()) return impl_->optimizers.optimizer(index);
  throw Error({.what = "the run has no such optimizer",
               .value = "index " + std::to_string(index) + " of " + std::to_string(impl_->optimizers.size()),
               .where = {},
               .hint = impl_->optimizers.defined() ? "" : "return one from configure_optimizers"});
}
std::int64_t Trainer::num_optimizers() const { return impl_->optimizers.size(); }
const std::vector<LRSchedulerConfig>& Trainer::schedulers() const { return impl_->optimizers.schedulers(); }
void Trainer::set_schedulers(std::vector<LRSchedulerConfig> schedulers) {
  impl_->optimizers.schedulers() = std::move(schedulers);
}
std::int64_t Trainer::accumulate_grad_batches() const { return impl_->accumulate_grad_batches; }
void Trainer::set_accumulate_grad_batches(std::int64_t batches) {
  if (batches < 1) {
    throw Error({.what = "accumulate_grad_batches must be at least 1",
                 .value = std::to_string(batches),
                 .where = {},
                 .hint = {}});
  }
  impl_->accumulate_grad_batches = batches;
}
const DataLoader& Trainer::train_dataloader() const { return impl_->train_loader; }
void Trainer::update_batch_norm() { impl_->update_batch_norm(); }
std::string Trainer::explain_compiled() const { return impl_->compiled ? impl_->compiled->explain() : ""; }
const std::vector<Callback>& Trainer::callbacks() const { return impl_->callbacks; }
const std::vector<Logger>& Trainer::loggers() const { return impl_->loggers; }
std::string Trainer::log_dir() const { return impl_->log_dir(); }

}  // namespace levin
