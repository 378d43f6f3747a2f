// Samplers: which samples of a dataset an epoch uses, in which order.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace levin {

class Sampler;

/**
 * What a sampler implements. The order is a function of the epoch (and of a seed) alone, so that a position within it
 * can be found again: the whole state of an epoch is its number.
 */
class LEVIN_API SamplerImpl {
 public:
  virtual ~SamplerImpl();

  /** Indices an epoch. */
  virtual std::int64_t size() const = 0;
  /** The indices of `epoch`, `size()` of them; the same whenever it is asked. */
  virtual std::vector<std::int64_t> order(std::int64_t epoch) const = 0;
  /** What `order` depends on besides the epoch and the sampler's construction, for instance a seed. */
  virtual Map state() const;
  virtual void load_state(const Map& state);
  /** The sampler of the same samples with one order for every epoch; by default that of epoch 0. */
  virtual Sampler sequential() const;
};

/** A handle to a sampler: `DataLoader(data, {.sampler = RandomSampler(data.size())})`. */
class LEVIN_API Sampler {
 public:
  Sampler() = default;
  Sampler(std::shared_ptr<SamplerImpl> impl) : impl_(std::move(impl)) {}

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  std::int64_t size() const { return impl().size(); }
  std::vector<std::int64_t> order(std::int64_t epoch) const { return impl().order(epoch); }
  Map state() const { return impl().state(); }
  void load_state(const Map& state) const { impl().load_state(state); }
  Sampler sequential() const { return impl().sequential(); }

  /** The implementation; throws Error when undefined. */
  SamplerImpl& impl() const {
    if (!impl_) throw_undefined();
    return *impl_;
  }

 private:
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<SamplerImpl> impl_;
};

/** 0, 1, ..., size - 1. */
class LEVIN_API SequentialSampler : public Sampler {
 public:
  explicit SequentialSampler(std::int64_t size);
};

struct RandomSamplerOptions {
  bool replacement = false;
  std::optional<std::int64_t> num_samples;  ///< by default all; beyond the size, further permutations follow
  std::optional<std::uint64_t> seed;        ///< by default derived from current_seed()
};

/** A random order of `size` samples (torch.utils.data.RandomSampler). */
class LEVIN_API RandomSampler : public Sampler {
 public:
  explicit RandomSampler(std::int64_t size, const RandomSamplerOptions& options = {});
};

struct SeedOptions {
  std::optional<std::uint64_t> seed;  ///< by default derived from current_seed()
};

/** These samples in a random order (torch.utils.data.SubsetRandomSampler). */
class LEVIN_API SubsetRandomSampler : public Sampler {
 public:
  explicit SubsetRandomSampler(std::vector<std::int64_t> indices, const SeedOptions& options = {});
};

struct WeightedRandomSamplerOptions {
  bool replacement = true;
  std::optional<std::uint64_t> seed;  ///< by default derived from current_seed()
};

/**
 * `num_samples` draws of 0..weights.size()-1 with probabilities proportional to the weights
 * (torch.utils.data.WeightedRandomSampler). Without replacement, each next one is drawn from what is left. Throws Error
 * for negative or infinite weights, all zero, or fewer positive ones than draws without replacement.
 */
class LEVIN_API WeightedRandomSampler : public Sampler {
 public:
  WeightedRandomSampler(std::vector<double> weights, std::int64_t num_samples,
                        const WeightedRandomSamplerOptions& options = {});
};

struct DistributedSamplerOptions {
  std::int64_t num_replicas = 1;
  std::int64_t rank = 0;
  bool shuffle = true;
  std::uint64_t seed = 0;  ///< must be the same on every rank
  bool drop_last = false;  ///< leave out the remainder instead of repeating samples
  /** Every sample exactly once: the first ranks may get one more than the last. For evaluation. */
  bool exact = false;
};

/**
 * The share of one rank: every num_replicas-th index of a common order (torch.utils.data.DistributedSampler). All
 * ranks get the same number, the order being filled up with its first indices, or cut with drop_last.
 */
class LEVIN_API DistributedSampler : public Sampler {
 public:
  explicit DistributedSampler(std::int64_t size, const DistributedSamplerOptions& options = {});
};

class BatchSampler;

/** What a sampler of whole batches implements, as SamplerImpl does for samples. */
class LEVIN_API BatchSamplerImpl {
 public:
  virtual ~BatchSamplerImpl();

  /** Batches an epoch. */
  virtual std::int64_t size() const = 0;
  /** The batches of `epoch`, `size()` of them, none empty; the same whenever it is asked. */
  virtual std::vector<std::vector<std::int64_t>> batches(std::int64_t epoch) const = 0;
  virtual Map state() const;
  virtual void load_state(const Map& state);
  /** The same samples with one order for every epoch; by default that of epoch 0. */
  virtual BatchSampler sequential() const;
};

/** A handle to a sampler of whole batches: cuts a sampler's order, or is another kind by deriving. */
class LEVIN_API BatchSampler {
 public:
  BatchSampler() = default;
  BatchSampler(std::shared_ptr<BatchSamplerImpl> impl) : impl_(std::move(impl)) {}
  /** The order of `sampler` in batches of `batch_size` (torch.utils.data.BatchSampler). */
  BatchSampler(Sampler sampler, std::int64_t batch_size, bool drop_last = false);

  bool defined() const noexcept { return impl_ != nullptr; }
  explicit operator bool() const noexcept { return defined(); }

  std::int64_t size() const { return impl().size(); }
  std::vector<std::vector<std::int64_t>> batches(std::int64_t epoch) const { return impl().batches(epoch); }
  Map state() const { return impl().state(); }
  void load_state(const Map& state) const { impl().load_state(state); }
  BatchSampler sequential() const { return impl().sequential(); }

  /** The implementation; throws Error when undefined. */
  BatchSamplerImpl& impl() const {
    if (!impl_) throw_undefined();
    return *impl_;
  }

 private:
  [[noreturn]] static void throw_undefined();

  std::shared_ptr<BatchSamplerImpl> impl_;
};

/** Give either `batch_size` or `max_tokens`. */
struct BucketBatchSamplerOptions {
  std::int64_t batch_size = 0;                ///< samples a batch
  std::int64_t max_tokens = 0;                ///< samples a batch times the longest length of their bucket, at most
  std::int64_t num_buckets = 10;              ///< of about equally many samples, when no boundaries are given
  std::vector<std::int64_t> boundaries = {};  ///< the longest length of each bucket, rising; the last holds the rest
  bool shuffle = true;                        ///< samples within their bucket and the order of the batches
  bool drop_last = false;                     ///< leave out batches that are not full
  std::optional<std::uint64_t> seed;          ///< by default derived from current_seed()
};

/**
 * Batches of samples of similar length, so that padding them wastes little. `lengths` has one length a sample.
 * Buckets depend on the lengths alone, so every epoch has the same number of batches.
 */
class LEVIN_API BucketBatchSampler : public BatchSampler {
 public:
  BucketBatchSampler(std::vector<std::int64_t> lengths, const BucketBatchSamplerOptions& options);
};

}  // namespace levin
