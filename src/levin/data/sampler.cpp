#include <levin/data/sampler.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/data/seed.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

namespace levin {
namespace {

using Indices = std::vector<std::int64_t>;

Indices count_to(std::int64_t size) {
  Indices indices(static_cast<std::size_t>(size));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

void check_count(std::int64_t value, std::int64_t least, const char* where) {
  if (value >= least) return;
  throw Error({.what = "a sampler needs a number of at least " + std::to_string(least),
               .value = std::to_string(value),
               .where = where,
               .hint = {}});
}

Rng epoch_rng(std::uint64_t seed, const char* purpose, std::int64_t epoch) {
  return Rng(seed, purpose, static_cast<std::uint64_t>(epoch));
}

// One order for every epoch.
class FixedSampler : public SamplerImpl {
 public:
  explicit FixedSampler(Indices indices) : indices_(std::move(indices)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  Indices order(std::int64_t) const override { return indices_; }

 private:
  Indices indices_;
};

class SequentialImpl : public SamplerImpl {
 public:
  explicit SequentialImpl(std::int64_t size) : size_(size) { check_count(size, 0, "SequentialSampler size"); }
  std::int64_t size() const override { return size_; }
  Indices order(std::int64_t) const override { return count_to(size_); }

 private:
  std::int64_t size_;
};

// The base of those that draw: their state is their seed.
class SeededSampler : public SamplerImpl {
 public:
  SeededSampler(std::optional<std::uint64_t> seed, const char* name)
      : seed_(seed ? *seed : mix_seed(current_seed(), stable_hash(name))) {}
  Map state() const override { return {{"seed", static_cast<std::int64_t>(seed_)}}; }
  void load_state(const Map& state) override { seed_ = static_cast<std::uint64_t>(state.get<std::int64_t>("seed")); }

 protected:
  std::uint64_t seed_;
};

class RandomImpl : public SeededSampler {
 public:
  RandomImpl(std::int64_t size, const RandomSamplerOptions& options)
      : SeededSampler(options.seed, "RandomSampler"),
        size_(size),
        draws_(options.num_samples.value_or(size)),
        replacement_(options.replacement) {
    check_count(size, draws_ > 0 ? 1 : 0, "RandomSampler size");
    check_count(draws_, 0, "RandomSampler .num_samples");
  }
  std::int64_t size() const override { return draws_; }

  Indices order(std::int64_t epoch) const override {
    auto rng = epoch_rng(seed_, "shuffle", epoch);
    Indices order;
    order.reserve(static_cast<std::size_t>(draws_));
    if (replacement_) {
      for (std::int64_t i = 0; i < draws_; ++i) {
        order.push_back(static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(size_))));
      }
      return order;
    }
    while (static_cast<std::int64_t>(order.size()) < draws_) {
      const auto next = rng.permutation(size_);
      const auto wanted = std::min(size_, draws_ - static_cast<std::int64_t>(order.size()));
      order.insert(order.end(), next.begin(), next.begin() + wanted);
    }
    return order;
  }

  Sampler sequential() const override {
    if (!replacement_ && draws_ == size_) return SequentialSampler(size_);
    return SamplerImpl::sequential();
  }

 private:
  std::int64_t size_, draws_;
  bool replacement_;
};

class SubsetRandomImpl : public SeededSampler {
 public:
  SubsetRandomImpl(Indices indices, const SeedOptions& options)
      : SeededSampler(options.seed, "SubsetRandomSampler"), indices_(std::move(indices)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(indices_.size()); }
  Indices order(std::int64_t epoch) const override {
    auto order = epoch_rng(seed_, "shuffle", epoch).permutation(size());
    for (auto& index : order) index = indices_[static_cast<std::size_t>(index)];
    return order;
  }
  Sampler sequential() const override { return Sampler(std::make_shared<FixedSampler>(indices_)); }

 private:
  Indices indices_;
};

class WeightedRandomImpl : public SeededSampler {
 public:
  WeightedRandomImpl(std::vector<double> weights, std::int64_t draws, const WeightedRandomSamplerOptions& options)
      : SeededSampler(options.seed, "WeightedRandomSampler"),
        weights_(std::move(weights)),
        draws_(draws),
        replacement_(options.replacement) {
    check_count(draws, 0, "WeightedRandomSampler num_samples");
    std::int64_t positive = 0;
    double sum = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      if (!(weights_[i] >= 0) || !std::isfinite(weights_[i])) {
        throw Error({.what = "the weight of sample " + std::to_string(i) + " must be a number of at least 0",
                     .value = format_double(weights_[i]),
                     .where = "WeightedRandomSampler weights",
                     .hint = {}});
      }
      positive += weights_[i] > 0;
      sum += weights_[i];
      cumulative_.push_back(sum);
    }
    if (draws > 0 && (positive == 0 || !std::isfinite(sum) || (!replacement_ && positive < draws))) {
      throw Error({.what = positive == 0 || !std::isfinite(sum)
                               ? "the weights must sum to a positive finite number"
                               : "too few weights above 0 for draws without replacement",
                   .value = std::to_string(positive) + " positive weights, " + std::to_string(draws) + " draws",
                   .where = "WeightedRandomSampler weights",
                   .hint = {}});
    }
  }
  std::int64_t size() const override { return draws_; }

  Indices order(std::int64_t epoch) const override {
    auto rng = epoch_rng(seed_, "weighted", epoch);
    return replacement_ ? with_replacement(rng) : without_replacement(rng);
  }

 private:
  Indices with_replacement(Rng& rng) const {
    Indices order;
    order.reserve(static_cast<std::size_t>(draws_));
    for (std::int64_t i = 0; i < draws_; ++i) {
      const double at = rng.uniform() * cumulative_.back();
      auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), at);
      if (found == cumulative_.end())
        found = std::lower_bound(cumulative_.begin(), cumulative_.end(), cumulative_.back());
      order.push_back(found - cumulative_.begin());
    }
    return order;
  }

  // Exponential races: the sample whose clock, of rate its weight, rings first is drawn first (Efraimidis and
  // Spirakis 2006, "Weighted random sampling with a reservoir").
  Indices without_replacement(Rng& rng) const {
    std::vector<std::pair<double, std::int64_t>> times;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const double time = -std::log(1 - rng.uniform());
      if (weights_[i] > 0) times.emplace_back(time / weights_[i], static_cast<std::int64_t>(i));
    }
    std::partial_sort(times.begin(), times.begin() + draws_, times.end());
    Indices order;
    for (std::int64_t i = 0; i < draws_; ++i) order.push_back(times[static_cast<std::size_t>(i)].second);
    return order;
  }

  std::vector<double> weights_, cumulative_;
  std::int64_t draws_;
  bool replacement_;
};

class DistributedImpl : public SamplerImpl {
 public:
  DistributedImpl(std::int64_t size, const DistributedSamplerOptions& options) : size_(size), options_(options) {
    check_count(size, 0, "DistributedSampler size");
    check_count(options.num_replicas, 1, "DistributedSampler .num_replicas");
    if (options.rank < 0 || options.rank >= options.num_replicas) {
      throw Error({.what = "a rank must lie within [0, num_replicas)",
                   .value = std::to_string(options.rank),
                   .where = "DistributedSampler .rank",
                   .hint = "there are " + std::to_string(options.num_replicas) + " replicas"});
    }
    if (options.exact && options.drop_last) {
      throw Error({.what = "every sample exactly once and leaving some out contradict each other",
                   .value = {},
                   .where = "DistributedSampler .exact and .drop_last",
                   .hint = {}});
    }
  }

  std::int64_t size() const override {
    const auto all = total();
    return all > options_.rank ? (all - options_.rank - 1) / options_.num_replicas + 1 : 0;
  }

  Indices order(std::int64_t epoch) const override {
    const auto common =
        options_.shuffle ? epoch_rng(options_.seed, "shuffle", epoch).permutation(size_) : count_to(size_);
    Indices own;
    for (auto i = options_.rank; i < total(); i += options_.num_replicas) {
      own.push_back(common[static_cast<std::size_t>(i % size_)]);
    }
    return own;
  }

  Map state() const override { return {{"seed", static_cast<std::int64_t>(options_.seed)}}; }
  void load_state(const Map& state) override {
    options_.seed = static_cast<std::uint64_t>(state.get<std::int64_t>("seed"));
  }

  Sampler sequential() const override {
    auto options = options_;
    options.shuffle = false;
    return DistributedSampler(size_, options);
  }

 private:
  // Indices of all ranks together.
  std::int64_t total() const {
    const auto remainder = size_ % options_.num_replicas;
    if (options_.exact || remainder == 0) return size_;
    return options_.drop_last ? size_ - remainder : size_ - remainder + options_.num_replicas;
  }

  std::int64_t size_;
  DistributedSamplerOptions options_;
};

class FixedBatches : public BatchSamplerImpl {
 public:
  explicit FixedBatches(std::vector<Indices> batches) : batches_(std::move(batches)) {}
  std::int64_t size() const override { return static_cast<std::int64_t>(batches_.size()); }
  std::vector<Indices> batches(std::int64_t) const override { return batches_; }

 private:
  std::vector<Indices> batches_;
};

// Appends `order` to `batches` in pieces of `batch_size`.
void cut(std::span<const std::int64_t> order, std::int64_t batch_size, bool drop_last, std::vector<Indices>& batches) {
  const auto size = static_cast<std::size_t>(batch_size);
  for (std::size_t begin = 0; begin < order.size(); begin += size) {
    const auto count = std::min(size, order.size() - begin);
    if (count == size || !drop_last)
      batches.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin),
                           order.begin() + static_cast<std::ptrdiff_t>(begin + count));
  }
}

class CutBatches : public BatchSamplerImpl {
 public:
  CutBatches(Sampler sampler, std::int64_t batch_size, bool drop_last)
      : sampler_(std::move(sampler)), batch_size_(batch_size), drop_last_(drop_last) {
    check_count(batch_size, 1, "BatchSampler batch_size");
    sampler_.impl();
  }
  std::int64_t size() const override {
    return drop_last_ ? sampler_.size() / batch_size_ : (sampler_.size() + batch_size_ - 1) / batch_size_;
  }
  std::vector<Indices> batches(std::int64_t epoch) const override {
    std::vector<Indices> batches;
    cut(sampler_.order(epoch), batch_size_, drop_last_, batches);
    return batches;
  }
  Map state() const override { return sampler_.state(); }
  void load_state(const Map& state) override { sampler_.load_state(state); }
  BatchSampler sequential() const override { return {sampler_.sequential(), batch_size_, drop_last_}; }

 private:
  Sampler sampler_;
  std::int64_t batch_size_;
  bool drop_last_;
};

class BucketBatches : public BatchSamplerImpl {
 public:
  BucketBatches(const Indices& lengths, const BucketBatchSamplerOptions& options)
      : drop_last_(options.drop_last),
        shuffle_(options.shuffle),
        seed_(options.seed ? *options.seed : mix_seed(current_seed(), stable_hash("BucketBatchSampler"))) {
    check(lengths, options);
    Indices by_length = count_to(static_cast<std::int64_t>(lengths.size()));
    const auto length = [&](std::int64_t index) { return lengths[static_cast<std::size_t>(index)]; };
    std::stable_sort(by_length.begin(), by_length.end(), [&](auto a, auto b) { return length(a) < length(b); });
    const auto add = [&](std::size_t begin, std::size_t end) {
      if (begin == end) return;
      const auto longest = length(by_length[end - 1]);
      const auto size = options.batch_size > 0
                            ? options.batch_size
                            : std::max<std::int64_t>(1, options.max_tokens / std::max<std::int64_t>(1, longest));
      buckets_.push_back({Indices(by_length.begin() + static_cast<std::ptrdiff_t>(begin),
                                  by_length.begin() + static_cast<std::ptrdiff_t>(end)),
                          size});
    };
    std::size_t begin = 0;
    if (options.boundaries.empty()) {
      const auto count = static_cast<std::size_t>(options.num_buckets);
      for (std::size_t i = 1; i <= count; ++i) {
        const auto end = by_length.size() * i / count;
        add(begin, end);
        begin = end;
      }
    } else {
      for (const auto boundary : options.boundaries) {
        auto end = begin;
        while (end < by_length.size() && length(by_length[end]) <= boundary) ++end;
        add(begin, end);
        begin = end;
      }
      add(begin, by_length.size());
    }
  }

  std::int64_t size() const override {
    std::int64_t batches = 0;
    for (const auto& bucket : buckets_) {
      const auto samples = static_cast<std::int64_t>(bucket.indices.size());
      batches += drop_last_ ? samples / bucket.batch_size : (samples + bucket.batch_size - 1) / bucket.batch_size;
    }
    return batches;
  }

  std::vector<Indices> batches(std::int64_t epoch) const override {
    auto rng = epoch_rng(seed_, "buckets", epoch);
    std::vector<Indices> batches;
    for (const auto& bucket : buckets_) {
      Indices order = bucket.indices;
      if (shuffle_) {
        const auto places = rng.permutation(static_cast<std::int64_t>(order.size()));
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = bucket.indices[static_cast<std::size_t>(places[i])];
      }
      cut(order, bucket.batch_size, drop_last_, batches);
    }
    if (!shuffle_) return batches;
    std::vector<Indices> shuffled;
    for (const auto place : rng.permutation(static_cast<std::int64_t>(batches.size()))) {
      shuffled.push_back(std::move(batches[static_cast<std::size_t>(place)]));
    }
    return shuffled;
  }

  Map state() const override { return {{"seed", static_cast<std::int64_t>(seed_)}}; }
  void load_state(const Map& state) override { seed_ = static_cast<std::uint64_t>(state.get<std::int64_t>("seed")); }

  BatchSampler sequential() const override {
    auto copy = std::make_shared<BucketBatches>(*this);
    copy->shuffle_ = false;
    return BatchSampler(std::move(copy));
  }

 private:
  struct Bucket {
    Indices indices;  // by length
    std::int64_t batch_size;
  };

  static void check(const Indices& lengths, const BucketBatchSamplerOptions& options) {
    if ((options.batch_size > 0) == (options.max_tokens > 0) || options.batch_size < 0 || options.max_tokens < 0) {
      throw Error({.what = "batches by length need either a batch size or a number of tokens",
                   .value = "batch_size " + std::to_string(options.batch_size) + ", max_tokens " +
                            std::to_string(options.max_tokens),
                   .where = "BucketBatchSampler",
                   .hint = "set one of them to at least 1"});
    }
    check_count(options.num_buckets, 1, "BucketBatchSampler .num_buckets");
    for (const auto length : lengths) check_count(length, 0, "BucketBatchSampler lengths");
    if (!std::is_sorted(options.boundaries.begin(), options.boundaries.end())) {
      throw Error({.what = "the boundaries of buckets must rise",
                   .value = {},
                   .where = "BucketBatchSampler .boundaries",
                   .hint = {}});
    }
  }

  std::vector<Bucket> buckets_;
  bool drop_last_, shuffle_;
  std::uint64_t seed_;
};

}  // namespace

SamplerImpl::~SamplerImpl() = default;
Map SamplerImpl::state() const { return {}; }
void SamplerImpl::load_state(const Map&) {}
Sampler SamplerImpl::sequential() const { return Sampler(std::make_shared<FixedSampler>(order(0))); }

void Sampler::throw_undefined() {
  throw Error("an undefined sampler was used");
}

SequentialSampler::SequentialSampler(std::int64_t size) : Sampler(std::make_shared<SequentialImpl>(size)) {}

RandomSampler::RandomSampler(std::int64_t size, const RandomSamplerOptions& options)
    : Sampler(std::make_shared<RandomImpl>(size, options)) {}

SubsetRandomSampler::SubsetRandomSampler(std::vector<std::int64_t> indices, const SeedOptions& options)
    : Sampler(std::make_shared<SubsetRandomImpl>(std::move(indices), options)) {}

WeightedRandomSampler::WeightedRandomSampler(std::vector<double> weights, std::int64_t num_samples,
                                             const WeightedRandomSamplerOptions& options)
    : Sampler(std::make_shared<WeightedRandomImpl>(std::move(weights), num_samples, options)) {}

DistributedSampler::DistributedSampler(std::int64_t size, const DistributedSamplerOptions& options)
    : Sampler(std::make_shared<DistributedImpl>(size, options)) {}

BatchSamplerImpl::~BatchSamplerImpl() = default;
Map BatchSamplerImpl::state() const { return {}; }
void BatchSamplerImpl::load_state(const Map&) {}
BatchSampler BatchSamplerImpl::sequential() const { return BatchSampler(std::make_shared<FixedBatches>(batches(0))); }

BatchSampler::BatchSampler(Sampler sampler, std::int64_t batch_size, bool drop_last)
    : impl_(std::make_shared<CutBatches>(std::move(sampler), batch_size, drop_last)) {}

void BatchSampler::throw_undefined() {
  throw Error("an undefined batch sampler was used");
}

BucketBatchSampler::BucketBatchSampler(std::vector<std::int64_t> lengths, const BucketBatchSamplerOptions& options)
    : BatchSampler(std::make_shared<BucketBatches>(lengths, options)) {}

}  // namespace levin
