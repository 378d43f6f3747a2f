// The state of a Trainer and the parts that its loops share; not installed for users.
#pragma once

#include <levin/train/checkpoint_io/pickle_value.h>
#include <levin/train/progress.h>
#include <levin/train/trainer.h>

#include <torch/torch.h>

#include <array>
#include <functional>

namespace levin {

/** Sets train or eval on a module tree and puts every submodule's flag back on destruction. */
class ModeGuard {
 public:
  ModeGuard(torch::nn::Module& root, bool train);
  ~ModeGuard();
  ModeGuard(const ModeGuard&) = delete;
  ModeGuard& operator=(const ModeGuard&) = delete;

 private:
  std::vector<std::pair<torch::nn::Module*, bool>> flags_;
};

/** What of a training batch was still to do when a checkpoint was taken: a resumed run does it first. */
enum class Tail { none, batch, validation };

struct Trainer::Impl {
  Impl(Trainer& trainer, TrainerOptions trainer_options);

  Trainer& self;
  TrainerOptions options;
  torch::Device device{torch::kCPU};
  std::vector<Callback> callbacks;
  std::array<std::vector<CallbackImpl*>, static_cast<std::size_t>(Hook::count_)> hooked;
  std::vector<Logger> loggers;

  // The run under way, or the last one.
  Module* model = nullptr;
  HookSet model_hooks;
  Optimizers optimizers;
  DataLoader train_loader, val_loader;
  FitProgress progress;
  std::int64_t num_training_batches = 0, num_val_batches = 0, val_check_batch = 0;
  bool sanity_checking = false;
  bool should_stop = false;
  bool interrupted = false;
  bool resumed_mid_epoch = false;
  Tail pending = Tail::none;
  bool last_batch_stepped = false;
  std::chrono::duration<double> time_before{0};  // of the runs that this one resumes
  std::optional<std::chrono::steady_clock::time_point> training_since;

  // Logging.
  MetricLog train_log, val_log, test_log;
  MetricLog* active_log = nullptr;  // of the stage under way
  MetricLog* recent_log = nullptr;  // of the epoch that ended last
  Hook context = Hook::none;        // who calls `log` now

  // --- entry points (trainer.cpp) ---
  void run(ModuleRef ref, Stage stage, DataModule* data, const std::function<void()>& body);
  void fit(DataModule* data, DataLoader train, DataLoader val, const FitOptions& fit_options);
  Map evaluate(Stage stage, DataLoader loader, const EvalOptions& eval_options);
  std::vector<Batch> predict(DataLoader loader, const EvalOptions& eval_options);

  // --- the loops (fit_loop.cpp, eval_loop.cpp) ---
  void run_fit();
  void run_epoch();
  void train_batch(const Batch& batch, std::int64_t batch_idx);
  void finish_batch(std::int64_t batch_idx);
  void optimizer_step();
  void step_schedulers(Interval interval, bool plateau);
  void finish_epoch();
  bool validation_due(std::int64_t batch_idx) const;
  bool epochs_done() const;
  bool steps_done() const;
  bool stop_now() const;
  bool time_is_up() const;

  void run_sanity_check();
  void run_validation(std::int64_t batches);
  void run_test(DataLoader& loader, std::int64_t batches);
  std::vector<Batch> run_predict(DataLoader& loader, std::int64_t batches);
  void eval_batches(Stage stage, DataLoader& loader, std::int64_t batches,
                    const std::function<void(const Batch&, std::int64_t)>& step);

  // --- checkpoints (train_state.cpp) ---
  std::string resolve_ckpt_path(const std::string& path) const;
  void load_weights(const PickleDict& checkpoint, const std::string& where);
  PickleDict capture(bool weights_only) const;
  void restore(const PickleDict& state, const std::string& where);

  // --- logging ---
  void log_to_loggers(const MetricValues& values, std::int64_t step);
  std::optional<double> find_metric(std::string_view name) const;
  std::vector<std::string> metric_names() const;
  std::string log_dir() const;

  // --- hooks: callbacks in their order, then the module ---
  template <class... P, class... A>
  void call_callbacks(Hook hook, void (CallbackImpl::*method)(Trainer&, Module&, P...), A&&... args) {
    for (CallbackImpl* callback : hooked[static_cast<std::size_t>(hook)]) {
      context = hook;
      (callback->*method)(self, *model, args...);
    }
  }
  template <class... P, class... A>
  void call_module(Hook hook, void (Module::*method)(P...), A&&... args) {
    if (!model_hooks.has(hook)) return;
    context = hook;
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
