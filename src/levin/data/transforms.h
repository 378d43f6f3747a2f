// Augmentation of whole batches: noise and mixing, the same for the same (seed, epoch, batch or sample).
#pragma once

#include <levin/core/export.h>
#include <levin/data/batch.h>
#include <levin/data/transform.h>

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
  /** As a Transform: the noise of a sample depends on (seed, epoch, sample index), drawn on the CPU; thread-safe. */
  Batch operator()(const Batch& batch, const BatchContext& context) const;

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
  /** As a Transform: every sample has a lambda and a partner of its own, by (seed, epoch, sample index). */
  Batch operator()(const Batch& batch, const BatchContext& context) const;

  /** The weight of a sample itself in this batch. */
  double lambda(std::int64_t epoch, std::int64_t batch_index) const;

  const MixupOptions& options() const noexcept { return options_; }

 private:
  MixupOptions options_;  // with the seed in use
};

/**
 * CutMix (Yun et al. 2019): a rectangle of every picture comes from another picture of the batch, and the target is
 * mixed by the areas. Options and targets are Mixup's; tensor 0 holds the pictures [batch, channels, height, width].
 * The rectangle, its share drawn from Beta(alpha, alpha), and the partner depend on (seed, epoch, sample index).
 */
class LEVIN_API CutMix {
 public:
  /** Throws Error for a negative alpha or num_classes. */
  explicit CutMix(const MixupOptions& options = {.alpha = 1.0});

  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  MixupOptions options_;  // with the seed in use
};

}  // namespace levin
