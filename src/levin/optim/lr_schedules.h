// The other schedules of torch.optim.lr_scheduler; see lr_scheduler.h for the handle and the most common three.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/lr_scheduler.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

namespace levin::optim {

/** How a schedule goes from one value to another. */
enum class AnnealStrategy { cos, linear };

struct MultiStepLROptions {
  std::vector<int64_t> milestones;  ///< the steps of the decays; required
  double gamma = 0.1;
  int64_t last_epoch = -1;
};

/** Multiplies the learning rate by gamma at each milestone; as torch.optim.lr_scheduler.MultiStepLR. */
class LEVIN_API MultiStepLR : public LRScheduler {
 public:
  MultiStepLR(Optimizer optimizer, MultiStepLROptions options);
};

struct ConstantLROptions {
  double factor = 1.0 / 3;  ///< of the learning rate in the first steps, in [0, 1]
  int64_t total_iters = 5;  ///< how many steps
  int64_t last_epoch = -1;
};

/** A smaller learning rate for the first steps; as torch.optim.lr_scheduler.ConstantLR. */
class LEVIN_API ConstantLR : public LRScheduler {
 public:
  explicit ConstantLR(Optimizer optimizer, ConstantLROptions options = {});
};

struct LinearLROptions {
  double start_factor = 1.0 / 3;  ///< in (0, 1]
  double end_factor = 1.0;        ///< in [0, 1]
  int64_t total_iters = 5;        ///< steps from one to the other
  int64_t last_epoch = -1;
};

/** A factor that goes in a straight line, for instance a warm-up; as torch.optim.lr_scheduler.LinearLR. */
class LEVIN_API LinearLR : public LRScheduler {
 public:
  explicit LinearLR(Optimizer optimizer, LinearLROptions options = {});
};

struct ExponentialLROptions {
  double gamma;  ///< factor of every step; required
  int64_t last_epoch = -1;
};

/** Multiplies the learning rate by gamma at every step; as torch.optim.lr_scheduler.ExponentialLR. */
class LEVIN_API ExponentialLR : public LRScheduler {
 public:
  ExponentialLR(Optimizer optimizer, ExponentialLROptions options);
};

struct PolynomialLROptions {
  int64_t total_iters = 5;  ///< steps down to 0
  double power = 1.0;
  int64_t last_epoch = -1;
};

/** Down to 0 as (1 - step / total_iters) ^ power; as torch.optim.lr_scheduler.PolynomialLR. */
class LEVIN_API PolynomialLR : public LRScheduler {
 public:
  explicit PolynomialLR(Optimizer optimizer, PolynomialLROptions options = {});
};

struct CosineAnnealingWarmRestartsOptions {
  int64_t T_0;         ///< steps of the first cycle; required
  int64_t T_mult = 1;  ///< factor of the length from cycle to cycle
  double eta_min = 0;
  int64_t last_epoch = -1;
};

/**
 * Half a cosine down to eta_min, again and again (Loshchilov and Hutter 2017, arXiv:1608.03983); as
 * torch.optim.lr_scheduler.CosineAnnealingWarmRestarts.
 */
class LEVIN_API CosineAnnealingWarmRestarts : public LRScheduler {
 public:
  CosineAnnealingWarmRestarts(Optimizer optimizer, CosineAnnealingWarmRestartsOptions options);
};

/**
 * The initial learning rate times `factor(step)`; as torch.optim.lr_scheduler.LambdaLR. The function is not saved: a
 * resumed run makes it again.
 */
class LEVIN_API LambdaLR : public LRScheduler {
 public:
  LambdaLR(Optimizer optimizer, std::function<double(int64_t)> factor, int64_t last_epoch = -1);
};

/** The learning rate times `factor(step)` at every step; as torch.optim.lr_scheduler.MultiplicativeLR. */
class LEVIN_API MultiplicativeLR : public LRScheduler {
 public:
  MultiplicativeLR(Optimizer optimizer, std::function<double(int64_t)> factor, int64_t last_epoch = -1);
};

struct OneCycleLROptions {
  double max_lr;        ///< the peak; required
  int64_t total_steps;  ///< of the whole cycle; required (Trainer::estimated_stepping_batches)
  double pct_start = 0.3;  ///< share of the steps that go up, in [0, 1]
  AnnealStrategy anneal_strategy = AnnealStrategy::cos;
  bool cycle_momentum = true;   ///< the momentum (of the Adam family: betas[0]) goes the other way
  double base_momentum = 0.85;  ///< at the peak
  double max_momentum = 0.95;   ///< at both ends
  double div_factor = 25;       ///< the initial learning rate is max_lr / div_factor
  double final_div_factor = 1e4;  ///< the last one is the initial one divided by this
  bool three_phase = false;       ///< down to the initial learning rate first, as it went up, then to the last one
};

/** Up to a peak and down below the start (Smith and Topin 2018, arXiv:1708.07120); as torch's OneCycleLR. */
class LEVIN_API OneCycleLR : public LRScheduler {
 public:
  OneCycleLR(Optimizer optimizer, OneCycleLROptions options);
};

/** What becomes of the height of CyclicLR's cycles: nothing, halved every time, times gamma ^ step. */
enum class CyclicMode { triangular, triangular2, exp_range };

struct CyclicLROptions {
  double base_lr;                ///< the lowest; required
  double max_lr;                 ///< the highest; required
  int64_t step_size_up = 2000;   ///< steps up
  std::optional<int64_t> step_size_down = {};  ///< by default as step_size_up
  CyclicMode mode = CyclicMode::triangular;
  double gamma = 1.0;          ///< of exp_range
  bool cycle_momentum = true;  ///< the momentum (of the Adam family: betas[0]) goes the other way
  double base_momentum = 0.8;
  double max_momentum = 0.9;
};

/** Up and down between two learning rates (Smith 2017, arXiv:1506.01186); as torch.optim.lr_scheduler.CyclicLR. */
class LEVIN_API CyclicLR : public LRScheduler {
 public:
  CyclicLR(Optimizer optimizer, CyclicLROptions options);
};

struct SWALROptions {
  double swa_lr;               ///< where it goes; required
  int64_t anneal_epochs = 10;  ///< in how many steps
  AnnealStrategy anneal_strategy = AnnealStrategy::cos;
};

/** From the current learning rate to one that stays, for averaging weights; as torch.optim.swa_utils.SWALR. */
class LEVIN_API SWALR : public LRScheduler {
 public:
  SWALR(Optimizer optimizer, SWALROptions options);
};

/**
 * One schedule after the other: `schedulers[i]` from step `milestones[i - 1]` on; as
 * torch.optim.lr_scheduler.SequentialLR. All are of one optimizer and none needs a metric.
 *
 *     SequentialLR(adam, {LinearLR(adam, {.total_iters = 500}), CosineAnnealingLR(adam, {.T_max = 9500})}, {500});
 */
class LEVIN_API SequentialLR : public LRScheduler {
 public:
  SequentialLR(Optimizer optimizer, std::vector<LRScheduler> schedulers, std::vector<int64_t> milestones);
};

/** Several schedules at once, each of which changes what the others left; as torch's ChainedScheduler. */
class LEVIN_API ChainedScheduler : public LRScheduler {
 public:
  explicit ChainedScheduler(std::vector<LRScheduler> schedulers);
};

}  // namespace levin::optim
