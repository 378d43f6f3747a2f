// DataLoader: batches epoch after epoch, from a position that can be saved.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/collate.h>
#include <levin/data/dataset.h>
#include <levin/data/iterable_dataset.h>
#include <levin/data/sampler.h>
#include <levin/data/transform.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

namespace levin {

/** In the order of torch.utils.data.DataLoader, then ours. */
struct DataLoaderOptions {
  std::int64_t batch_size = 1;
  bool shuffle = false;             ///< a new order every epoch
  Sampler sampler = {};             ///< which samples in which order, instead of `shuffle`
  BatchSampler batch_sampler = {};  ///< whole batches, instead of batch_size, shuffle, sampler and drop_last
  std::int64_t num_workers = 0;     ///< threads that load ahead; 0 loads in `next`
  Collate collate_fn = {};          ///< from samples to a batch; by default Dataset::get_batch, or stack_samples
  bool pin_memory = false;          ///< batches in page-locked memory; nothing without an accelerator
  bool drop_last = false;           ///< leave out a last batch that is smaller than batch_size
  double timeout = 0;               ///< seconds to wait for a worker's batch; 0 for ever
  std::function<void(std::int64_t worker)> worker_init_fn = {};  ///< called first on every worker
  std::int64_t prefetch_factor = 2;                              ///< batches loaded ahead a worker
  bool persistent_workers = false;                               ///< keep the workers from epoch to epoch
  /**
   * Decides the order of every epoch and the random numbers of samples (sample_rng); by default derived from
   * current_seed() when the loader is made. Samplers have seeds of their own.
   */
  std::optional<std::uint64_t> seed = {};
  Transform transform = {};  ///< applied to every batch, in the workers
};

/** How a CombinedLoader goes through its parts. */
enum class CombineMode {
  min_size,        ///< a batch of every part at once, until the shortest ends
  max_size_cycle,  ///< a batch of every part at once, until the longest ends; shorter ones start again
  max_size,        ///< a batch of every part at once, until the longest ends; ended ones give an empty part
  sequential,      ///< one part after the other
  interleaved,     ///< a batch of one part at a time, in turns, until all have ended
};

/** "min_size", "max_size_cycle", ... */
LEVIN_API std::string_view to_string(CombineMode mode);

/** Whole batches to come, as rows of tensors in memory. */
struct UpcomingRows {
  const Batch* tensors = nullptr;      ///< of the dataset; null where batches are not such rows
  std::int64_t batch_size = 0;         ///< of every batch
  std::int64_t batches = 0;            ///< of this size, one after the other
  const std::int64_t* rows = nullptr;  ///< batches * batch_size of them; null: those from `first` on
  std::int64_t first = 0;
};

class DataLoader;

/**
 * What a loader of one's own implements; `DataLoader(std::make_shared<MyLoader>(...))` makes it one. The base keeps
 * the position: which epoch, how many batches were given, whether the end was seen.
 */
class LEVIN_API LoaderImpl {
 public:
  LoaderImpl() = default;
  LoaderImpl(const LoaderImpl&) = delete;
  LoaderImpl& operator=(const LoaderImpl&) = delete;
  virtual ~LoaderImpl();

  std::int64_t epoch() const noexcept { return epoch_; }
  std::int64_t batches_given() const noexcept { return given_; }
  bool finished() const noexcept { return finished_; }

  void begin_epoch(std::int64_t epoch);
  bool next(Batch& batch);
  std::uint64_t begin_loop();  // the number of a new loop over the loader
  std::uint64_t current_loop() const noexcept { return loop_; }

  /** Batches an epoch; nullopt when nobody knows before its end. */
  virtual std::optional<std::int64_t> size() const = 0;
  /** Whether the epoch has no further batch; may have to read one ahead. */
  virtual bool at_end() = 0;
  /** The position as {epoch, batch, finished} (`position`) and whatever else decides the batches to come. */
  virtual Map state() const = 0;
  virtual void load_state(const Map& state) = 0;
  /** The same data in an order that every epoch repeats. */
  virtual std::shared_ptr<LoaderImpl> sequential_copy() const = 0;

  /**
   * The batches that `next` would give, for a reader that takes the rows itself and says `skip` for each batch. By
   * default none: they have to be asked for. Holds until the position or the dataset changes.
   */
  virtual UpcomingRows upcoming_rows() { return {}; }
  /** Goes past `batches` of the upcoming rows. */
  void skip(std::int64_t batches) noexcept { given_ += batches; }

  /** For loaders over one dataset. */
  virtual const Dataset& dataset() const;
  virtual const DataLoaderOptions& options() const;
  /** For combined loaders. */
  virtual std::span<const DataLoader> parts() const;
  virtual CombineMode mode() const;
  virtual std::int64_t dataloader_idx() const;

 protected:
  /** Makes ready for batch 0 of `epoch()`. */
  virtual void start_epoch() = 0;
  /** The batch after the `batches_given()` first ones of the epoch; false at its end. */
  virtual bool fetch(Batch& batch) = 0;

  /** {epoch, batch, finished}. */
  Map position() const;
  /** Takes the position from a state; throws Error for an impossible one. */
  void load_position(const Map& state);

 private:
  std::int64_t epoch_ = 0;
  std::int64_t given_ = 0;
  bool finished_ = false;   // the end of the epoch was seen: a loop starts the next one
  bool looped_ = false;     // a loop began here: the next one starts the next epoch
  std::uint64_t loop_ = 0;  // which loop owns the position
};

/**
 * Batches of a dataset. Copies share one position; a default-constructed loader is undefined ("no such loader").
 *
 * The order of an epoch depends on (seed, epoch) alone, never on threads or torch's generator. Without shuffling,
 * batches of in-memory tensors are views into the dataset, which a step must not change in place.
 *
 * With workers, threads load ahead; batches and their order are the same for any number of them, as long as random
 * numbers come from `sample_rng`. Batches that were loaded but not handed out are loaded again after a resume. An
 * exception in a dataset, collate function or transform comes out of `next` at its batch's turn, with the sample's
 * index and the dataset's name; the position stays before that batch. Inside workers torch computes on one thread.
 *
 * By hand: `for (const auto& batch : loader)` runs one epoch, each loop the next one. The Trainer's way: `begin_epoch`,
 * then `next` until it is false. Both can be saved and restored at any batch by `state` and `load_state`.
 */
class LEVIN_API DataLoader {
 public:
  DataLoader() = default;
  /** Throws Error when the dataset is undefined or an option makes no sense. */
  DataLoader(Dataset dataset, DataLoaderOptions options = {});
  /** Over a dataset of samples one after the other, which takes neither shuffle nor samplers. */
  DataLoader(IterableDataset dataset, DataLoaderOptions options = {});
  /** A loader of another kind. */
  explicit DataLoader(std::shared_ptr<LoaderImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  /** Whether the number of batches is known before the end of an epoch. */
  bool has_size() const { return impl().size().has_value(); }
  /** Batches an epoch; throws Error when that is not known. */
  std::int64_t size() const;
  /** Throws Error for a combined loader, as `options` does: its parts have them. */
  const Dataset& dataset() const { return impl().dataset(); }
  /** The options, with the seed in use. */
  const DataLoaderOptions& options() const { return impl().options(); }

  /** Goes to the start of `epoch` (from 0). */
  void begin_epoch(std::int64_t epoch) { impl().begin_epoch(epoch); }
  /** Sets `batch` to the next one and returns true, or returns false at the end of the epoch, as often as called. */
  bool next(Batch& batch) { return impl().next(batch); }
  /** The next batch, or nullopt at the end of the epoch. */
  std::optional<Batch> next();
  /** Whether the batch given last was the epoch's last; where the length is unknown, this reads one batch ahead. */
  bool at_end() { return impl().at_end(); }

  std::int64_t epoch() const { return impl().epoch(); }
  /** Batches of this epoch that were handed out. */
  std::int64_t batches_given() const { return impl().batches_given(); }

  /** The loaders of a combined one, in order; empty for a single one. */
  std::span<const DataLoader> parts() const { return impl().parts(); }
  /** How a combined loader goes through its parts; sequential for a single one. */
  CombineMode mode() const { return impl().mode(); }
  /** Which part gave the last batch, in the modes that ask one at a time; else 0. */
  std::int64_t dataloader_idx() const { return impl().dataloader_idx(); }

  /**
   * A new loader over the same data in an order that every epoch repeats, at the start of epoch 0: without shuffling,
   * or with a random sampler's indices of epoch 0. What overfitting a few batches on purpose needs.
   */
  DataLoader sequential_copy() const { return DataLoader(impl().sequential_copy()); }

  /**
   * The exact position: {epoch, batch, finished} and what decides the batches to come, for a single loader {seed,
   * dataset_size, batch_size, shuffle, drop_last}. `finished` is set once the end of the epoch was seen, so that the
   * next loop starts the next epoch.
   */
  Map state() const { return impl().state(); }
  /**
   * Goes on exactly where `state` was taken: `next`, or the next loop, gives the batches that were left. Throws Error
   * when the position is within an epoch and the loader is set up otherwise (dataset size, batch size, shuffle,
   * drop_last), since the batches left could not be the same. The seed is taken from the state.
   */
  void load_state(const Map& state) { impl().load_state(state); }

  class Iterator;
  /** Starts the next epoch, or runs where begin_epoch or load_state went. One loop at a time runs on a loader. */
  Iterator begin();
  std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

  /** The implementation; throws Error when undefined. */
  LoaderImpl& impl() const {
    if (!impl_) throw_undefined();
    return *impl_;
  }

 private:
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<LoaderImpl> impl_;
};

/** The single-pass iterator of a range-for over a loader. */
class LEVIN_API DataLoader::Iterator {
 public:
  using value_type = Batch;
  using difference_type = std::ptrdiff_t;

  const Batch& operator*() const noexcept { return *batch_; }
  const Batch* operator->() const noexcept { return &*batch_; }
  Iterator& operator++();
  void operator++(int) { ++*this; }
  bool operator==(std::default_sentinel_t) const noexcept { return !batch_; }

 private:
  friend class DataLoader;
  Iterator(DataLoader loader, std::uint64_t loop) : loader_(std::move(loader)), loop_(loop) { ++*this; }

  DataLoader loader_;
  std::uint64_t loop_;
  std::optional<Batch> batch_;
};

}  // namespace levin
