// Augmentation of whole batches, the same for the same (seed, epoch, batch).
#pragma once

#include <levin/core/export.h>
#include <levin/data/batch.h>

#include <ATen/core/Generator.h>

#include <cstdint>
#include <optional>

namespace levin {

struct GaussianNoiseOptions {
  double std = 0.1;                   ///< standard deviation, in the units of the input; 0 leaves batches as they are
  std::optional<std::uint64_t> seed;  ///< by default derived from current_seed()
};

/**
 * Adds independent normal noise to `batch[0]`, which must be floating-point. The noise depends on (seed, epoch, batch)
 * alone, drawn on the tensor's device. The batch itself is not changed. One thread at a time may use an instance.
 */
class LEVIN_API GaussianNoise {
 public:
  /** Throws Error for a negative standard deviation. */
  explicit GaussianNoise(const GaussianNoiseOptions& options = {});

  Batch operator()(const Batch& batch, std::int64_t epoch, std::int64_t batch_index);

  double std() const noexcept { return std_; }

 private:
  double std_;
  std::uint64_t seed_;
  at::Generator generator_;  // of the last device, seeded anew for every batch
};

struct MixupOptions {
  double alpha = 0.2;                 ///< of Beta(alpha, alpha); 0 leaves inputs as they are
  std::int64_t num_classes = 0;       ///< classes of integer targets; 0 when targets are floating-point
  std::optional<std::uint64_t> seed;  ///< by default derived from current_seed()
};

/**
 * Mixup (Zhang et al. 2018, "mixup: Beyond empirical risk minimization"): every sample becomes
 * lambda * sample + (1 - lambda) * another sample of the batch, one lambda from Beta(alpha, alpha) a batch.
 *
 * The last tensor is the target, the others are inputs and must be floating-point. Targets of class indices [n]
 * become probabilities [n, num_classes], which torch::cross_entropy_loss takes; floating-point targets are mixed as
 * they are. Lambda and partners depend on (seed, epoch, batch) alone.
 */
class LEVIN_API Mixup {
 public:
  /** Throws Error for a negative alpha or num_classes. */
  explicit Mixup(const MixupOptions& options = {});

  Batch operator()(const Batch& batch, std::int64_t epoch, std::int64_t batch_index) const;

  /** The weight of a sample itself in this batch. */
  double lambda(std::int64_t epoch, std::int64_t batch_index) const;

  const MixupOptions& options() const noexcept { return options_; }

 private:
  MixupOptions options_;  // with the seed in use
};

}  // namespace levin
