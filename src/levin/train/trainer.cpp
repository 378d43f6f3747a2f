#include <levin/train/trainer.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/text_table.h>
#include <levin/train/callbacks/model_checkpoint.h>
#include <levin/train/callbacks/progress_bar.h>
#include <levin/train/checkpoint.h>
#include <levin/train/loggers/csv_logger.h>
#include <levin/train/summary.h>
#include <levin/train/trainer_impl.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace levin {
namespace {

[[noreturn]] void throw_option(const std::string& what, const std::string& value, const std::string& hint) {
  throw Error({.what = what, .value = value, .where = "TrainerOptions", .hint = hint});
}

void check_limit(const char* name, const Limit& limit) {
  if (!(limit.value() >= 0) || (limit.kind() == Limit::Kind::fraction && limit.value() > 1)) {
    throw_option(std::string(name) + " must be count(n) with n >= 0 or fraction(f) with f in [0, 1]",
                 format_double(limit.value()), "for instance count(10) or fraction(0.1)");
  }
}

void check(const TrainerOptions& o) {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t low, const char* hint) {
    if (value < low)
      throw_option(std::string(name) + " must be at least " + std::to_string(low), std::to_string(value), hint);
  };
  at_least("max_epochs", o.max_epochs, -1, "-1 stands for no limit");
  at_least("min_epochs", o.min_epochs, 0, "");
  at_least("max_steps", o.max_steps, -1, "-1 stands for no limit");
  at_least("min_steps", o.min_steps, 0, "");
  at_least("fast_dev_run", o.fast_dev_run, 0, "0 turns it off, n runs n batches of everything");
  at_least("check_val_every_n_epoch", o.check_val_every_n_epoch, 1, "");
  at_least("num_sanity_val_steps", o.num_sanity_val_steps, -1, "-1 stands for all batches");
  at_least("log_every_n_steps", o.log_every_n_steps, 0, "0 turns step rows off");
  at_least("accumulate_grad_batches", o.accumulate_grad_batches, 1, "");
  if (o.max_epochs >= 0 && o.min_epochs > o.max_epochs) {
    throw_option("min_epochs is larger than max_epochs",
                 std::to_string(o.min_epochs) + " and " + std::to_string(o.max_epochs), "");
  }
  if (o.max_steps >= 0 && o.min_steps > o.max_steps) {
    throw_option("min_steps is larger than max_steps",
                 std::to_string(o.min_steps) + " and " + std::to_string(o.max_steps), "");
  }
  if (o.gradient_clip_val && !(*o.gradient_clip_val > 0)) {
    throw_option("gradient_clip_val must be above 0", format_double(*o.gradient_clip_val),
                 "leave it out to train without clipping");
  }
  check_limit("limit_train_batches", o.limit_train_batches);
  check_limit("limit_val_batches", o.limit_val_batches);
  check_limit("limit_test_batches", o.limit_test_batches);
  check_limit("limit_predict_batches", o.limit_predict_batches);
  check_limit("val_check_interval", o.val_check_interval);
  if (o.val_check_interval.value() == 0)
    throw_option("val_check_interval must be above 0", "0", "use limit_val_batches = count(0) to turn validation off");
}

torch::Device choose_device(const TrainerOptions& options) {
  static const std::vector<std::string> known{"auto", "cpu", "cuda", "gpu", "mps"};
  const std::string& name = options.accelerator;
  if (std::find(known.begin(), known.end(), name) == known.end()) {
    throw_option("unknown accelerator", "\"" + name + "\"", did_you_mean(name, known));
  }
  const bool cuda = torch::cuda::is_available();
  if (name == "cpu" || (name == "auto" && !cuda && !torch::mps::is_available())) return torch::kCPU;
  if (name == "mps" || (name == "auto" && !cuda)) {
    if (torch::mps::is_available()) return torch::kMPS;
    throw_option("no Metal device is available", "accelerator = \"mps\"", "use \"cpu\" or \"auto\"");
  }
  const auto count = static_cast<std::int64_t>(torch::cuda::device_count());
  if (!cuda)
    throw_option("no CUDA device is available", "accelerator = \"" + name + "\"",
                 "use \"cpu\" or \"auto\", or a CUDA build of LibTorch");
  if (options.device < 0 || options.device >= count) {
    throw_option("device must be the index of a GPU, below " + std::to_string(count), std::to_string(options.device),
                 "");
  }
  return {torch::kCUDA, static_cast<c10::DeviceIndex>(options.device)};
}

/** Determinism and anomaly detection for the length of a run. */
class GlobalModes {
 public:
  explicit GlobalModes(const TrainerOptions& options)
      : deterministic_(at::globalContext().deterministicAlgorithms()),
        warn_only_(at::globalContext().deterministicAlgorithmsWarnOnly()),
        anomaly_(torch::autograd::AnomalyMode::is_enabled()) {
    if (options.deterministic) {
      ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
      at::globalContext().setDeterministicAlgorithms(true, false);
    }
    if (options.detect_anomaly) torch::autograd::AnomalyMode::set_enabled(true);
  }
  ~GlobalModes() {
    at::globalContext().setDeterministicAlgorithms(deterministic_, warn_only_);
    torch::autograd::AnomalyMode::set_enabled(anomaly_);
  }
  GlobalModes(const GlobalModes&) = delete;
  GlobalModes& operator=(const GlobalModes&) = delete;

 private:
  bool deterministic_, warn_only_, anomaly_;
};

}  // namespace

std::int64_t Limit::of(std::int64_t batches) const {
  if (kind_ == Kind::count) return std::min(batches, static_cast<std::int64_t>(value_));
  return static_cast<std::int64_t>(std::floor(static_cast<double>(batches) * value_));
}

Trainer::Impl::Impl(Trainer& trainer, TrainerOptions trainer_options)
    : self(trainer), options(std::move(trainer_options)) {
  check(options);
  device = choose_device(options);
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
  if (options.max_epochs < 0 && options.max_steps < 0 && !options.max_time) {
    console::warning("no max_epochs, max_steps or max_time was set: training stops after 1000 epochs");
    options.max_epochs = 1000;
  }
  loggers = options.logger.list();
  if (options.logger.wants_default()) loggers.push_back(CSVLogger({.save_dir = options.default_root_dir}));

  callbacks = options.callbacks;
  const auto has = [&](bool (CallbackImpl::*kind)() const) {
    return std::any_of(callbacks.begin(), callbacks.end(), [&](const Callback& c) { return ((*c).*kind)(); });
  };
  if (!options.enable_checkpointing && has(&CallbackImpl::is_checkpoint)) {
    throw_option("enable_checkpointing = false contradicts the ModelCheckpoint among the callbacks", "",
                 "drop one of the two");
  }
  if (!options.enable_progress_bar && has(&CallbackImpl::is_progress_bar)) {
    throw_option("enable_progress_bar = false contradicts the progress bar among the callbacks", "",
                 "drop one of the two");
  }
  if (options.enable_progress_bar && !has(&CallbackImpl::is_progress_bar)) callbacks.push_back(ProgressBarCallback());
  if (options.enable_checkpointing && !has(&CallbackImpl::is_checkpoint)) callbacks.push_back(ModelCheckpoint());
  std::stable_partition(callbacks.begin(), callbacks.end(), [](const Callback& c) { return !c->is_checkpoint(); });

  std::vector<std::string> keys;
  for (const Callback& callback : callbacks) {
    const std::string key = callback->state_key();
    if (key.empty()) continue;
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) {
      throw_option("two callbacks would save their state under one key", "\"" + key + "\"",
                   "give them different options or override state_key()");
    }
    keys.push_back(key);
  }
  for (const Callback& callback : callbacks) {
    for (std::size_t hook = 0; hook < hooked.size(); ++hook) {
      if (callback.hooks().has(static_cast<Hook>(hook))) hooked[hook].push_back(&*callback);
    }
  }
}

// What every stage shares: the module knows its trainer, modes are set and put back, hooks and loggers see the end.
void Trainer::Impl::run(ModuleRef ref, Stage stage, DataModule* data, const std::function<void()>& body) {
  if (torch::InferenceMode::is_enabled() && stage == Stage::fit) {
    throw Error({.what = "fit was called inside torch::InferenceMode, where gradients cannot be recorded",
                 .value = {},
                 .where = {},
                 .hint = "call it outside the guard's scope"});
  }
  model = &ref.module();
  model_hooks = ref.hooks();
  if (model->has_trainer() && model->trainer_ != &self) {
    throw Error(
        {.what = "the module is in another Trainer's run", .value = {}, .where = {}, .hint = "train a copy of it"});
  }
  const GlobalModes modes(options);
  const bool nested = model->trainer_ == &self;
  model->trainer_ = &self;
  struct Release {
    Module* module;
    bool nested;
    ~Release() {
      if (!nested) module->trainer_ = nullptr;
    }
  } release{model, nested};

  const bool fitting = stage == Stage::fit;
  active_log = fitting ? &train_log : stage == Stage::validate ? &val_log : &test_log;
  try {
    if (data) {
      data->prepare_data();
      data->setup(stage);
    }
    call_callbacks(Hook::setup, &CallbackImpl::setup, stage);
    call_module(Hook::setup, &Module::setup, stage);
    context = Hook::none;
    model->to(device);
    if (fitting || options.inference_mode == false) {
      const torch::AutoGradMode mode(fitting);
      body();
    } else {
      const torch::InferenceMode mode;
      body();
    }
    call_callbacks(Hook::teardown, &CallbackImpl::teardown, stage);
    call_module(Hook::teardown, &Module::teardown, stage);
    context = Hook::none;
    if (data) data->teardown(stage);
    for (const Logger& logger : loggers) logger->finalize("success");
  } catch (...) {
    const std::exception_ptr error = std::current_exception();
    if (training_since) {
      time_before = self.training_time();
      training_since.reset();
    }
    sanity_checking = false;
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
    if (model_hooks.has(Hook::on_exception)) quietly([&] { model->on_exception(error); });
    for (const Logger& logger : loggers) quietly([&] { logger->finalize("failed"); });
    context = Hook::none;
    throw;
  }
}

void Trainer::Impl::fit(DataModule* data, DataLoader train, DataLoader val, const FitOptions& fit_options) {
  if (data) {
    train = data->train_dataloader();
    val = data->val_dataloader();
  }
  if (!train.defined()) {
    throw Error({.what = "fit needs a training loader",
                 .value = data ? "train_dataloader() returned none" : "an undefined DataLoader",
                 .where = {},
                 .hint = data ? "override train_dataloader() in the DataModule" : "pass one over a dataset"});
  }
  train_loader = std::move(train);
  val_loader = std::move(val);
  num_training_batches = options.limit_train_batches.of(train_loader.size());
  num_val_batches = val_loader.defined() ? options.limit_val_batches.of(val_loader.size()) : 0;
  if (num_training_batches == 0 && options.limit_train_batches.value() > 0) {
    throw Error(
        {.what = "the training loader yields no batch",
         .value = std::to_string(train_loader.size()) + " batches, limit_train_batches keeps 0",
         .where = {},
         .hint = "use more data, a smaller batch_size (with drop_last a short batch is dropped) or a larger limit"});
  }
  val_check_batch = options.val_check_interval.kind() == Limit::Kind::count
                        ? static_cast<std::int64_t>(options.val_check_interval.value())
                        : std::max<std::int64_t>(1, options.val_check_interval.of(num_training_batches));
  if (val_check_batch > std::max<std::int64_t>(num_training_batches, 1)) {
    throw Error({.what = "val_check_interval is larger than the number of training batches",
                 .value = "count(" + std::to_string(val_check_batch) + ") of " + std::to_string(num_training_batches),
                 .where = "TrainerOptions",
                 .hint = "use a smaller count, or fraction(1.0) to validate at the end of each epoch"});
  }
  if (!model->is_training()) {
    console::info("the module was in eval mode: fit sets it to train mode");
    model->train();
  }

  const std::string ckpt_path = fit_options.ckpt_path.empty() ? "" : resolve_ckpt_path(fit_options.ckpt_path);
  PickleDict checkpoint;
  if (!ckpt_path.empty()) {
    checkpoint = load_checkpoint(ckpt_path);
    load_weights(checkpoint, ckpt_path);
  }
  context = Hook::configure;
  optimizers = model->configure_optimizers();
  context = Hook::none;
  for (const LRSchedulerConfig& config : optimizers.schedulers()) {
    if (!config.scheduler.defined()) {
      throw Error({.what = "configure_optimizers returned an empty scheduler",
                   .value = {},
                   .where = {},
                   .hint = "set .scheduler"});
    }
    if (config.frequency < 1) {
      throw Error({.what = "a scheduler's frequency must be at least 1",
                   .value = std::to_string(config.frequency),
                   .where = "LRSchedulerConfig",
                   .hint = {}});
    }
    if (config.scheduler.needs_metric() && config.monitor.empty()) {
      throw Error({.what = "ReduceLROnPlateau needs the name of a logged metric",
                   .value = {},
                   .where = "LRSchedulerConfig::monitor",
                   .hint = "set it, for instance .monitor = \"val_loss\""});
    }
  }
  if (!optimizers.defined()) console::warning("configure_optimizers returned no optimizer: fit will not train");

  should_stop = interrupted = resumed_mid_epoch = false;
  pending = Tail::none;
  on_fit_start();
  for (const Logger& logger : loggers) logger->log_hyperparams(model->hparams());
  if (options.enable_model_summary.value_or(options.enable_progress_bar)) console::info(summarize(*model));
  if (!ckpt_path.empty()) restore(checkpoint, ckpt_path);
  if (epochs_done() && options.max_epochs > 0 && progress.epoch.current.completed > 0) {
    console::info("nothing to train: max_epochs = " + std::to_string(options.max_epochs) + " is reached");
  }
  if (!resumed_mid_epoch) run_sanity_check();
  run_fit();
  on_fit_end();
}

Map Trainer::Impl::evaluate(Stage stage, DataLoader loader, const EvalOptions& eval_options) {
  if (!loader.defined()) {
    throw Error({.what = std::string(stage == Stage::test ? "test" : "validate") + " needs a loader",
                 .value = "none",
                 .where = {},
                 .hint = stage == Stage::test ? "pass one, or override test_dataloader() in the DataModule"
                                              : "pass one, or override val_dataloader() in the DataModule"});
  }
  if (!eval_options.ckpt_path.empty()) {
    const std::string path = resolve_ckpt_path(eval_options.ckpt_path);
    load_weights(load_checkpoint(path), path);
  }
  MetricLog* log = nullptr;
  if (stage == Stage::test) {
    const ModeGuard eval_mode(*model, /*train=*/false);
    run_test(loader, options.limit_test_batches.of(loader.size()));
    log = &test_log;
  } else {
    val_loader = std::move(loader);
    val_log.clear();
    // Callbacks that steer a fit tell by the training batches that this is none.
    const std::int64_t batches_of_fit = std::exchange(num_training_batches, 0);
    num_val_batches = options.limit_val_batches.of(val_loader.size());
    run_validation(num_val_batches);
    num_training_batches = batches_of_fit;
    log = &val_log;
  }
  Map results;
  for (const auto& name : metric_names()) {
    if (const auto value = log->find(name)) results[name] = *value;
  }
  if (eval_options.verbose && !results.empty()) {
    TextTable table({std::string(stage == Stage::test ? "test" : "validation") + " metric", "value"});
    for (const auto& [name, value] : results) table.add_row({name, format_metric(value.as_double())});
    console::write(table.to_string());
  }
  return results;
}

std::vector<Batch> Trainer::Impl::predict(DataLoader loader, const EvalOptions& eval_options) {
  if (!loader.defined()) {
    throw Error({.what = "predict needs a loader",
                 .value = "none",
                 .where = {},
                 .hint = "pass one, or override predict_dataloader() in the DataModule"});
  }
  if (!eval_options.ckpt_path.empty()) {
    const std::string path = resolve_ckpt_path(eval_options.ckpt_path);
    load_weights(load_checkpoint(path), path);
  }
  const ModeGuard eval_mode(*model, /*train=*/false);
  return run_predict(loader, options.limit_predict_batches.of(loader.size()));
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

void Trainer::fit(ModuleRef model, DataLoader train, DataLoader val, FitOptions options) {
  impl_->run(model, Stage::fit, nullptr, [&] { impl_->fit(nullptr, std::move(train), std::move(val), options); });
}
void Trainer::fit(ModuleRef model, DataLoader train, FitOptions options) {
  fit(model, std::move(train), {}, std::move(options));
}
void Trainer::fit(ModuleRef model, DataModule& data, FitOptions options) {
  impl_->run(model, Stage::fit, &data, [&] { impl_->fit(&data, {}, {}, options); });
}

Map Trainer::validate(ModuleRef model, DataLoader val, EvalOptions options) {
  Map results;
  impl_->run(model, Stage::validate, nullptr,
             [&] { results = impl_->evaluate(Stage::validate, std::move(val), options); });
  return results;
}
Map Trainer::validate(ModuleRef model, DataModule& data, EvalOptions options) {
  Map results;
  impl_->run(model, Stage::validate, &data,
             [&] { results = impl_->evaluate(Stage::validate, data.val_dataloader(), options); });
  return results;
}
Map Trainer::test(ModuleRef model, DataLoader test, EvalOptions options) {
  Map results;
  impl_->run(model, Stage::test, nullptr, [&] { results = impl_->evaluate(Stage::test, std::move(test), options); });
  return results;
}
Map Trainer::test(ModuleRef model, DataModule& data, EvalOptions options) {
  Map results;
  impl_->run(model, Stage::test, &data,
             [&] { results = impl_->evaluate(Stage::test, data.test_dataloader(), options); });
  return results;
}
std::vector<Batch> Trainer::predict(ModuleRef model, DataLoader data, EvalOptions options) {
  std::vector<Batch> predictions;
  impl_->run(model, Stage::predict, nullptr, [&] { predictions = impl_->predict(std::move(data), options); });
  return predictions;
}
std::vector<Batch> Trainer::predict(ModuleRef model, DataModule& data, EvalOptions options) {
  std::vector<Batch> predictions;
  impl_->run(model, Stage::predict, &data, [&] { predictions = impl_->predict(data.predict_dataloader(), options); });
  return predictions;
}

std::int64_t Trainer::current_epoch() const { return impl_->progress.epoch.current.completed; }
std::int64_t Trainer::global_step() const { return impl_->progress.optimizer_step.total.completed; }
std::int64_t Trainer::batch_idx() const { return std::max<std::int64_t>(impl_->progress.batch.current.ready - 1, 0); }
std::int64_t Trainer::total_batches() const { return impl_->progress.batch.total.completed; }
std::int64_t Trainer::num_training_batches() const { return impl_->num_training_batches; }
std::int64_t Trainer::num_val_batches() const { return impl_->num_val_batches; }
bool Trainer::sanity_checking() const { return impl_->sanity_checking; }
bool Trainer::is_last_batch() const { return impl_->progress.is_last_batch; }
void Trainer::stop() { impl_->should_stop = true; }
bool Trainer::should_stop() const { return impl_->should_stop; }
bool Trainer::interrupted() const { return impl_->interrupted; }

std::chrono::duration<double> Trainer::training_time() const {
  auto time = impl_->time_before;
  if (impl_->training_since) time += std::chrono::steady_clock::now() - *impl_->training_since;
  return time;
}

const TrainerOptions& Trainer::options() const { return impl_->options; }
torch::Device Trainer::device() const { return impl_->device; }

bool Trainer::has_optimizer() const { return impl_->optimizers.defined(); }

optim::Optimizer& Trainer::optimizer() const {
  if (impl_->optimizers.defined()) return impl_->optimizers.optimizer();
  throw Error(
      {.what = "the run has no optimizer", .value = {}, .where = {}, .hint = "return one from configure_optimizers"});
}
const std::vector<LRSchedulerConfig>& Trainer::schedulers() const { return impl_->optimizers.schedulers(); }
const std::vector<Callback>& Trainer::callbacks() const { return impl_->callbacks; }
const std::vector<Logger>& Trainer::loggers() const { return impl_->loggers; }
std::string Trainer::log_dir() const { return impl_->log_dir(); }

}  // namespace levin
