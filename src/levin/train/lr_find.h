// lr_find: which learning rate to begin with, from the losses of a short training at rising ones.
#pragma once

#include <levin/core/export.h>
#include <levin/train/trainer.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace levin {

enum class LRFindMode { exponential, linear };

struct LRFindOptions {
  double min_lr = 1e-8;  ///< where to begin
  double max_lr = 1;     ///< where to end
  std::int64_t num_training = 100;                      ///< optimizer steps from one to the other
  LRFindMode mode = LRFindMode::exponential;            ///< how to rise
  std::optional<double> early_stop_threshold = 4.0;     ///< stop when the loss is above this times the best
  /** Device, precision, accumulation and clipping of the trial run; callbacks, loggers and limits do not count. */
  TrainerOptions trainer = {};
};

struct LRFindResult {
  std::vector<double> lr;    ///< of each step
  std::vector<double> loss;  ///< smoothed: a moving average with decay 0.98 and bias correction

  /**
   * The learning rate at the steepest fall of the loss, without the first and last so many steps; none when fewer than
   * two finite losses are left.
   */
  LEVIN_API std::optional<double> suggestion(std::int64_t skip_begin = 10, std::int64_t skip_end = 1) const;
};

/**
 * The learning rate range test (Smith 2017, arXiv:1506.01186), with the numbers of Lightning's Tuner.lr_find: trains
 * with a Trainer of its own while the learning rate rises, and gives everything back as it was: weights, buffers, modes,
 * metrics, random state and the loader's position. For one optimizer in automatic optimization.
 *
 *     const auto found = levin::lr_find(model, train_loader);
 *     if (const auto lr = found.suggestion()) model.lr = *lr;
 */
LEVIN_API LRFindResult lr_find(ModuleRef model, DataLoader train, LRFindOptions options = {});
LEVIN_API LRFindResult lr_find(ModuleRef model, DataModuleRef data, LRFindOptions options = {});

}  // namespace levin
