// Module: a torch::nn::Module that knows its training, validation, test and prediction step.
#pragma once

#include <levin/core/export.h>
#include <levin/core/lifetime.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/data_module.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/hooks.h>
#include <levin/train/metric_log.h>
#include <levin/train/metrics.h>
#include <levin/train/optimizers.h>
#include <levin/train/trainer_optimizer.h>
#include <levin/train/trainer_options.h>

#include <torch/nn/module.h>

#include <concepts>
#include <exception>
#include <functional>
#include <initializer_list>
#include <optional>
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

  // --- the steps ---

  /** The loss of a training batch, a scalar that requires grad; an undefined tensor skips the batch. */
  virtual torch::Tensor training_step(const Batch& batch, std::int64_t batch_idx);
  /**
   * With several optimizers: the loss of optimizer `optimizer_idx`, asked for each of them in turn while only its
   * parameters require grad. By default calls the form above.
   */
  virtual torch::Tensor training_step(const Batch& batch, std::int64_t batch_idx, std::int64_t optimizer_idx);
  virtual void validation_step(const Batch& batch, std::int64_t batch_idx);
  /** With several loaders: a batch of loader `dataloader_idx`. By default calls the form above; the same below. */
  virtual void validation_step(const Batch& batch, std::int64_t batch_idx, std::int64_t dataloader_idx);
  virtual void test_step(const Batch& batch, std::int64_t batch_idx);
  virtual void test_step(const Batch& batch, std::int64_t batch_idx, std::int64_t dataloader_idx);
  /** The predictions for a batch; the Trainer moves them to the CPU and keeps them. */
  virtual Batch predict_step(const Batch& batch, std::int64_t batch_idx);
  virtual Batch predict_step(const Batch& batch, std::int64_t batch_idx, std::int64_t dataloader_idx);

  // --- what a run is made of ---

  virtual Optimizers configure_optimizers();
  /** Callbacks that belong to the model; they replace the Trainer's of the same type. */
  virtual std::vector<Callback> configure_callbacks() { return {}; }
  /** Builds layers that depend on the data; called once the data are set up, in every stage. */
  virtual void configure_model() {}
  /** Data of the module's own, for runs without loaders and without a DataModule. */
  virtual void prepare_data() {}
  virtual DataLoader train_dataloader() { return {}; }
  virtual DataLoader val_dataloader() { return {}; }
  virtual DataLoader test_dataloader() { return {}; }
  virtual DataLoader predict_dataloader() { return {}; }

  // --- hooks, in the order of Lightning; see CallbackImpl for their place beside the callbacks ---

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
  /** The checkpoint as it will be written: add what is the module's own; `on_load_checkpoint` sees it again. */
  virtual void on_save_checkpoint(Checkpoint&) {}
  /** The checkpoint before its weights are loaded. */
  virtual void on_load_checkpoint(const Checkpoint&) {}

  // --- hooks that stand for what the Trainer does; call the base's from an override to do that, too ---

  virtual Batch on_before_batch_transfer(Batch batch, std::int64_t dataloader_idx);
  /** By default `batch.to(device)`. */
  virtual Batch transfer_batch_to_device(Batch batch, torch::Device device, std::int64_t dataloader_idx);
  virtual Batch on_after_batch_transfer(Batch batch, std::int64_t dataloader_idx);
  virtual void backward(const torch::Tensor& loss);
  /** `closure` computes the loss and its gradients; by default `optimizer.step(closure)`. */
  virtual void optimizer_step(std::int64_t epoch, std::int64_t batch_idx, TrainerOptimizer& optimizer,
                              const std::function<void()>& closure);
  virtual void optimizer_zero_grad(std::int64_t epoch, std::int64_t batch_idx, optim::Optimizer& optimizer);
  /** `metric` is the monitored value for a scheduler that needs one. */
  virtual void lr_scheduler_step(optim::LRScheduler& scheduler, std::optional<double> metric);
  /** By default clips as the Trainer's options say. */
  virtual void configure_gradient_clipping(optim::Optimizer& optimizer, std::optional<double> gradient_clip_val,
                                           ClipAlgorithm gradient_clip_algorithm);
  /** Before a validation within fit, between accumulation windows; by default forgets the gradients, but in manual
   * optimization leaves them to the module. */
  virtual void on_validation_model_zero_grad();
  virtual void on_validation_model_eval() { eval(); }
  /** After a validation the Trainer puts each submodule's flag back, unless this is overridden. */
  virtual void on_validation_model_train() { train(); }
  virtual void on_test_model_eval() { eval(); }
  virtual void on_test_model_train() { train(); }
  virtual void on_predict_model_eval() { eval(); }
  virtual void on_predict_model_train() { train(); }

  // --- manual optimization ---

  /** False: training_step runs backward and the optimizers itself (`manual_backward`, `optimizers()`). */
  bool automatic_optimization() const { return automatic_optimization_; }
  void set_automatic_optimization(bool automatic) { automatic_optimization_ = automatic; }
  /** The optimizers of the run; throws Error outside a fit. */
  std::vector<TrainerOptimizer> optimizers() const;
  TrainerOptimizer optimizer(std::int64_t index = 0) const;
  /** The schedulers of the run; in manual optimization the module steps them. */
  std::vector<optim::LRScheduler> lr_schedulers() const;
  /** `loss.backward()` with the hooks around it. */
  void manual_backward(const torch::Tensor& loss);
  /** Clips the gradients of an optimizer's parameters; for manual optimization and configure_gradient_clipping. */
  void clip_gradients(optim::Optimizer& optimizer, double gradient_clip_val,
                      ClipAlgorithm gradient_clip_algorithm = ClipAlgorithm::norm);

  // --- logging ---

  /** Logs a scalar under `name`; the options' defaults depend on the hook (see LogOptions). */
  void log(std::string_view name, const torch::Tensor& value, const LogOptions& options = {});
  void log(std::string_view name, double value, const LogOptions& options = {});
  /**
   * Logs a metric object that was registered (register_metric): its value for the batch on_step, its value over the
   * epoch on_epoch; it is reset at the end of the epoch.
   */
  void log(std::string_view name, const metrics::Metric& metric, const LogOptions& options = {});
  /** Logs several values with the same options: `log_dict({{"loss", loss}, {"acc", acc}})`. */
  void log_dict(std::initializer_list<std::pair<std::string_view, LogValue>> values, const LogOptions& options = {});
  void log_dict(const std::vector<std::pair<std::string, LogValue>>& values, const LogOptions& options = {});

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

  Lifetime lifetime_;
  Trainer* trainer_ = nullptr;
  bool automatic_optimization_ = true;
  Map hparams_;
  std::vector<std::pair<std::string, metrics::Metric>> metrics_;
};

/** A data module and the hooks its class overrides; made from any DataModule where a Trainer takes one. */
class DataModuleRef {
 public:
  template <std::derived_from<DataModule> D>
  DataModuleRef(D& data) : data_(&data), hooks_(overridden_hooks<D, DataModule>()) {}

  DataModule& data() const { return *data_; }
  HookSet hooks() const { return hooks_; }

 private:
  DataModule* data_;
  HookSet hooks_;
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
