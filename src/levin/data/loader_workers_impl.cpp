#include <levin/data/loader_workers_impl.h>

#include <levin/core/console.h>
#include <levin/data/seed.h>

#include <ATen/Context.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <mutex>

// Of the OpenMP runtime that torch was built with, if it was: sets the calling thread's own number, where
// at::set_num_threads would also set that of threads to come.
extern "C" __attribute__((weak)) void omp_set_num_threads(int);

namespace levin {
namespace {

void check_at_least(std::int64_t value, std::int64_t least, const char* what, const char* where) {
  if (value >= least) return;
  throw Error({.what = std::string(what) + " must be at least " + std::to_string(least),
               .value = std::to_string(value),
               .where = where,
               .hint = {}});
}

}  // namespace

DataLoaderOptions checked_loader_options(DataLoaderOptions options) {
  check_at_least(options.batch_size, 1, "a batch size", "DataLoader .batch_size");
  check_at_least(options.num_workers, 0, "a number of workers", "DataLoader .num_workers");
  check_at_least(options.prefetch_factor, 1, "a number of batches to load ahead", "DataLoader .prefetch_factor");
  if (!(options.timeout >= 0) || !std::isfinite(options.timeout)) {
    throw Error({.what = "a timeout must be a number of seconds of at least 0",
                 .value = format_double(options.timeout),
                 .where = "DataLoader .timeout",
                 .hint = "0 waits for ever"});
  }
  if (options.num_workers == 0 && (options.timeout > 0 || options.persistent_workers || options.worker_init_fn)) {
    throw Error({.what = "an option for workers was set, but there are none",
                 .value = options.timeout > 0          ? "timeout"
                          : options.persistent_workers ? "persistent_workers"
                                                       : "worker_init_fn",
                 .where = "DataLoader",
                 .hint = "set .num_workers to at least 1"});
  }
  if (options.pin_memory && !at::globalContext().hasCUDA()) {
    static std::once_flag once;
    std::call_once(once,
                   [] { console::warning("pin_memory is set, but there is no accelerator: memory stays as it is"); });
    options.pin_memory = false;
  }
  if (!options.seed) options.seed = mix_seed(current_seed(), stable_hash("DataLoader"));
  return options;
}

void start_worker(const DataLoaderOptions& options, std::int64_t worker) {
  at::get_num_threads();  // torch sets the thread up at its first question
  if (omp_set_num_threads) omp_set_num_threads(1);
  if (options.worker_init_fn) options.worker_init_fn(worker);
}

Batch finish_batch(Batch batch, const BatchContext& context, const DataLoaderOptions& options) {
  if (options.transform) batch = options.transform(batch, context);
  return options.pin_memory ? batch.pin_memory() : batch;
}

void rethrow_named(const std::string& where) {
  try {
    throw;
  } catch (const std::nested_exception&) {
    throw;
  } catch (const Error& error) {
    auto info = error.info();
    info.where = info.where.empty() ? where : info.where + ", " + where;
    std::throw_with_nested(Error(std::move(info)));
  } catch (const std::exception& error) {
    std::throw_with_nested(Error({.what = error.what(), .value = {}, .where = where, .hint = {}}));
  }
}

}  // namespace levin
