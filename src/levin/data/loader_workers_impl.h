// What the loaders over datasets share: checked options, worker threads, what happens to a batch after it was read.
#pragma once

#include <levin/core/error.h>
#include <levin/core/ordered_prefetch.h>
#include <levin/data/loader.h>
#include <levin/data/sample_rng.h>

#include <exception>
#include <memory>
#include <string>

namespace levin {

/** The options with the seed in use; throws Error for those that make no sense. */
DataLoaderOptions checked_loader_options(DataLoaderOptions options);

/** First thing on a worker thread: torch computes on this thread alone, then worker_init_fn. */
void start_worker(const DataLoaderOptions& options, std::int64_t worker);

/** The transform and pinning. */
Batch finish_batch(Batch batch, const BatchContext& context, const DataLoaderOptions& options);

/** Throws the exception that is being handled as an Error that says `where`, unless it is a nested one, which does. */
[[noreturn]] void rethrow_named(const std::string& where);

template <class T>
std::unique_ptr<OrderedPrefetch<T>> make_prefetch(const DataLoaderOptions& options,
                                                  typename OrderedPrefetch<T>::Job job) {
  return std::make_unique<OrderedPrefetch<T>>(options.num_workers, options.num_workers * options.prefetch_factor,
                                              std::move(job),
                                              [&options](std::int64_t worker) { start_worker(options, worker); });
}

}  // namespace levin
