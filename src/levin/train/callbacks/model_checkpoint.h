// ModelCheckpoint: keep the best and the latest state of a fit.
#pragma once

#include <levin/core/mode.h>
#include <levin/train/callbacks/callback.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace levin {

/** Options of ModelCheckpoint. */
struct ModelCheckpointOptions {
  std::string dirpath = {};  ///< by default "checkpoints" in the trainer's log_dir
  std::string filename =
      {};  ///< with {epoch}, {step} and {metric} filled in, as {val_loss:.3f}; by default "{epoch}-{step}"
  std::string monitor = {};  ///< the logged metric that ranks files; without one the latest is kept
  Mode mode = Mode::min;
  bool verbose = false;            ///< say what was saved
  bool save_last = false;          ///< also keep the latest state as last.ckpt
  std::int64_t save_top_k = 1;     ///< how many of the best to keep; -1: all, 0: none
  bool save_on_exception = false;  ///< save exception.ckpt when the run ends in an error
  bool save_weights_only = false;
  bool auto_insert_metric_name = true;   ///< "epoch=3-step=90" instead of "3-90"
  std::int64_t every_n_train_steps = 0;  ///< also save every so many optimizer steps
  std::int64_t every_n_epochs = 1;
  std::optional<bool> save_on_train_epoch_end = {};  ///< by default so when validation runs once an epoch
};

/** Saves checkpoints during a fit and keeps the best (Lightning's ModelCheckpoint). */
class LEVIN_API ModelCheckpointImpl : public CallbackImpl {
 public:
  explicit ModelCheckpointImpl(ModelCheckpointOptions options = {});

  void setup(Trainer& trainer, Module& module, Stage stage) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_exception(Trainer& trainer, Module& module, std::exception_ptr error) override;
  std::string state_key() const override;
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;
  bool is_checkpoint() const override { return true; }

  /** The file of the best score so far (without `monitor`: of the latest save); "" before the first. */
  const std::string& best_model_path() const { return best_model_path_; }
  /** The best score so far; NaN before the first save or without `monitor`. */
  double best_model_score() const { return best_model_score_; }
  const std::string& last_model_path() const { return last_model_path_; }
  const std::string& dirpath() const { return dirpath_; }
  /** The files kept by rank and their scores, best first. */
  std::vector<std::pair<std::string, double>> best_k_models() const;

 private:
  bool saves_after_training(const Trainer& trainer) const;
  void save(Trainer& trainer);
  void save_top_k(Trainer& trainer);
  std::string format_name(const Trainer& trainer) const;
  std::string free_path(const std::string& name) const;
  void remove(const std::string& path) const;

  ModelCheckpointOptions options_;
  std::string dirpath_;
  std::vector<std::pair<std::string, double>> kept_;  // in order of saving
  std::string best_model_path_, last_model_path_;
  double best_model_score_ = std::numeric_limits<double>::quiet_NaN();
  std::int64_t last_saved_step_ = -1;
};

/** See ModelCheckpointImpl. */
class ModelCheckpoint : public CallbackHolder<ModelCheckpointImpl> {
 public:
  explicit ModelCheckpoint(ModelCheckpointOptions options = {})
      : CallbackHolder(std::make_shared<ModelCheckpointImpl>(std::move(options))) {}
};

}  // namespace levin
