// IterableDataset: samples one after the other, of which nobody needs to know how many there are.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/data/batch.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace levin {

/** One pass over (a shard of) an iterable dataset. */
class LEVIN_API SampleStream {
 public:
  virtual ~SampleStream();

  /** Sets `sample` to the next one, its tensors without a batch dimension, or returns false at the end. */
  virtual bool next(Batch& sample) = 0;
  /** Leaves out `count` samples; by default reads them. A stream that can jump overrides this. */
  virtual void skip(std::int64_t count);
  /** The position, for `load_state` of a new stream; by default nullopt: a resumed loader skips ahead instead. */
  virtual std::optional<Map> state() const;
  virtual void load_state(const Map& state);
};

/** Which pass a stream is for. */
struct StreamContext {
  std::int64_t epoch = 0;
  std::int64_t shard = 0;
  std::int64_t num_shards = 1;
};

/** What an iterable dataset implements. */
class LEVIN_API IterableDatasetImpl {
 public:
  virtual ~IterableDatasetImpl();

  /** A new pass. Streams of different shards may run at the same time; together they are the whole. */
  virtual std::unique_ptr<SampleStream> open(const StreamContext& context) const = 0;
  /**
   * How many parts can be read at the same time. A loader takes batches from the shards in turns, so their number
   * decides the order of batches, and the number of workers does not.
   */
  virtual std::int64_t shards() const;
  /** Samples an epoch, where known. */
  virtual std::optional<std::int64_t> size() const;
  /** For messages; by default the name of the class. */
  virtual std::string name() const;
};

/** A handle to an iterable dataset, shared by its copies. */
class LEVIN_API IterableDataset {
 public:
  IterableDataset() = default;
  IterableDataset(std::shared_ptr<const IterableDatasetImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  /** The implementation; throws Error when undefined. */
  const IterableDatasetImpl& impl() const {
    if (!impl_) throw_undefined();
    return *impl_;
  }

 private:
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<const IterableDatasetImpl> impl_;
};

}  // namespace levin
