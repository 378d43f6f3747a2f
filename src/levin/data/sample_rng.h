// Random numbers for loading samples: the same for a sample whatever thread or batch it comes in.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>

#include <ATen/core/Generator.h>

#include <cstdint>
#include <string_view>

namespace levin {

/** Who loads: what a dataset, collate function or transform can ask for while a DataLoader calls it. */
struct WorkerInfo {
  std::int64_t id = -1;          ///< the worker's number; -1 when the loader has no workers
  std::int64_t num_workers = 0;  ///< of the loader
  std::uint64_t seed = 0;        ///< the loader's
  std::int64_t epoch = 0;
};

/** The loader that calls on this thread, or null outside of one (torch.utils.data.get_worker_info). */
LEVIN_API const WorkerInfo* worker_info() noexcept;

/**
 * The random stream of sample `index`: depends on the loader's (seed, epoch), on `index` and `purpose` alone, so a
 * dataset that draws from it gives the same samples for any number of workers. Outside of a loader the seed is
 * current_seed() and the epoch 0.
 */
LEVIN_API Rng sample_rng(std::int64_t index, std::string_view purpose = "");

/** A CPU generator for torch's random functions, seeded as `sample_rng` is. Draw from it, not from torch's own. */
LEVIN_API at::Generator sample_generator(std::int64_t index, std::string_view purpose = "");

/** Sets `worker_info` of this thread while it lives; loaders of one's own use it. */
class LEVIN_API WorkerScope {
 public:
  explicit WorkerScope(const WorkerInfo& info);
  ~WorkerScope();
  WorkerScope(const WorkerScope&) = delete;
  WorkerScope& operator=(const WorkerScope&) = delete;

 private:
  WorkerInfo info_;
  const WorkerInfo* outer_;
};

}  // namespace levin
