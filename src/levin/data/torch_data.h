// Datasets and samplers of torch::data as Levin's. Not part of <levin/levin.h>: it includes all of torch::data.
#pragma once

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/data/collate.h>
#include <levin/data/dataset.h>
#include <levin/data/iterable_dataset.h>
#include <levin/data/sampler.h>
#include <levin/data/seed.h>

#include <torch/data.h>

#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

namespace levin {

inline Batch to_batch(const torch::data::Example<>& example) { return {example.data, example.target}; }
inline Batch to_batch(const torch::data::TensorExample& example) { return {example.data}; }

namespace torch_data {

template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;

// What get_batch gave as samples: a list of examples, or one example that was collated already.
template <class Examples>
std::vector<Batch> to_samples(const Examples& examples) {
  std::vector<Batch> samples;
  if constexpr (is_list<Examples>) {
    for (const auto& example : examples) samples.push_back(to_batch(example));
  } else {
    const auto batch = to_batch(examples);
    for (std::int64_t i = 0; i < batch.batch_size(); ++i) {
      Batch::Tensors tensors;
      for (const auto& tensor : batch) tensors.push_back(tensor.select(0, i));
      samples.push_back(batch.with_tensors(std::move(tensors)));
    }
  }
  return samples;
}

// A torch dataset may change while it is read, so every thread reads from a copy, as torch's own loader does.
template <class D>
class Adapter : public DatasetImpl {
 public:
  explicit Adapter(D dataset) : original_(std::move(dataset)) {
    const auto size = original_.size();
    if (!size) {
      throw Error({.what = "this torch::data dataset does not know its size",
                   .value = {},
                   .where = name(),
                   .hint = "from_torch_stream takes it"});
    }
    size_ = static_cast<std::int64_t>(*size);
  }

  std::int64_t size() const override { return size_; }
  Batch get(std::int64_t index) const override {
    const std::int64_t one[] = {index};
    return with_copy(one, [](const auto& examples) { return to_samples(examples).at(0); });
  }
  Batch get_batch(std::span<const std::int64_t> indices) const override {
    return with_copy(indices, [](const auto& examples) {
      if constexpr (is_list<std::decay_t<decltype(examples)>>)
        return stack_samples(to_samples(examples));
      else
        return to_batch(examples);
    });
  }

 private:
  template <class Use>
  Batch with_copy(std::span<const std::int64_t> indices, const Use& use) const {
    std::unique_ptr<D> copy;
    {
      const std::lock_guard lock(mutex_);
      if (!copies_.empty()) {
        copy = std::move(copies_.back());
        copies_.pop_back();
      } else {
        copy = std::make_unique<D>(original_);
      }
    }
    const std::vector<std::size_t> places(indices.begin(), indices.end());
    auto batch = use(copy->get_batch(places));
    const std::lock_guard lock(mutex_);
    copies_.push_back(std::move(copy));
    return batch;
  }

  D original_;
  std::int64_t size_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<D>> copies_;  // that nobody reads from now
};

template <class D>
class Stream : public SampleStream {
 public:
  explicit Stream(std::shared_ptr<D> dataset) : dataset_(std::move(dataset)) {
    if constexpr (requires { dataset_->reset(); }) dataset_->reset();
  }
  bool next(Batch& sample) override {
    std::vector<Batch> samples;
    auto examples = dataset_->get_batch(1);
    if constexpr (requires { examples.has_value(); }) {
      if (examples) samples = to_samples(*examples);
    } else {
      samples = to_samples(examples);
    }
    if (samples.empty()) return false;
    sample = std::move(samples[0]);
    return true;
  }

 private:
  std::shared_ptr<D> dataset_;
};

template <class D>
class StreamAdapter : public IterableDatasetImpl {
 public:
  explicit StreamAdapter(D dataset) : dataset_(std::make_shared<D>(std::move(dataset))) {}
  std::unique_ptr<SampleStream> open(const StreamContext&) const override {
    if constexpr (std::is_copy_constructible_v<D>) {
      return std::make_unique<Stream<D>>(std::make_shared<D>(*dataset_));
    } else {
      return std::make_unique<Stream<D>>(dataset_);
    }
  }

 private:
  std::shared_ptr<D> dataset_;
};

template <class S>
class SamplerAdapter : public SamplerImpl {
 public:
  SamplerAdapter(S sampler, std::optional<std::uint64_t> seed)
      : sampler_(std::move(sampler)),
        seed_(seed ? *seed : mix_seed(current_seed(), stable_hash("torch sampler"))),
        size_(static_cast<std::int64_t>(order(0).size())) {}

  std::int64_t size() const override { return size_; }

  std::vector<std::int64_t> order(std::int64_t epoch) const override {
    S sampler = sampler_;
    if constexpr (requires { sampler.set_epoch(std::size_t{}); }) sampler.set_epoch(static_cast<std::size_t>(epoch));
    // The sampler draws from torch's CPU generator: seeded by the epoch for it, and put back as it was.
    auto generator = at::globalContext().defaultGenerator(at::kCPU);
    const auto before = generator.get_state();
    generator.set_current_seed(mix_seed(seed_, static_cast<std::uint64_t>(epoch)));
    sampler.reset(std::nullopt);
    generator.set_state(before);
    std::vector<std::int64_t> order;
    while (const auto some = sampler.next(1024)) order.insert(order.end(), some->begin(), some->end());
    return order;
  }

  Map state() const override { return {{"seed", static_cast<std::int64_t>(seed_)}}; }
  void load_state(const Map& state) override { seed_ = static_cast<std::uint64_t>(state.get<std::int64_t>("seed")); }

 private:
  S sampler_;
  std::uint64_t seed_;
  std::int64_t size_;
};

}  // namespace torch_data

/**
 * A torch::data dataset with a size (copyable, as torch's own loader needs it), mapped ones included. Examples become
 * batches of data and target; for examples of other types, write `Batch to_batch(const MyExample&)` beside the type.
 */
template <class D>
Dataset from_torch(D dataset) {
  return Dataset(std::make_shared<torch_data::Adapter<D>>(std::move(dataset)));
}

/**
 * A torch::data dataset that gives the next samples when asked for a number of them: a StatefulDataset, read from
 * `reset()` on every epoch, or a stream (a BatchDataset with a size_t as request), which never ends.
 */
template <class D>
IterableDataset from_torch_stream(D dataset) {
  return IterableDataset(std::make_shared<torch_data::StreamAdapter<D>>(std::move(dataset)));
}

/**
 * A torch::data sampler of indices. What it draws from torch's generator becomes a function of (seed, epoch), and the
 * generator is left as it was; no other thread should draw from it while an epoch begins.
 */
template <class S>
Sampler from_torch_sampler(S sampler, std::optional<std::uint64_t> seed = std::nullopt) {
  return Sampler(std::make_shared<torch_data::SamplerAdapter<S>>(std::move(sampler), seed));
}

}  // namespace levin
