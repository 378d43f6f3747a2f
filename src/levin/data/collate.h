// Collating: from samples to a batch.
#pragma once

#include <levin/core/export.h>
#include <levin/data/batch.h>

#include <functional>
#include <span>
#include <string>

namespace levin {

/** Makes a batch of samples, whose tensors have no batch dimension. Must be safe from several threads at once. */
using Collate = std::function<Batch(std::span<const Batch> samples)>;

/** Stacks the samples' tensors; throws Error unless they agree in number and shape. What a loader does by default. */
LEVIN_API Batch stack_samples(std::span<const Batch> samples);

struct PadCollateOptions {
  double value = 0;                 ///< what fills the gaps
  std::string lengths = "lengths";  ///< name of the tensor that is added; "" adds none
};

/**
 * Stacks samples of different sizes: tensors are padded at their ends to the longest of the batch in every dimension.
 * Adds an int64 tensor [batch] with the true sizes of dimension 0 of the samples' first tensor.
 */
class LEVIN_API PadCollate {
 public:
  explicit PadCollate(PadCollateOptions options = {}) : options_(std::move(options)) {}
  Batch operator()(std::span<const Batch> samples) const;

 private:
  PadCollateOptions options_;
};

}  // namespace levin
