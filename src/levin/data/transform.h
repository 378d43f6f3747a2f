// Transform: what happens to a batch between the dataset and the step.
#pragma once

#include <levin/core/export.h>
#include <levin/data/batch.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace levin {

/** Which samples a batch holds. Random transforms draw by (their seed, epoch, sample index), not by place or thread. */
struct BatchContext {
  std::int64_t epoch = 0;
  std::span<const std::int64_t> indices = {};  ///< the index of every sample in its dataset
};

/**
 * Changes batches, in the loader's workers or by hand: `transform(batch, {.epoch = 3, .indices = indices})`. Must be
 * safe from several threads at once, and must not change the batch's tensors in place: they may be views of a dataset.
 */
using Transform = std::function<Batch(const Batch& batch, const BatchContext& context)>;

}  // namespace levin
