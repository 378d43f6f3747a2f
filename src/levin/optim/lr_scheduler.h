// Learning rate schedules, with PyTorch's recursions and state; more of them are in lr_schedules.h.
#pragma once

#include <levin/core/export.h>
#include <levin/core/mode.h>
#include <levin/core/value.h>
#include <levin/optim/optimizer.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace levin::optim {

/** What a scheduler does; derive from it for one of your own and wrap it in an LRScheduler. */
class LEVIN_API LRSchedulerImpl {
 public:
  virtual ~LRSchedulerImpl();
  LRSchedulerImpl(const LRSchedulerImpl&) = delete;
  LRSchedulerImpl& operator=(const LRSchedulerImpl&) = delete;

  virtual std::string name() const = 0;
  virtual bool needs_metric() const { return false; }
  virtual void step() = 0;
  virtual void step(double metric) = 0;
  virtual Map state_dict() const = 0;
  /** Takes the keys that are there; throws Error for a key of another scheduler, and then changes nothing. */
  virtual void load_state_dict(const Map& state) = 0;

  const Optimizer& optimizer() const noexcept { return optimizer_; }
  int64_t last_epoch() const noexcept { return last_epoch_; }
  const std::vector<double>& last_lr() const noexcept { return last_lr_; }

 protected:
  explicit LRSchedulerImpl(Optimizer optimizer);
  /** Reads last_lr off the optimizer's groups. */
  void note_lr();

  Optimizer optimizer_;
  int64_t last_epoch_ = 0;
  std::vector<double> last_lr_;
};

/**
 * Changes the optimizer's learning rates as training goes on. A handle: copies share one scheduler.
 *
 * Call step() after the optimizer's steps, once an epoch or once a batch as the schedule is meant. The state has the
 * keys and types of PyTorch's state_dict(), so each can continue the other's.
 */
class LEVIN_API LRScheduler {
 public:
  LRScheduler() = default;
  explicit LRScheduler(std::shared_ptr<LRSchedulerImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  /** "StepLR", "CosineAnnealingLR", ... */
  std::string name() const;
  /** Whether to call step(metric) instead of step(). */
  bool needs_metric() const;
  /** The next learning rates; throws Error when the scheduler needs a metric. */
  void step();
  /** As step(), for a scheduler that needs a metric; throws Error for one that does not. */
  void step(double metric);

  /** The learning rate of each group, as of the last step. */
  std::vector<double> get_last_lr() const;
  /** Steps so far (PyTorch's last_epoch, whatever the unit). */
  int64_t last_epoch() const;
  Optimizer optimizer() const;

  Map state_dict() const;
  void load_state_dict(const Map& state);

  const std::shared_ptr<LRSchedulerImpl>& impl() const noexcept { return impl_; }
  friend bool operator==(const LRScheduler& a, const LRScheduler& b) noexcept { return a.impl_ == b.impl_; }

 private:
  LRSchedulerImpl& get() const;

  std::shared_ptr<LRSchedulerImpl> impl_;
};

struct StepLROptions {
  int64_t step_size;        ///< steps between two decays; required
  double gamma = 0.1;       ///< factor of a decay
  int64_t last_epoch = -1;  ///< -1: start anew; else continue after this step (groups must have initial_lr)
};

/** Multiplies the learning rate by gamma every step_size steps; as torch.optim.lr_scheduler.StepLR. */
class LEVIN_API StepLR : public LRScheduler {
 public:
  StepLR(Optimizer optimizer, StepLROptions options);
};

struct CosineAnnealingLROptions {
  int64_t T_max;       ///< steps from the initial lr down to eta_min; required
  double eta_min = 0;  ///< lowest learning rate
  int64_t last_epoch = -1;
};

/**
 * Half a cosine from the initial lr to eta_min, and back up after T_max (Loshchilov and Hutter 2017, arXiv:1608.03983,
 * without restarts); as torch.optim.lr_scheduler.CosineAnnealingLR.
 */
class LEVIN_API CosineAnnealingLR : public LRScheduler {
 public:
  CosineAnnealingLR(Optimizer optimizer, CosineAnnealingLROptions options);
};

/** How ReduceLROnPlateau compares: `threshold` as a share of the best value, or as a difference from it. */
enum class ThresholdMode { rel, abs };

/** One lowest learning rate for all groups, or one for each. */
class MinLr {
 public:
  MinLr(double all = 0) : all_(all) {}
  MinLr(std::vector<double> each) : each_(std::move(each)), is_list_(true) {}

  bool is_list() const noexcept { return is_list_; }
  double all() const noexcept { return all_; }
  const std::vector<double>& each() const noexcept { return each_; }

 private:
  double all_ = 0;
  std::vector<double> each_;
  bool is_list_ = false;
};

struct ReduceLROnPlateauOptions {
  Mode mode = Mode::min;  ///< whether the metric should fall or rise
  double factor = 0.1;    ///< by which the lr is multiplied; below 1
  int64_t patience = 10;  ///< steps without improvement that are let pass
  double threshold = 1e-4;
  ThresholdMode threshold_mode = ThresholdMode::rel;
  int64_t cooldown = 0;  ///< steps after a reduction in which nothing is counted
  MinLr min_lr = 0.0;
  double eps = 1e-8;  ///< a reduction smaller than this is not made
};

/** Lowers the learning rate when a metric stops improving; as torch.optim.lr_scheduler.ReduceLROnPlateau. */
class LEVIN_API ReduceLROnPlateau : public LRScheduler {
 public:
  explicit ReduceLROnPlateau(Optimizer optimizer, ReduceLROnPlateauOptions options = {});
};

}  // namespace levin::optim
