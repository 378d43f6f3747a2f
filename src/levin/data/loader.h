// DataLoader: a dataset's samples as batches, epoch after epoch, from a position that can be saved.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>
#include <levin/data/dataset.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>

namespace levin {

/** In the order of torch.utils.data.DataLoader, then ours. */
struct DataLoaderOptions {
  std::int64_t batch_size = 1;
  bool shuffle = false;    ///< a new order every epoch
  bool drop_last = false;  ///< leave out a last batch that is smaller than batch_size
  /** Decides the order of every epoch; by default derived from current_seed() when the loader is made. */
  std::optional<std::uint64_t> seed;
};

/**
 * Batches of a dataset. Copies share one position; a default-constructed loader is undefined ("no such loader").
 *
 * The order of an epoch depends on (seed, epoch) alone, never on threads or torch's generator. Without shuffling,
 * batches of in-memory tensors are views into the dataset, which a step must not change in place.
 *
 * By hand: `for (const auto& batch : loader)` runs one epoch, each loop the next one. The Trainer's way: `begin_epoch`,
 * then `next` until it is false. Both can be saved and restored at any batch by `state` and `load_state`.
 */
class LEVIN_API DataLoader {
 public:
  DataLoader() = default;
  /** Throws Error when the dataset is undefined or batch_size is below 1. */
  DataLoader(Dataset dataset, DataLoaderOptions options = {});

  bool defined() const noexcept { return state_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  /** Batches an epoch. */
  std::int64_t size() const;
  const Dataset& dataset() const;
  /** The options, with the seed in use. */
  const DataLoaderOptions& options() const;

  /** Goes to the start of `epoch` (from 0). */
  void begin_epoch(std::int64_t epoch);
  /** Sets `batch` to the next one and returns true, or returns false at the end of the epoch, as often as called. */
  bool next(Batch& batch);
  /** The next batch, or nullopt at the end of the epoch. */
  std::optional<Batch> next();

  std::int64_t epoch() const;
  /** Batches of this epoch that were handed out. */
  std::int64_t batches_given() const;

  /**
   * The exact position: {seed, epoch, batch, finished, dataset_size, batch_size, shuffle, drop_last}. `finished` is
   * set once the end of the epoch was seen, so that the next loop starts the next epoch.
   */
  Map state() const;
  /**
   * Goes on exactly where `state` was taken: `next`, or the next loop, gives the batches that were left. Throws Error
   * when the position is within an epoch and the loader is set up otherwise (dataset size, batch size, shuffle,
   * drop_last), since the batches left could not be the same. The seed is taken from the state.
   */
  void load_state(const Map& state);

  class Iterator;
  /** Starts the next epoch, or runs where begin_epoch or load_state went. One loop at a time runs on a loader. */
  Iterator begin();
  std::default_sentinel_t end() const noexcept { return std::default_sentinel; }

 private:
  struct State;
  State& checked() const {
    if (!state_) throw_undefined();
    return *state_;
  }
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<State> state_;
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
