// EarlyStopping: end a fit when a metric no longer improves.
#pragma once

#include <levin/core/mode.h>
#include <levin/train/callbacks/callback.h>

#include <optional>
#include <string>

namespace levin {

struct EarlyStoppingOptions {
  std::string monitor;        ///< the logged metric, for instance "val_loss"
  double min_delta = 0.0;     ///< an improvement must be larger than this
  std::int64_t patience = 3;  ///< checks without improvement before stopping
  bool verbose = false;       ///< say when the metric improves and why the fit stops
  Mode mode = Mode::min;
  bool strict = true;                                 ///< a metric that was not logged is an error
  bool check_finite = true;                           ///< stop when the metric is NaN or infinite
  std::optional<double> stopping_threshold = {};      ///< stop as soon as the metric is better than this
  std::optional<double> divergence_threshold = {};    ///< stop as soon as it is worse than this
  std::optional<bool> check_on_train_epoch_end = {};  ///< by default after validation where there is one
};

/** Stops a fit that no longer improves (Lightning's EarlyStopping: the same rules and state). */
class LEVIN_API EarlyStoppingImpl : public CallbackImpl {
 public:
  explicit EarlyStoppingImpl(EarlyStoppingOptions options);

  void on_validation_end(Trainer& trainer, Module& module) override;
  void on_train_epoch_end(Trainer& trainer, Module& module) override;
  std::string state_key() const override;
  bool monitors() const override { return true; }
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

  double best_score() const { return best_score_; }
  std::int64_t wait_count() const { return wait_count_; }
  /** The epoch in which the fit was stopped, 0 when it was not. */
  std::int64_t stopped_epoch() const { return stopped_epoch_; }
  /** Why the fit was stopped, "" when it was not. */
  const std::string& reason() const { return reason_; }

 private:
  bool checks_after_training(const Trainer& trainer) const;
  void check(Trainer& trainer);

  EarlyStoppingOptions options_;
  double best_score_;
  std::int64_t wait_count_ = 0, stopped_epoch_ = 0;
  std::string reason_;
};

/** See EarlyStoppingImpl. */
class EarlyStopping : public CallbackHolder<EarlyStoppingImpl> {
 public:
  explicit EarlyStopping(EarlyStoppingOptions options)
      : CallbackHolder(std::make_shared<EarlyStoppingImpl>(std::move(options))) {}
};

}  // namespace levin
