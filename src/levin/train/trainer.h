// Trainer: the loop, the modes, logging and checkpoints, so that a model is only its steps.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/data_module.h>
#include <levin/data/loader.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/loggers/logger.h>
#include <levin/train/module.h>
#include <levin/train/train_state.h>
#include <levin/train/trainer_options.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

struct FitOptions {
  /** Resume from this file; "best" is the ModelCheckpoint's, "last" the newest in its folder, if there is one. */
  std::string ckpt_path = {};
  TrainState state = {};  ///< or from this state in memory
};

struct EvalOptions {
  std::string ckpt_path = {};      ///< load these weights first; "best" and "last" are those of the ModelCheckpoint
  bool verbose = true;             ///< print the metrics as a table
  bool return_predictions = true;  ///< of predict; false when a callback takes them batch by batch
};

/**
 * Runs a Module over data: fit, validate, test, predict.
 *
 *     levin::Trainer trainer({.max_epochs = 20});
 *     trainer.fit(model, train_loader, val_loader);
 *
 * Gradients are recorded in training steps alone, and each submodule's train/eval flag is as it was after a
 * validation. A checkpoint holds the whole state of a run: a fit resumed from it gives the same bits as one that was
 * never stopped.
 */
class LEVIN_API Trainer {
 public:
  explicit Trainer(TrainerOptions options = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  void fit(ModuleRef model, DataLoader train, DataLoader val = {}, FitOptions options = {});
  void fit(ModuleRef model, DataLoader train, FitOptions options);
  void fit(ModuleRef model, DataModuleRef data, FitOptions options = {});
  /** With the module's own loaders. */
  void fit(ModuleRef model, FitOptions options = {});

  /** Runs the validation loop once and returns its metrics. */
  Map validate(ModuleRef model, DataLoader val, EvalOptions options = {});
  Map validate(ModuleRef model, DataModuleRef data, EvalOptions options = {});
  Map validate(ModuleRef model, EvalOptions options = {});
  /** Runs the test loop once and returns its metrics. */
  Map test(ModuleRef model, DataLoader test, EvalOptions options = {});
  Map test(ModuleRef model, DataModuleRef data, EvalOptions options = {});
  Map test(ModuleRef model, EvalOptions options = {});
  /** The predictions of each batch, on the CPU; of several loaders one after the other. */
  std::vector<Batch> predict(ModuleRef model, DataLoader data, EvalOptions options = {});
  std::vector<Batch> predict(ModuleRef model, DataModuleRef data, EvalOptions options = {});
  std::vector<Batch> predict(ModuleRef model, EvalOptions options = {});

  /** Writes the state of the run (or of the last one, while its module lives) in Lightning's checkpoint layout; atomic.
   * Throws Error before the first run, and when the module is gone. */
  void save_checkpoint(const std::string& path, bool weights_only = false);
  /** The same state as a value; its tensors alias the run's. */
  Checkpoint dump_checkpoint(bool weights_only = false) const;
  /** The file that the fit was resumed from, else "". */
  const std::string& ckpt_path() const;

  /** The state of the run (or of the last one) as a value in memory; throws Error as save_checkpoint. */
  TrainState state() const;

  /** The latest value logged under `name`; when there is none, throws Error with the nearest name and `wanted_by`. */
  double metric(std::string_view name, std::string_view wanted_by = {}) const;
  std::optional<double> find_metric(std::string_view name) const;
  /** All metrics logged so far by name. */
  Map callback_metrics() const;
  /** The latest values that `log` gave to the loggers. */
  MetricValues logged_metrics() const;
  /** What the progress bar shows beside the counts. */
  MetricValues progress_bar_metrics() const;

  std::int64_t current_epoch() const;  ///< epochs completed
  std::int64_t global_step() const;    ///< optimizer steps taken, each optimizer's counted
  std::int64_t batch_idx() const;      ///< index of the running batch in its epoch; -1 before the first
  std::int64_t total_batches() const;  ///< training batches done in all epochs
  /** Training batches an epoch; kUnknownLength when the loader does not know. Known once the loaders are made. */
  std::int64_t num_training_batches() const;
  /** Validation batches of all loaders together; kUnknownLength as above. */
  std::int64_t num_val_batches() const;
  /** Optimizer steps of the whole fit by max_epochs and max_steps; kUnknownLength when nothing limits them. For
   * schedules made in configure_optimizers: asks for the training loader if need be. */
  std::int64_t estimated_stepping_batches();
  /** Which of several loaders the running batch is from; 0 with a single one. */
  std::int64_t dataloader_idx() const;
  bool sanity_checking() const;
  bool is_last_batch() const;
  /** Ends the fit after the running batch (not before min_epochs and min_steps). */
  void stop();
  bool should_stop() const;
  /** Ends the running epoch: from on_train_batch_start, before the batch is trained on (as returning -1 there in
   * Lightning). No validation takes place at such an end. */
  void skip_epoch();
  /** True when a signal (see TrainerOptions::handle_signals and InterruptGuard) ended the run early. */
  bool interrupted() const;
  /** The checkpoint that was saved when a signal ended the run; "" when none was. */
  const std::string& interrupted_checkpoint() const;
  std::chrono::duration<double> training_time() const;
  /** Where the run is now, for rows given to a logger. */
  LogPoint log_point() const;

  const TrainerOptions& options() const;
  torch::Device device() const;
  bool has_optimizer() const;
  /** An optimizer of the run; throws Error when there is none of this index. */
  optim::Optimizer& optimizer(std::int64_t index = 0) const;
  std::int64_t num_optimizers() const;
  const std::vector<LRSchedulerConfig>& schedulers() const;
  /** Puts other schedulers in place of the run's, for a callback that takes the learning rate over. */
  void set_schedulers(std::vector<LRSchedulerConfig> schedulers);
  /** Batches an optimizer step, as the options say unless a callback has changed it. */
  std::int64_t accumulate_grad_batches() const;
  /** Changes it from the next epoch on, or for this one in on_train_start and on_train_epoch_start. */
  void set_accumulate_grad_batches(std::int64_t batches);
  /** The training loader of the run; undefined before it was made. */
  const DataLoader& train_dataloader() const;
  /**
   * Computes the running statistics of all batch normalisations anew, by one pass of training_step over the training
   * data without gradients, and without what it logs (torch.optim.swa_utils.update_bn). From hooks of a fit, once the
   * weights are no longer those that the statistics were gathered with.
   */
  void update_batch_norm();
  /**
   * What TrainerOptions::compile has made of the steps of the last run: what was captured, fused and left to ATen, why
   * a step runs eagerly, and whether batches run in blocks or what prevents it. Empty where steps are not compiled.
   */
  std::string explain_compiled() const;
  const std::vector<Callback>& callbacks() const;
  /** The first callback of type Impl, or nullptr. */
  template <class Impl>
  Impl* find_callback() const {
    for (const Callback& callback : callbacks()) {
      if (auto* found = dynamic_cast<Impl*>(callback.operator->())) return found;
    }
    return nullptr;
  }
  const std::vector<Logger>& loggers() const;
  /** The folder of the run's files: the first logger's, else default_root_dir. */
  std::string log_dir() const;

  /** The internals, for the loops. */
  struct Impl;

 private:
  friend class Module;
  friend class TrainerOptimizer;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin
