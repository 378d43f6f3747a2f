// The seed that everything without a seed of its own derives from.
#pragma once

#include <levin/core/export.h>

#include <cstdint>
#include <optional>

namespace levin {

/**
 * Seeds torch's generators on all devices and the seed from which loaders, splits and augmentations that were given
 * none derive theirs (`current_seed`).
 *
 * The derived seed belongs to the calling thread, so trials that run at once and each seed themselves get the data
 * order of their own seed whatever the others do; threads that never called this use the latest seed set anywhere in
 * the process. torch's generators are process-wide: threads that draw from them at the same time (initial weights,
 * dropout) share one sequence, so these draws repeat exactly only when trials run one at a time.
 */
LEVIN_API void seed_everything(std::uint64_t seed);

/**
 * The seed of this thread: the innermost SeedScope, else this thread's seed_everything, else the process's latest,
 * else the seed of torch's CPU generator (random unless torch::manual_seed was called).
 */
LEVIN_API std::uint64_t current_seed();

/** A seed for this thread's loaders, splits and augmentations while it lives; torch's generators are not touched. */
class LEVIN_API SeedScope {
 public:
  explicit SeedScope(std::uint64_t seed);
  ~SeedScope();
  SeedScope(const SeedScope&) = delete;
  SeedScope& operator=(const SeedScope&) = delete;

 private:
  std::optional<std::uint64_t> outer_;
};

}  // namespace levin
