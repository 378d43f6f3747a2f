// ModelCheckpoint: keep the best and the latest state of a fit.
#pragma once

#include <levin/core/mode.h>
#include <levin/train/callbacks/callback.h>

#include <chrono>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin {

class CheckpointWriter;

/** Whether the latest state is kept as last.ckpt: `true`, `false`, or `SaveLast::link`. */
class SaveLast {
 public:
  constexpr SaveLast(bool save) : kind_(save ? Kind::file : Kind::none) {}
  static const SaveLast link;  ///< a relative symbolic link to the newest checkpoint, which costs no space

  constexpr explicit operator bool() const { return kind_ != Kind::none; }
  constexpr bool is_link() const { return kind_ == Kind::link; }

 private:
  enum class Kind { none, file, link };
  constexpr explicit SaveLast(Kind kind) : kind_(kind) {}
  Kind kind_;
};
inline constexpr SaveLast SaveLast::link{SaveLast::Kind::link};

/** Options of ModelCheckpoint. At most one `every_...`/`train_time_interval` may be set. */
struct ModelCheckpointOptions {
  std::string dirpath = {};  ///< by default "checkpoints" in the trainer's log_dir
  /**
   * Name of the files, without ".ckpt", by default "{epoch}-{step}". {epoch}, {step} and {metric} are filled in, with
   * a format as in {val_loss:.3f} or {epoch:02d}; a metric that was not logged gives 0. A "/" (also in a metric's name)
   * makes a folder below `dirpath`.
   */
  std::string filename = {};
  std::string monitor = {};  ///< the logged metric that ranks files; without one the latest is kept
  Mode mode = Mode::min;
  bool verbose = false;  ///< say what was saved and what was not
  SaveLast save_last = false;
  std::int64_t save_top_k = 1;          ///< how many of the best to keep; -1: all, 0: none
  bool save_on_exception = false;       ///< save on_exception.ckpt when the run ends in an error
  bool save_weights_only = false;       ///< leave out optimizers, schedulers, callbacks: such a file cannot be resumed
  bool auto_insert_metric_name = true;  ///< "epoch=3-step=90" instead of "3-90"
  std::optional<std::int64_t> every_n_train_steps = {};               ///< save every so many optimizer steps; 0: off
  std::optional<std::chrono::milliseconds> train_time_interval = {};  ///< save at the first batch's end after so long
  std::optional<std::int64_t> every_n_epochs = {};                    ///< 1 when no other trigger is set; 0: off
  std::optional<bool> save_on_train_epoch_end = {};  ///< false: after validation; by default so when it runs otherwise
                                                     ///< than once at the end of each epoch
  bool enable_version_counter = true;  ///< a name that is taken gets "-v1", "-v2"...; false replaces the file
  /**
   * Write behind the training's back: it pauses for a copy of the state in memory, and again only when the next save
   * comes before the write is done. Costs memory for one more state.
   */
  bool async_save = false;
};

/**
 * Saves checkpoints during a fit and keeps the best (Lightning's ModelCheckpoint).
 *
 * A file that was there before the run is never replaced nor removed, unless the run resumes the one that wrote it.
 * When the disk is full, or writing fails otherwise, the files before stay, a warning is given once, and training goes
 * on.
 */
class LEVIN_API ModelCheckpointImpl : public CallbackImpl {
 public:
  explicit ModelCheckpointImpl(ModelCheckpointOptions options = {});
  ~ModelCheckpointImpl() override;

  void setup(Trainer& trainer, Module& module, Stage stage) override;
  void on_train_start(Trainer& trainer, Module& module) override;
  void on_train_batch_end(Trainer& trainer, Module& module, const Batch& batch, std::int64_t batch_idx) override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_train_end(Trainer& trainer, Module& module) override;
  void on_exception(Trainer& trainer, Module& module, std::exception_ptr error) override;
  std::string state_key() const override;
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;
  /** Up to the next batch that ends in a save by steps or by time. */
  std::int64_t batches_to_skip(const Trainer& trainer, Stage stage) const override;
  bool is_checkpoint() const override { return true; }

  /** Waits until all that was saved lies on the disk (only with `async_save` there is something to wait for). */
  void wait();

  /** The file of the best score so far (without `monitor`: of the latest save); "" before the first. */
  const std::string& best_model_path() const { return books_.best_path; }
  /** The best score so far; NaN before the first save or without `monitor`. */
  double best_model_score() const { return books_.best_score; }
  /** The score of the latest ranked file. */
  double current_score() const { return books_.current_score; }
  /** The files kept by rank and their scores, best first; empty without `monitor`. */
  std::vector<std::pair<std::string, double>> best_k_models() const;
  /** The worst of the kept files and its score; "" and the worst possible score while there are fewer than k. */
  const std::string& kth_best_model_path() const { return books_.kth_path; }
  double kth_value() const;
  const std::string& last_model_path() const { return books_.last_path; }
  const std::string& dirpath() const { return dirpath_; }
  /** The newest of last*.ckpt, on_exception.ckpt and interrupted.ckpt in `dirpath`; "" when there is none. */
  std::string find_last() const;
  /** Writes `best_k_models` as YAML, by default to best_k_models.yaml in `dirpath`. */
  void to_yaml(const std::string& path = {}) const;
  /** The path that a save would take now with these values filled in, before the version counter. */
  std::string format_checkpoint_name(const Map& metrics) const;

 private:
  // What is kept where; it goes back to what it was when a write fails.
  struct Books {
    std::vector<std::pair<std::string, double>> kept;  // in order of saving
    std::string best_path, kth_path, last_path, newest_path;
    double best_score = std::numeric_limits<double>::quiet_NaN();
    double current_score = std::numeric_limits<double>::quiet_NaN();
    std::int64_t last_saved_step = 0;  // nothing to save before the first step
  };
  enum class What { all, last };

  bool saves_after_training(const Trainer& trainer) const;
  bool may_save(const Trainer& trainer) const;
  bool validation_follows(const Trainer& trainer) const;
  void save(Trainer& trainer, What what = What::all);
  std::string rank(Trainer& trainer, std::vector<std::string>& replaced);
  std::string fill_in(const std::string& pattern,
                      const std::function<std::optional<Value>(const std::string&)>& find) const;
  std::string name_now(const Trainer& trainer) const;
  std::string path_of(const std::string& name) const;
  std::string free_path(const std::string& name, const std::string& own, const std::string& taken = {}) const;
  bool may_remove(const Trainer& trainer, const std::string& path) const;

  ModelCheckpointOptions options_;
  std::int64_t every_n_train_steps_ = 0, every_n_epochs_ = 0;
  std::string dirpath_;
  Books books_, books_before_;
  bool deferred_ = false;      // a save waits for the validation's metric
  bool validated_ = false;     // in this fit
  bool under_way_ = false;     // a write
  std::int64_t failures_ = 0;  // writes that failed since the last one that did not
  std::chrono::steady_clock::time_point last_time_checked_;
  std::unique_ptr<CheckpointWriter> writer_;
};

/** See ModelCheckpointImpl. */
class ModelCheckpoint : public CallbackHolder<ModelCheckpointImpl> {
 public:
  explicit ModelCheckpoint(ModelCheckpointOptions options = {})
      : CallbackHolder(std::make_shared<ModelCheckpointImpl>(std::move(options))) {}
};

}  // namespace levin
