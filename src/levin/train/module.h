// Module: a torch::nn::Module that knows its training, validation, test and prediction step.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/data_module.h>
#include <levin/train/hooks.h>
#include <levin/train/metric_log.h>
#include <levin/train/metrics.h>
#include <levin/train/optimizers.h>

#include <torch/nn/module.h>

#include <concepts>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

class Trainer;

/**
 * Base of models, as Lightning's LightningModule: a `torch::nn::Module` with the steps of each stage.
 *
 * Override `training_step` and `configure_optimizers` to fit; `validation_step`, `test_step` and `predict_step` as
 * needed. The Trainer sets train/eval and gradient modes around each of them.
 */
class LEVIN_API Module : public torch::nn::Module {
 public:
  using torch::nn::Module::Module;
  ~Module() override;

  /** The loss of a training batch, a scalar that requires grad; an undefined tensor skips the batch. */
  virtual torch::Tensor training_step(const Batch& batch, std::int64_t batch_idx);
  virtual void validation_step(const Batch& batch, std::int64_t batch_idx);
  virtual void test_step(const Batch& batch, std::int64_t batch_idx);
  /** The predictions for a batch; the Trainer moves them to the CPU and keeps them. */
  virtual Batch predict_step(const Batch& batch, std::int64_t batch_idx);
  virtual Optimizers configure_optimizers();

  // Hooks, in the order of Lightning; see CallbackImpl for their place beside the callbacks.
  virtual void setup(Stage) {}
  virtual void teardown(Stage) {}
#define LEVIN_HOOK(name) \
  virtual void name() {}
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name) \
  virtual void name(const Batch&, std::int64_t /*batch_idx*/) {}
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  virtual void on_before_zero_grad(optim::Optimizer&) {}
  virtual void on_before_backward(const torch::Tensor& /*loss*/) {}
  virtual void on_before_optimizer_step(optim::Optimizer&) {}
  virtual void on_exception(std::exception_ptr) {}
  /** More to keep in the checkpoint, under the key "levin_module"; `on_load_checkpoint` gets it back. */
  virtual Map on_save_checkpoint() { return {}; }
  virtual void on_load_checkpoint(const Map&) {}

  /** Logs a scalar under `name`; the options' defaults depend on the hook (see LogOptions). */
  void log(std::string_view name, const torch::Tensor& value, const LogOptions& options = {});
  void log(std::string_view name, double value, const LogOptions& options = {});
  /** Logs a metric object: computed and reset at the end of the epoch. */
  void log(std::string_view name, const metrics::Metric& metric, const LogOptions& options = {});

  /** Keeps hyperparameters with the model: saved in checkpoints and given to loggers. Merges into earlier ones. */
  void save_hyperparameters(const Map& hparams);
  const Map& hparams() const { return hparams_; }

  /** Keeps a metric's state with the run (saved in mid-epoch checkpoints) and returns it. */
  template <std::derived_from<metrics::Metric> M>
  M register_metric(std::string name, M metric) {
    metrics_.emplace_back(std::move(name), metric);
    return metric;
  }
  const std::vector<std::pair<std::string, metrics::Metric>>& registered_metrics() const { return metrics_; }

  /** The trainer of the current run; throws Error outside a run. */
  Trainer& trainer() const;
  bool has_trainer() const { return trainer_ != nullptr; }
  std::int64_t current_epoch() const;
  std::int64_t global_step() const;
  /** The device of the first parameter, or the CPU. */
  torch::Device device() const;

 private:
  friend class Trainer;

  Trainer* trainer_ = nullptr;
  Map hparams_;
  std::vector<std::pair<std::string, metrics::Metric>> metrics_;
};

/** A model and the hooks its class overrides; made from any Module where a Trainer takes one. */
class ModuleRef {
 public:
  template <std::derived_from<Module> M>
  ModuleRef(M& module) : module_(&module), hooks_(overridden_hooks<M, Module>()) {}
  /** From a holder (TORCH_MODULE) or smart pointer of a Module. */
  template <class Holder>
  requires requires(Holder& holder) {
    { *holder } -> std::convertible_to<Module&>;
  }
  ModuleRef(Holder& holder) : ModuleRef(*holder) {}

  Module& module() const { return *module_; }
  HookSet hooks() const { return hooks_; }

 private:
  Module* module_;
  HookSet hooks_;
};

}  // namespace levin
