// The options of a Trainer.
#pragma once

#include <levin/compile/options.h>
#include <levin/core/export.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/limits.h>
#include <levin/train/loggers/logger.h>
#include <levin/train/precision/precision.h>
#include <levin/train/profilers/profiler.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace levin {

enum class ClipAlgorithm { norm, value };

/** Whether operators must give the same bits in every run: false, true (one without such an algorithm throws), warn. */
class Deterministic {
 public:
  constexpr Deterministic(bool on = false) : on_(on) {}
  static constexpr Deterministic warn() {
    Deterministic value(true);
    value.warn_only_ = true;
    return value;
  }
  constexpr bool on() const { return on_; }
  constexpr bool warn_only() const { return warn_only_; }
  friend constexpr bool operator==(const Deterministic&, const Deterministic&) = default;

 private:
  bool on_ = false, warn_only_ = false;
};

/** Whether and how a Trainer compiles its steps: `true`, or CompileOptions. */
class Compile {
 public:
  constexpr Compile(bool on) : on_(on) {}
  constexpr Compile(CompileOptions options) : on_(true), options_(options) {}
  constexpr bool on() const { return on_; }
  constexpr const CompileOptions& options() const { return options_; }
  friend constexpr bool operator==(const Compile& a, const Compile& b) { return a.on_ == b.on_; }

 private:
  bool on_;
  CompileOptions options_ = {};
};

/**
 * Options of a Trainer, in the order of Lightning's signature, then ours.
 *
 * An environment variable LEVIN_TRAINER_<OPTION>, for instance LEVIN_TRAINER_MAX_EPOCHS=5, sets an option that the
 * program leaves at its default; it must parse, and unknown names are errors.
 */
struct TrainerOptions {
  std::string accelerator = "auto";  ///< "cpu", "cuda" (also "gpu"), "mps", or "auto": a GPU where there is one
  std::int64_t device = 0;           ///< the index of the GPU
  Precision precision = "32-true";   ///< or "64-true", "bf16-true", "16-true", "bf16-mixed", "16-mixed"
  Loggers logger = true;             ///< true: a CSVLogger in default_root_dir; false: none
  std::vector<Callback> callbacks = {};
  std::int64_t fast_dev_run = 0;  ///< n > 0: n batches of everything, no logging, no checkpoints
  /** Epochs to train; -1: no limit. By default none when max_steps or max_time is set, else 1000 with a warning. */
  std::optional<std::int64_t> max_epochs = {};
  std::int64_t min_epochs = 0;
  std::int64_t max_steps = -1;  ///< optimizer steps; -1: no limit
  std::int64_t min_steps = 0;
  std::optional<std::chrono::milliseconds> max_time = {};  ///< training time, resumed runs included
  Limit limit_train_batches = fraction(1.0);
  Limit limit_val_batches = fraction(1.0);  ///< of each validation loader; the same for test and predict
  Limit limit_test_batches = fraction(1.0);
  Limit limit_predict_batches = fraction(1.0);
  /** Fit trains and validates on these first batches alone, in the datasets' order: a model must be able to overfit. */
  std::optional<Limit> overfit_batches = {};
  ValCheckInterval val_check_interval = fraction(1.0);
  /** Validate in every n-th epoch; nullopt counts val_check_interval's batches across epochs. */
  std::optional<std::int64_t> check_val_every_n_epoch = 1;
  /** Validation batches (of each loader) tried before training; -1: all. Default 2. */
  std::optional<std::int64_t> num_sanity_val_steps = {};
  std::int64_t log_every_n_steps = 50;            ///< optimizer steps between rows of step metrics; 0: none
  std::optional<bool> enable_checkpointing = {};  ///< default true: adds a ModelCheckpoint when callbacks have none
  std::optional<bool> enable_progress_bar = {};   ///< default true
  std::optional<bool> enable_model_summary = {};  ///< default as enable_progress_bar
  std::int64_t accumulate_grad_batches = 1;       ///< batches an optimizer step
  std::optional<double> gradient_clip_val = {};
  ClipAlgorithm gradient_clip_algorithm = ClipAlgorithm::norm;
  Deterministic deterministic = false;
  std::optional<bool> benchmark = {};  ///< cuDNN's search for the fastest algorithm; by default as it is
  bool inference_mode = true;          ///< of validate, test and predict; false uses no_grad
  Profiler profiler = {};              ///< "simple", "advanced" or "trace": how long the parts of a run take
  bool detect_anomaly = false;         ///< autograd's anomaly mode, for the length of a fit
  bool barebones = false;              ///< nothing but the loop: no logging, checkpoints, bar, summary, sanity check
  std::int64_t reload_dataloaders_every_n_epochs =
      0;  ///< ask the DataModule (or Module) for its loaders anew; 0: never
  std::string default_root_dir = ".";
  /**
   * Lightning's arithmetic and order where Levin's differ: the last accumulation window of an epoch is divided by
   * accumulate_grad_batches even when it is shorter, and plateau schedulers step after the epoch's checkpoint.
   */
  bool lightning_compat = false;
  /**
   * Captures each stage's step at its first batch and runs it as a native program from then on (see CompiledStep for
   * what that means for the step's own code). Steps that cannot be captured run eagerly, with one warning.
   */
  Compile compile = false;
  /**
   * A first SIGINT or SIGTERM during a run ends it after the running batch, with a checkpoint (interrupted.ckpt); then
   * the signal takes its usual effect, so the exit status is right. In a SLURM batch job SIGUSR1 saves a checkpoint in
   * default_root_dir and requeues the job, and the next fit goes on from it. False leaves all signals alone; so does a
   * handler that the program has set for a signal.
   */
  bool handle_signals = true;
};

/** Throws Error for options out of range or in contradiction. */
LEVIN_API void check(const TrainerOptions& options);
/** Sets options that stand at their default from LEVIN_TRAINER_* variables. */
LEVIN_API void apply_environment(TrainerOptions& options);

}  // namespace levin
