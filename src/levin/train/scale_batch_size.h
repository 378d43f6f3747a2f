// scale_batch_size: the largest batch that fits into memory.
#pragma once

#include <levin/core/export.h>
#include <levin/train/trainer.h>

#include <cstdint>
#include <exception>
#include <functional>

namespace levin {

enum class BatchSizeMode {
  power,      ///< double until memory runs out, and take the last size that fitted
  binsearch,  ///< the same, then halve the interval between what fitted and what did not
};

struct ScaleBatchSizeOptions {
  BatchSizeMode mode = BatchSizeMode::power;
  std::int64_t steps_per_trial = 3;  ///< batches to try a size with
  std::int64_t init_val = 2;         ///< the first size
  std::int64_t max_trials = 25;
  double margin = 0.05;         ///< of binsearch: this share is taken off what was found
  std::int64_t max_val = 8192;  ///< no size above this is tried
  /** Device, precision, accumulation and clipping of the trial runs; callbacks, loggers and limits do not count. */
  TrainerOptions trainer = {};
  /** Whether an exception means that memory ran out; by default torch's and std::bad_alloc do. */
  std::function<bool(const std::exception&)> is_out_of_memory = {};
};

/**
 * Trains a few batches of each size and returns the largest size that fitted (Lightning's Tuner.scale_batch_size, but
 * for sizes that were never tried: it returns the one after the last). `loader` makes a training loader of a size; no
 * size above the dataset's is tried. Everything is given back as it was, as after lr_find. Throws Error when not even
 * one sample fits.
 *
 *     const auto size = levin::scale_batch_size(model, [&](std::int64_t size) -> levin::DataLoader {
 *       return {data, {.batch_size = size, .shuffle = true}};
 *     });
 */
LEVIN_API std::int64_t scale_batch_size(ModuleRef model, const std::function<DataLoader(std::int64_t)>& loader,
                                        ScaleBatchSizeOptions options = {});

}  // namespace levin
