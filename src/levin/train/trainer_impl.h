// The state of a Trainer and the parts that its loops share; not installed for users.
#pragma once

#include <levin/train/checkpoint_io/pickle_value.h>
#include <levin/train/progress.h>
#include <levin/train/trainer.h>

#include <torch/nn/module.h>
#include <torch/types.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace levin {

namespace compile {
class OptimizerStage;
}

/** Keeps the train/eval flag of every submodule of a tree and puts them back on destruction. */
class ModeGuard {
 public:
  explicit ModeGuard(torch::nn::Module& root);
  ~ModeGuard();
  ModeGuard(const ModeGuard&) = delete;
  ModeGuard& operator=(const ModeGuard&) = delete;

 private:
  std::vector<std::pair<torch::nn::Module*, bool>> flags_;
};

/** What of a training batch was still to do when a checkpoint was taken: a resumed run does it first. */
enum class Tail {
  none,
  batch,             ///< saved in on_train_batch_end: all that follows it
  validation,        ///< the validation that is due has not come to its end
  after_validation,  ///< saved in on_validation_end: what follows the validation
};

enum class LoaderKind { train, val, test, predict };

class CompiledStages;

struct Loaders {
  DataLoader train = {}, val = {}, test = {}, predict = {};
};

struct Trainer::Impl {
  Impl(Trainer& trainer, TrainerOptions trainer_options);
  ~Impl();

  Trainer& self;
  TrainerOptions options;
  torch::Device device{torch::kCPU};
  std::vector<Callback> own_callbacks;  // of the options and by default
  std::vector<Callback> callbacks;      // of the run: with those of configure_callbacks
  std::array<std::vector<CallbackImpl*>, static_cast<std::size_t>(Hook::count_)> hooked;
  std::vector<Logger> loggers;

  // The run under way, or the last one.
  Module* model = nullptr;
  Lifetime::Watch model_life, data_life;  // they may end before the trainer does
  HookSet model_hooks;
  DataModule* data = nullptr;
  HookSet data_hooks;
  bool transfers_by_hook = false;  // a batch transfer hook is overridden
  Loaders given_loaders;
  bool loaders_given = false;  // by the caller; otherwise the data module or the module has them
  Optimizers optimizers;
  DataLoader train_loader, val_loader;
  std::optional<Map> train_loader_state;                      // of a checkpoint, for the loader to come
  std::int64_t train_batches_to_skip = 0;                     // the same, from a file that holds no loader state
  std::int64_t train_loaded_epoch = 0, val_loaded_epoch = 0;  // when the loaders were made
  FitProgress progress;
  std::int64_t num_training_batches = 0, val_check_batch = 0;
  bool train_length_known = true;
  std::vector<std::int64_t> num_val_batches;  // of each validation loader
  std::int64_t dataloader_idx = 0, num_dataloaders = 1;
  bool running = false, fitting = false;
  bool sanity_checking = false;
  bool should_stop = false, skip_epoch = false;
  bool interrupted = false;
  std::string interrupted_checkpoint;
  std::string ckpt_path;  // that the fit was resumed from
  bool resumed_mid_epoch = false;
  bool resumed = false;
  Tail pending = Tail::none;
  bool last_batch_stepped = false;
  std::int64_t accumulate_grad_batches = 1;  // of the options, or of a callback that changes it
  bool loss_missing = false;  // training_step returned none for the last batch
  std::int64_t toggled = -1;  // the optimizer whose parameters alone require grad
  std::vector<std::pair<at::Tensor, bool>> toggled_flags;
  std::chrono::duration<double> time_before{0};  // of the runs that this one resumes
  std::optional<std::chrono::steady_clock::time_point> training_since;
  std::chrono::steady_clock::time_point last_validation;

  // Logging.
  LogClock log_clock = 0;
  MetricLog train_log{log_clock, /*training=*/true}, val_log{log_clock, false}, test_log{log_clock, false};
  MetricLog* active_log = nullptr;  // of the stage under way
  MetricLog* recent_log = nullptr;  // of the epoch that ended last
  Hook context = Hook::none;        // who calls `log` now

  std::unique_ptr<CompiledStages> compiled;  // null: steps run eagerly

  // --- entry points (trainer.cpp) ---
  void run(ModuleRef ref, Stage stage, const DataModuleRef* data_ref, const std::function<void()>& body);
  void give_loaders(Loaders loaders) { given_loaders = std::move(loaders), loaders_given = true; }
  void give_no_loaders() { given_loaders = {}, loaders_given = false; }
  Map evaluate_run(ModuleRef ref, Stage stage, const DataModuleRef* data_ref, const EvalOptions& eval_options);
  std::vector<Batch> predict_run(ModuleRef ref, const DataModuleRef* data_ref, const EvalOptions& eval_options);
  void release() { model->trainer_ = nullptr, running = false; }
  void begin_run(Stage stage);
  void end_in_error(std::exception_ptr error);
  void set_callbacks();
  Module& living_model(const char* purpose) const;
  void log_hyperparams() const;
  void fit(const FitOptions& fit_options);
  Map evaluate(Stage stage, const EvalOptions& eval_options);
  std::vector<Batch> predict(const EvalOptions& eval_options);
  void save_interrupted();

  // --- loaders and batches (run_data.cpp) ---
  DataLoader request_loader(LoaderKind kind);
  void setup_train_loader();
  void setup_val_loader();
  bool reload_due(LoaderKind kind) const;
  void position_train_loader();
  std::vector<std::int64_t> eval_limits(const DataLoader& loader, const Limit& limit, const char* option) const;
  void receive(Batch& batch);

  // --- the loops (fit_loop.cpp, eval_loop.cpp) ---
  void run_fit();
  void run_epoch();
  std::int64_t begin_batch();
  void end_batch(std::int64_t steps_before);
  bool train_block();
  std::int64_t batches_until_event() const;
  void finish_batch(std::int64_t batch_idx);
  void finish_epoch();
  bool validation_due(std::int64_t batch_idx) const;
  bool epochs_done() const;
  bool steps_done() const;
  bool stop_now() const;
  bool time_is_up() const;

  void run_sanity_check();
  void run_validation(std::span<const std::int64_t> batches);
  void run_test(DataLoader& loader, std::span<const std::int64_t> batches);
  std::vector<Batch> run_predict(DataLoader& loader, std::span<const std::int64_t> batches, bool keep);
  /** False when a signal ended it early. */
  bool eval_batches(Stage stage, DataLoader& loader, std::span<const std::int64_t> batches, Progress* counts,
                    const std::function<void(const Batch&, std::int64_t)>& step);

  // --- optimization (optimization.cpp) ---
  /** The batches that share an optimizer step: [begin, begin + size) of the epoch. */
  struct Window {
    std::int64_t index, begin, size;
    bool first, last;  // of this batch
  };
  Window window_of(std::int64_t batch_idx) const;
  void train_batch(const Batch& batch, std::int64_t batch_idx);
  void optimize(std::int64_t index, const Batch& batch, std::int64_t batch_idx, const Window& window);
  void compute_gradients(std::int64_t index, const Batch& batch, std::int64_t batch_idx, const Window& window);
  void zero_grad(std::int64_t index);
  bool accumulating() const;
  void forget_gradients();
  void clear_gradients_for_validation();
  void update_batch_norm();
  void backward(const torch::Tensor& loss);
  void update_parameters(std::int64_t index, compile::OptimizerStage* flat = nullptr);
  void correct_short_window(std::int64_t index, std::int64_t batch_idx, const Window& window);
  void clip_gradients(optim::Optimizer& optimizer, double value, ClipAlgorithm algorithm);
  void toggle(std::int64_t index);
  void untoggle();
  void step_schedulers(Interval interval, bool plateau);

  // --- checkpoints (train_state.cpp) ---
  std::string resolve_ckpt_path(const std::string& path, Stage stage) const;
  void load_weights(const PickleDict& checkpoint, const std::string& where);
  PickleDict capture(bool weights_only) const;
  void restore(const PickleDict& state, const std::string& where);
  void restore_data(const PickleDict& state);

  // --- logging ---
  ProfilerImpl* profiler() const { return options.profiler.get(); }
  void log_to_loggers(MetricValues values, std::int64_t step);
  void log_eval_step();
  std::optional<double> find_metric(std::string_view name) const;
  std::vector<std::string> metric_names() const;
  std::string log_dir() const;

  // --- hooks: callbacks in their order, then the module ---
  template <class... P, class... A>
  void call_callbacks(Hook hook, void (CallbackImpl::*method)(Trainer&, Module&, P...), A&&... args) {
    for (CallbackImpl* callback : hooked[static_cast<std::size_t>(hook)]) {
      context = hook;
      const ProfiledAction action(profiler(), hook);
      (callback->*method)(self, *model, args...);
    }
  }
  template <class... P, class... A>
  void call_module(Hook hook, void (Module::*method)(P...), A&&... args) {
    if (!model_hooks.has(hook)) return;
    context = hook;
    const ProfiledAction action(profiler(), hook);
    (model->*method)(args...);
  }
#define LEVIN_HOOK(name)                             \
  void name() {                                      \
    call_callbacks(Hook::name, &CallbackImpl::name); \
    call_module(Hook::name, &Module::name);          \
    context = Hook::none;                            \
  }
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name)                                               \
  void name(const Batch& batch, std::int64_t batch_idx) {              \
    call_callbacks(Hook::name, &CallbackImpl::name, batch, batch_idx); \
    call_module(Hook::name, &Module::name, batch, batch_idx);          \
    context = Hook::none;                                              \
  }
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
};

}  // namespace levin
