// Trainer: the loop, the modes, logging and checkpoints, so that a model is only its steps.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/data_module.h>
#include <levin/data/loader.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/loggers/logger.h>
#include <levin/train/module.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/** How many batches of a loader to use: `count(10)` or `fraction(0.1)`. */
class Limit {
 public:
  enum class Kind { count, fraction };

  constexpr Kind kind() const { return kind_; }
  constexpr double value() const { return value_; }
  /** The number of batches of `batches` that this allows. */
  std::int64_t of(std::int64_t batches) const;

 private:
  friend constexpr Limit count(std::int64_t batches);
  friend constexpr Limit fraction(double share);
  constexpr Limit(Kind kind, double value) : kind_(kind), value_(value) {}

  Kind kind_;
  double value_;
};

/** At most so many batches. */
constexpr Limit count(std::int64_t batches) { return {Limit::Kind::count, static_cast<double>(batches)}; }
/** This share of the batches, rounded down. */
constexpr Limit fraction(double share) { return {Limit::Kind::fraction, share}; }

enum class ClipAlgorithm { norm, value };

/** Options of a Trainer, in the order of Lightning's signature. */
struct TrainerOptions {
  std::string accelerator = "auto";  ///< "cpu", "cuda" (also "gpu"), "mps", or "auto": a GPU where there is one
  std::int64_t device = 0;           ///< the index of the GPU
  Loggers logger = true;             ///< true: a CSVLogger in default_root_dir; false: none
  std::vector<Callback> callbacks = {};
  std::int64_t fast_dev_run = 0;  ///< n > 0: n batches of everything, no logging, no checkpoints
  std::int64_t max_epochs = -1;   ///< -1: no limit when max_steps or max_time is set, else 1000 with a warning
  std::int64_t min_epochs = 0;
  std::int64_t max_steps = -1;  ///< optimizer steps; -1: no limit
  std::int64_t min_steps = 0;
  std::optional<std::chrono::milliseconds> max_time = {};  ///< training time, resumed runs included
  Limit limit_train_batches = fraction(1.0);
  Limit limit_val_batches = fraction(1.0);
  Limit limit_test_batches = fraction(1.0);
  Limit limit_predict_batches = fraction(1.0);
  Limit val_check_interval = fraction(1.0);  ///< validate every so many batches or this share of an epoch
  std::int64_t check_val_every_n_epoch = 1;
  std::int64_t num_sanity_val_steps = 2;  ///< validation batches tried before training; -1: all
  std::int64_t log_every_n_steps = 50;    ///< optimizer steps between rows of step metrics; 0: none
  bool enable_checkpointing = true;       ///< adds a ModelCheckpoint when the callbacks have none
  bool enable_progress_bar = true;
  std::optional<bool> enable_model_summary = {};  ///< by default as enable_progress_bar
  std::int64_t accumulate_grad_batches = 1;
  std::optional<double> gradient_clip_val = {};
  ClipAlgorithm gradient_clip_algorithm = ClipAlgorithm::norm;
  bool deterministic = false;  ///< only deterministic algorithms: an operator without one throws
  bool inference_mode = true;  ///< of validate, test and predict; false uses no_grad
  bool detect_anomaly = false;
  std::string default_root_dir = ".";
};

struct FitOptions {
  std::string ckpt_path = {};  ///< resume from this file; "last" and "best" are those of the ModelCheckpoint
};

struct EvalOptions {
  std::string ckpt_path = {};  ///< load these weights first; "best" and "last" are those of the ModelCheckpoint
  bool verbose = true;         ///< print the metrics as a table
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
  void fit(ModuleRef model, DataModule& data, FitOptions options = {});

  /** Runs the validation loop once and returns its metrics. */
  Map validate(ModuleRef model, DataLoader val, EvalOptions options = {});
  Map validate(ModuleRef model, DataModule& data, EvalOptions options = {});
  /** Runs the test loop once and returns its metrics. */
  Map test(ModuleRef model, DataLoader test, EvalOptions options = {});
  Map test(ModuleRef model, DataModule& data, EvalOptions options = {});
  /** The predictions of each batch, on the CPU. */
  std::vector<Batch> predict(ModuleRef model, DataLoader data, EvalOptions options = {});
  std::vector<Batch> predict(ModuleRef model, DataModule& data, EvalOptions options = {});

  /** Writes the state of the run (or of the last one) in Lightning's checkpoint layout; atomic. */
  void save_checkpoint(const std::string& path, bool weights_only = false);

  /** The latest value logged under `name`; when there is none, throws Error with the nearest name and `wanted_by`. */
  double metric(std::string_view name, std::string_view wanted_by = {}) const;
  std::optional<double> find_metric(std::string_view name) const;
  /** All metrics logged so far by name. */
  Map callback_metrics() const;
  /** What the progress bar shows beside the counts. */
  MetricValues progress_bar_metrics() const;

  std::int64_t current_epoch() const;  ///< epochs completed
  std::int64_t global_step() const;    ///< optimizer steps taken
  std::int64_t batch_idx() const;      ///< index of the running batch in its epoch
  std::int64_t total_batches() const;  ///< training batches done in all epochs
  std::int64_t num_training_batches() const;
  std::int64_t num_val_batches() const;
  bool sanity_checking() const;
  bool is_last_batch() const;
  /** Ends the fit after the running batch (not before min_epochs and min_steps). */
  void stop();
  bool should_stop() const;
  /** True when Ctrl-C (see InterruptGuard) ended the run early. */
  bool interrupted() const;
  std::chrono::duration<double> training_time() const;

  const TrainerOptions& options() const;
  torch::Device device() const;
  bool has_optimizer() const;
  /** The optimizer of the run; throws Error when there is none. */
  optim::Optimizer& optimizer() const;
  const std::vector<LRSchedulerConfig>& schedulers() const;
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
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin
