#include <levin/core/error.h>
#include <levin/data/combined_loader.h>
#include <levin/data/loader.h>
#include <levin/data/sample_rng.h>
#include <levin/data/tensor_dataset.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <atomic>
#include <stdexcept>
#include <thread>

namespace levin {
namespace {

// Sample i is {i, a random number of its own}; slow and fast in turns, so that workers end out of order.
struct Noisy : DatasetImpl {
  int64_t size() const override { return 40; }
  Batch get(int64_t index) const override {
    std::this_thread::sleep_for(std::chrono::microseconds(index * 7919 % 500));
    if (index == throws_at) throw std::out_of_range("no picture");
    auto rng = sample_rng(index);
    return {torch::tensor(index), torch::tensor(rng.uniform()), torch::rand({2}, sample_generator(index))};
  }
  int64_t throws_at = -1;
};

Dataset noisy(int64_t throws_at = -1) {
  auto impl = std::make_shared<Noisy>();
  impl->throws_at = throws_at;
  return Dataset(impl);
}

// The samples 0..n-1 of each shard as shard * 100 + i.
struct Count : IterableDatasetImpl {
  explicit Count(std::vector<int64_t> sizes, bool saves = false) : n(std::move(sizes)), has_state(saves) {}

  struct Stream : SampleStream {
    Stream(int64_t from, int64_t size, bool saves, std::atomic<int64_t>& counter)
        : first(from), n(size), has_state(saves), reads(counter) {}
    bool next(Batch& sample) override {
      if (i >= n) return false;
      ++reads;
      sample = {torch::tensor(first + i), torch::tensor(sample_rng(first + i).uniform())};
      ++i;
      return true;
    }
    std::optional<Map> state() const override {
      if (!has_state) return std::nullopt;
      return Map{{"i", i}};
    }
    void load_state(const Map& state) override { i = state.get<int64_t>("i"); }
    int64_t first, n, i = 0;
    bool has_state;
    std::atomic<int64_t>& reads;
  };

  std::unique_ptr<SampleStream> open(const StreamContext& context) const override {
    return std::make_unique<Stream>(1000 * context.epoch + 100 * context.shard, n[static_cast<size_t>(context.shard)],
                                    has_state, reads);
  }
  int64_t shards() const override { return static_cast<int64_t>(n.size()); }
  std::vector<int64_t> n;
  bool has_state;
  mutable std::atomic<int64_t> reads = 0;
};

IterableDataset count(std::vector<int64_t> n, bool has_state = false) {
  return IterableDataset(std::make_shared<Count>(std::move(n), has_state));
}

std::vector<torch::Tensor> rest(DataLoader& loader) {
  std::vector<torch::Tensor> all;
  while (auto batch = loader.next()) {
    for (auto& tensor : *batch) all.push_back(tensor);
    all.push_back(torch::tensor(loader.at_end()));
  }
  return all;
}

bool equal(const std::vector<torch::Tensor>& a, const std::vector<torch::Tensor>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](auto& x, auto& y) { return torch::equal(x, y); });
}

std::vector<DataLoaderOptions> set_ups() {
  const auto lengths = [] {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < 40; ++i) all.push_back(i % 7);
    return all;
  }();
  return {{.batch_size = 3, .seed = 1},
          {.batch_size = 3, .shuffle = true, .drop_last = true, .seed = 1},
          {.batch_size = 3, .sampler = WeightedRandomSampler(std::vector<double>(40, 1.0), 20, {.seed = 2}), .seed = 1},
          {.batch_sampler = BucketBatchSampler(lengths, {.batch_size = 4, .num_buckets = 3, .seed = 2}), .seed = 1}};
}

TEST(LoaderWorkers, GiveTheSameBitsForAnyNumber) {
  for (auto options : set_ups()) {
    std::vector<std::vector<torch::Tensor>> expected;
    for (const int64_t workers : {0, 1, 2, 4}) {
      options.num_workers = workers;
      options.persistent_workers = workers == 2;
      DataLoader loader(noisy(), options);
      for (size_t epoch = 0; epoch < 2; ++epoch) {
        loader.begin_epoch(static_cast<int64_t>(epoch));
        auto all = rest(loader);
        if (workers == 0) expected.push_back(all);
        EXPECT_TRUE(equal(all, expected[epoch])) << workers << " workers";
      }
    }
    EXPECT_FALSE(equal(expected[0], expected[1]));  // random numbers of samples change with the epoch
  }
}

TEST(LoaderWorkers, ResumeAtEveryBatchWithPrefetchedOnesLoadedAgain) {
  for (auto options : set_ups()) {
    options.num_workers = 2;
    DataLoader whole(noisy(), options);
    whole.begin_epoch(1);
    const auto expected = rest(whole);
    const auto tensors = expected.size() / static_cast<size_t>(whole.size());
    for (int64_t given = 0; given <= whole.size(); given += 3) {
      DataLoader stopped(noisy(), options);
      stopped.begin_epoch(1);
      for (int64_t i = 0; i < given; ++i) stopped.next();
      auto other = options;
      other.num_workers = given % 2 ? 3 : 0;
      other.seed = 99;
      DataLoader resumed(noisy(), other);
      resumed.next();  // its workers are somewhere else
      resumed.load_state(stopped.state());
      EXPECT_TRUE(equal(rest(resumed), {expected.begin() + given * static_cast<int64_t>(tensors), expected.end()}));
    }
  }
}

TEST(LoaderWorkers, ExceptionsNameSampleAndDataset) {
  for (const int64_t workers : {0, 2}) {
    DataLoader loader(noisy(7), {.batch_size = 4, .num_workers = workers});
    EXPECT_TRUE(loader.next());
    for (int attempt = 0; attempt < 2; ++attempt) {  // the position stays before the batch
      try {
        loader.next();
        FAIL();
      } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("no picture"), std::string::npos) << message;
        EXPECT_NE(message.find("sample 7 of"), std::string::npos) << message;
        EXPECT_NE(message.find("Noisy"), std::string::npos) << message;
        EXPECT_THROW(std::rethrow_if_nested(error), std::out_of_range);
      }
      EXPECT_EQ(loader.batches_given(), 1);
    }
    loader.begin_epoch(1);
    EXPECT_TRUE(loader.next());
  }
  DataLoader transforming(
      noisy(), {.batch_size = 4, .num_workers = 1, .transform = [](const Batch&, const BatchContext&) -> Batch {
                  throw std::runtime_error("bad transform");
                }});
  try {
    transforming.next();
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("samples 0, 1, 2, 3 of"), std::string::npos) << error.what();
  }
}

TEST(LoaderWorkers, EndCleanlyWhereverTheLoopStops) {
  for (int round = 0; round < 20; ++round) {
    DataLoader loader(noisy(), {.batch_size = 2, .num_workers = 3});
    int batches = 0;
    for ([[maybe_unused]] const auto& batch : loader) {
      if (++batches > round % 5) break;
    }
    if (round % 2) rest(loader);
  }
  EXPECT_THROW(
      {
        DataLoader loader(noisy(), {.batch_size = 2, .num_workers = 3});
        for ([[maybe_unused]] const auto& batch : loader) throw std::runtime_error("a step failed");
      },
      std::runtime_error);
}

TEST(LoaderWorkers, KeepTorchOnOneThreadAndTellWhoTheyAre) {
  const auto threads_here = at::get_num_threads();
  at::set_num_threads(2);
  std::atomic<int> most_threads = 0, strangers = 0, started = 0;
  {
    DataLoader loader(noisy(), {.batch_size = 4,
                                .num_workers = 2,
                                .worker_init_fn = [&](int64_t) { ++started; },
                                .transform =
                                    [&](const Batch& batch, const BatchContext& context) {
                                      most_threads = std::max(most_threads.load(), at::get_num_threads());
                                      const auto* info = worker_info();
                                      if (!info || info->id < 0 || info->id > 1 || context.indices.size() != 4)
                                        ++strangers;
                                      return batch;
                                    }});
    rest(loader);
  }
  EXPECT_EQ(most_threads, 1);
  EXPECT_EQ(strangers, 0);
  EXPECT_EQ(started, 2);
  EXPECT_EQ(at::get_num_threads(), 2);
  std::thread([] { EXPECT_EQ(at::get_num_threads(), 2); }).join();  // nor do other threads notice
  at::set_num_threads(threads_here);
  EXPECT_EQ(worker_info(), nullptr);
}

TEST(LoaderWorkers, TimeOut) {
  DataLoader loader(
      noisy(),
      {.batch_size = 4, .num_workers = 1, .timeout = 0.02, .transform = [](const Batch& batch, const BatchContext&) {
         std::this_thread::sleep_for(std::chrono::milliseconds(200));
         return batch;
       }});
  EXPECT_THROW(loader.next(), Error);
}

TEST(LoaderWorkers, CollateAndPad) {
  struct Growing : DatasetImpl {
    int64_t size() const override { return 5; }
    Batch get(int64_t index) const override { return Batch{{"x", torch::full({index + 1, 2}, index)}}; }
  };
  DataLoader plain(Dataset(std::make_shared<Growing>()), {.batch_size = 2});
  EXPECT_THROW(plain.next(), Error);
  DataLoader loader(Dataset(std::make_shared<Growing>()),
                    {.batch_size = 3, .num_workers = 1, .collate_fn = PadCollate({.value = -1})});
  const auto batch = *loader.next();
  EXPECT_EQ(batch["x"].sizes(), (std::vector<int64_t>{3, 3, 2}));
  EXPECT_TRUE(torch::equal(batch["lengths"], torch::tensor({1, 2, 3})));
  EXPECT_TRUE(torch::equal(batch["x"][1], torch::tensor({{1, 1}, {1, 1}, {-1, -1}})));
}

TEST(IterableLoader, TakesShardsInTurnsForAnyNumberOfWorkers) {
  for (const int64_t workers : {0, 1, 2, 4}) {
    DataLoader loader(count({5, 2, 4}), {.batch_size = 2, .num_workers = workers});
    EXPECT_FALSE(loader.has_size());
    for (int64_t epoch = 0; epoch < 2; ++epoch) {
      loader.begin_epoch(epoch);
      std::vector<int64_t> first;
      while (auto batch = loader.next()) {
        first.push_back((*batch)[0][0].item<int64_t>() - 1000 * epoch);
        EXPECT_EQ(loader.at_end(), first.size() == 6);
      }
      EXPECT_EQ(first, (std::vector<int64_t>{0, 100, 200, 2, 202, 4}));
      EXPECT_FALSE(loader.next());
    }
    DataLoader dropping(count({5, 2, 4}), {.batch_size = 2, .num_workers = workers, .drop_last = true});
    int64_t batches = 0;
    for (const auto& batch : dropping) batches += batch.batch_size() == 2;
    EXPECT_EQ(batches, 5);
  }
}

TEST(IterableLoader, ResumesAtEveryBatch) {
  for (const bool has_state : {false, true}) {
    for (const int64_t workers : {0, 2}) {
      const DataLoaderOptions options{.batch_size = 3, .num_workers = workers, .seed = 4};
      DataLoader whole(count({20, 7, 0, 13}, has_state), options);
      whole.begin_epoch(1);
      const auto expected = rest(whole);
      const auto batches = whole.batches_given();
      EXPECT_EQ(batches, 15);
      for (int64_t given = 0; given <= batches; ++given) {
        DataLoader stopped(count({20, 7, 0, 13}, has_state), options);
        stopped.begin_epoch(1);
        for (int64_t i = 0; i < given; ++i) stopped.next();
        if (given % 2) stopped.at_end();
        DataLoader resumed(count({20, 7, 0, 13}, has_state), {.batch_size = 3, .num_workers = 2 - workers, .seed = 9});
        resumed.load_state(stopped.state());
        EXPECT_TRUE(equal(rest(resumed), {expected.begin() + given * 3, expected.end()})) << given;
      }
    }
  }
  // A stream with a state of its own is not read again from its beginning.
  auto impl = std::make_shared<Count>(std::vector<int64_t>{1000}, true);
  DataLoader first(IterableDataset(impl), {.batch_size = 10});
  for (int i = 0; i < 90; ++i) first.next();
  const auto state = first.state();
  impl->reads = 0;
  DataLoader resumed(IterableDataset(impl), {.batch_size = 10});
  resumed.load_state(state);
  EXPECT_EQ((*resumed.next())[0][0].item<int64_t>(), 900);
  EXPECT_EQ(impl->reads, 10);
}

TEST(IterableLoader, CombinesWithOthers) {
  CombinedLoader loader({DataLoader(count({4})), DataLoader(TensorDataset({torch::arange(2)}))},
                        {.mode = CombineMode::max_size_cycle});
  int64_t batches = 0;
  while (loader.next()) EXPECT_EQ(loader.at_end(), ++batches == 4);
  EXPECT_EQ(batches, 4);
}

TEST(LoaderOptions, ContradictionsAreErrors) {
  const auto data = noisy();
  EXPECT_THROW(DataLoader(data, {.shuffle = true, .sampler = SequentialSampler(3)}), Error);
  EXPECT_THROW(DataLoader(data, {.batch_size = 2, .batch_sampler = BatchSampler(SequentialSampler(3), 2)}), Error);
  EXPECT_THROW(DataLoader(data, {.num_workers = -1}), Error);
  EXPECT_THROW(DataLoader(data, {.timeout = 1}), Error);
  EXPECT_THROW(DataLoader(data, {.persistent_workers = true}), Error);
  EXPECT_THROW(DataLoader(data, {.num_workers = 1, .prefetch_factor = 0}), Error);
  EXPECT_THROW(DataLoader(data, {.sampler = SequentialSampler(41)}).next(), Error) << "indices outside the dataset";
  EXPECT_NO_THROW(DataLoader(data, {.sampler = SequentialSampler(40)}).next());
  EXPECT_THROW(DataLoader(count({3}), {.shuffle = true}), Error);
  DataLoader sampled(data, {.sampler = SequentialSampler(40)}), plain(data);
  sampled.next();
  EXPECT_THROW(plain.load_state(sampled.state()), Error);
}

TEST(LoaderOptions, SequentialCopyRepeatsOneOrder) {
  for (auto& options : set_ups()) {
    auto copy = DataLoader(noisy(), options).sequential_copy();
    std::vector<torch::Tensor> epochs[2];
    for (int64_t epoch = 0; epoch < 2; ++epoch) {
      copy.begin_epoch(epoch);
      while (auto batch = copy.next()) epochs[epoch].push_back((*batch)[0]);
    }
    EXPECT_TRUE(equal(epochs[0], epochs[1]));
  }
}

}  // namespace
}  // namespace levin
