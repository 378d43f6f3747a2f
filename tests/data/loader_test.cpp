#include <levin/core/error.h>
#include <levin/data/data_module.h>
#include <levin/data/loader.h>
#include <levin/data/random_split.h>
#include <levin/data/seed.h>
#include <levin/data/tensor_dataset.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <numeric>
#include <optional>
#include <thread>

namespace levin {
namespace {

using Ids = std::vector<int64_t>;

TensorDataset numbers(int64_t n) { return TensorDataset({torch::arange(n)}); }

Ids ids(const Batch& batch) { return {batch[0].data_ptr<int64_t>(), batch[0].data_ptr<int64_t>() + batch[0].numel()}; }

std::vector<Ids> rest_of_epoch(DataLoader& loader) {
  std::vector<Ids> batches;
  while (auto batch = loader.next()) batches.push_back(ids(*batch));
  return batches;
}

std::vector<Ids> one_loop(DataLoader& loader) {
  std::vector<Ids> batches;
  for (const auto& batch : loader) batches.push_back(ids(batch));
  return batches;
}

Ids flat(const std::vector<Ids>& batches) {
  Ids all;
  for (const auto& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
  return all;
}

Ids sorted(Ids list) {
  std::sort(list.begin(), list.end());
  return list;
}

Ids count_to(int64_t n) {
  Ids list(static_cast<std::size_t>(n));
  std::iota(list.begin(), list.end(), 0);
  return list;
}

TEST(DataLoader, GoesThroughInOrder) {
  DataLoader loader(numbers(7), {.batch_size = 3});
  EXPECT_EQ(loader.size(), 3);
  EXPECT_EQ(one_loop(loader), (std::vector<Ids>{{0, 1, 2}, {3, 4, 5}, {6}}));
  EXPECT_EQ(one_loop(loader), (std::vector<Ids>{{0, 1, 2}, {3, 4, 5}, {6}}));
  DataLoader dropping(numbers(7), {.batch_size = 3, .drop_last = true});
  EXPECT_EQ(dropping.size(), 2);
  EXPECT_EQ(one_loop(dropping), (std::vector<Ids>{{0, 1, 2}, {3, 4, 5}}));
  EXPECT_EQ(DataLoader(numbers(6), {.batch_size = 3}).size(), 2);
  EXPECT_EQ(DataLoader(numbers(2), {.batch_size = 3, .drop_last = true}).size(), 0);
  EXPECT_EQ(DataLoader(numbers(2)).size(), 2);
}

TEST(DataLoader, UnshuffledBatchesAreViews) {
  auto x = torch::randn({10, 4});
  DataLoader loader(TensorDataset({x}), {.batch_size = 4});
  int64_t row = 0;
  for (const auto& batch : loader) {
    EXPECT_EQ(batch[0].data_ptr(), x[row].data_ptr());
    row += batch.batch_size();
  }
  EXPECT_EQ(row, 10);
}

TEST(DataLoader, EveryShuffledEpochIsAnotherPermutation) {
  DataLoader loader(numbers(100), {.batch_size = 9, .shuffle = true, .seed = 1});
  std::vector<Ids> epochs;
  for (int epoch = 0; epoch < 4; ++epoch) {
    epochs.push_back(flat(one_loop(loader)));
    EXPECT_EQ(sorted(epochs.back()), count_to(100));
    EXPECT_NE(epochs.back(), count_to(100));
    for (int before = 0; before < epoch; ++before) EXPECT_NE(epochs.back(), epochs[static_cast<size_t>(before)]);
  }
  DataLoader again(numbers(100), {.batch_size = 9, .shuffle = true, .seed = 1});
  again.begin_epoch(2);
  EXPECT_EQ(flat(rest_of_epoch(again)), epochs[2]);
  DataLoader other(numbers(100), {.batch_size = 9, .shuffle = true, .seed = 2});
  EXPECT_NE(flat(one_loop(other)), epochs[0]);
}

// A fixed seed, so this either holds for good or not: 24,000 draws of the first of 8 samples; chi-square with 7
// degrees of freedom exceeds 24.3 with probability 0.001.
TEST(DataLoader, ShufflesUniformly) {
  DataLoader loader(numbers(8), {.batch_size = 8, .shuffle = true, .seed = 3});
  std::array<double, 8> first{};
  const int epochs = 24000;
  for (int epoch = 0; epoch < epochs; ++epoch) {
    loader.begin_epoch(epoch);
    first[static_cast<size_t>(ids(*loader.next())[0])] += 1;
  }
  double chi_square = 0;
  for (const auto count : first) chi_square += (count - epochs / 8.0) * (count - epochs / 8.0) / (epochs / 8.0);
  EXPECT_LT(chi_square, 24.3);
}

TEST(DataLoader, OrderIgnoresTorchGeneratorAndThread) {
  DataLoader loader(numbers(50), {.batch_size = 5, .shuffle = true, .seed = 4});
  const auto here = one_loop(loader);
  std::vector<Ids> there;
  std::thread([&] {
    torch::manual_seed(1234);
    DataLoader same(numbers(50), {.batch_size = 5, .shuffle = true, .seed = 4});
    there = one_loop(same);
  }).join();
  EXPECT_EQ(here, there);
  auto before = torch::rand({1});
  torch::manual_seed(7);
  before = torch::rand({1});
  torch::manual_seed(7);
  one_loop(loader);
  EXPECT_TRUE(torch::equal(before, torch::rand({1})));  // the loader drew nothing from torch
}

TEST(DataLoader, DerivesItsSeedFromTheThreads) {
  auto order = [] {
    DataLoader loader(numbers(50), {.batch_size = 50, .shuffle = true});
    return flat(one_loop(loader));
  };
  seed_everything(1);
  const auto one = order();
  seed_everything(2);
  const auto two = order();
  EXPECT_NE(one, two);
  // Two threads that seed themselves while the other one runs get the order of their own seeds.
  std::array<Ids, 2> orders;
  std::atomic<int> seeded = 0;
  auto work = [&](std::size_t i) {
    seed_everything(i + 1);
    ++seeded;
    while (seeded < 2) std::this_thread::yield();
    orders[i] = order();
  };
  std::thread a(work, 0), b(work, 1);
  a.join(), b.join();
  EXPECT_EQ(orders[0], one);
  EXPECT_EQ(orders[1], two);
}

// Property: at every position of every epoch, a restored loader gives what was left.
TEST(DataLoader, ResumesAtEveryBatch) {
  for (const bool shuffle : {false, true}) {
    for (const bool drop_last : {false, true}) {
      const DataLoaderOptions options{.batch_size = 4, .shuffle = shuffle, .drop_last = drop_last, .seed = 5};
      DataLoader whole(numbers(18), options);
      const auto batches = whole.size();
      std::vector<std::vector<Ids>> epochs;
      for (int64_t epoch = 0; epoch < 3; ++epoch) {
        whole.begin_epoch(epoch);
        epochs.push_back(rest_of_epoch(whole));
      }
      for (int64_t epoch = 0; epoch < 3; ++epoch) {
        for (int64_t given = 0; given <= batches; ++given) {
          DataLoader stopped(numbers(18), options);
          stopped.begin_epoch(epoch);
          for (int64_t i = 0; i < given; ++i) stopped.next();
          const Map state = stopped.state();

          auto other = options;
          other.seed = 77;  // the state's seed counts
          DataLoader resumed(numbers(18), other);
          resumed.load_state(state);
          EXPECT_EQ(resumed.epoch(), epoch);
          EXPECT_EQ(resumed.batches_given(), given);
          const auto& expected = epochs[static_cast<size_t>(epoch)];
          EXPECT_EQ(rest_of_epoch(resumed), std::vector<Ids>(expected.begin() + given, expected.end()));

          // The same by range-for, and the epochs after it.
          DataLoader looping(numbers(18), other);
          looping.load_state(state);
          EXPECT_EQ(one_loop(looping), std::vector<Ids>(expected.begin() + given, expected.end()));
          if (epoch + 1 < 3) {
            EXPECT_EQ(one_loop(looping), epochs[static_cast<size_t>(epoch + 1)]);
          }
        }
      }
    }
  }
}

TEST(DataLoader, StateSavedInsideAndAfterALoop) {
  DataLoader loader(numbers(12), {.batch_size = 4, .shuffle = true, .seed = 6});
  std::vector<Map> inside;
  for (int epoch = 0; epoch < 2; ++epoch) {
    for ([[maybe_unused]] const auto& batch : loader) inside.push_back(loader.state());
  }
  const Map after = loader.state();
  EXPECT_TRUE(after.get<bool>("finished"));
  const auto third = one_loop(loader);

  DataLoader resumed(numbers(12), {.batch_size = 4, .shuffle = true});
  resumed.load_state(after);
  EXPECT_EQ(one_loop(resumed), third);
  resumed.load_state(inside[3]);  // after batch 0 of epoch 1
  EXPECT_EQ(resumed.epoch(), 1);
  EXPECT_EQ(one_loop(resumed).size(), 2u);
  EXPECT_EQ(one_loop(resumed), third);
}

TEST(DataLoader, LoopRunsTheEpochThatWasBegun) {
  DataLoader loader(numbers(20), {.batch_size = 20, .shuffle = true, .seed = 8});
  one_loop(loader);
  const auto second = one_loop(loader);
  DataLoader other(numbers(20), {.batch_size = 20, .shuffle = true, .seed = 8});
  other.begin_epoch(1);
  EXPECT_EQ(one_loop(other), second);
  EXPECT_EQ(other.epoch(), 1);
  for ([[maybe_unused]] const auto& batch : other) break;  // leaving early ends that epoch for the next loop
  EXPECT_EQ(other.epoch(), 2);
  one_loop(other);
  EXPECT_EQ(other.epoch(), 3);
}

TEST(DataLoader, CopiesShareThePosition) {
  DataLoader loader(numbers(4), {.batch_size = 1});
  auto copy = loader;
  loader.next();
  EXPECT_EQ(ids(*copy.next()), Ids{1});
  EXPECT_EQ(loader.batches_given(), 2);
}

TEST(DataLoader, LoadStateRejectsAnotherSetUpWithinAnEpoch) {
  DataLoader loader(numbers(12), {.batch_size = 4});
  loader.next();
  const auto inside = loader.state();
  EXPECT_THROW(DataLoader(numbers(12), {.batch_size = 3}).load_state(inside), Error);
  EXPECT_THROW(DataLoader(numbers(13), {.batch_size = 4}).load_state(inside), Error);
  EXPECT_THROW(DataLoader(numbers(12), {.batch_size = 4, .shuffle = true}).load_state(inside), Error);
  EXPECT_THROW(DataLoader(numbers(12), {.batch_size = 4, .drop_last = true}).load_state(inside), Error);
  EXPECT_THROW(loader.load_state({{"seed", 1}}), Error);
  auto beyond = inside;
  beyond["batch"] = 4;
  EXPECT_THROW(loader.load_state(beyond), Error);

  rest_of_epoch(loader);
  DataLoader smaller(numbers(12), {.batch_size = 3});
  smaller.load_state(loader.state());  // between epochs another batch size is fine
  EXPECT_FALSE(smaller.next());
  EXPECT_EQ(one_loop(smaller).size(), 4u);
  EXPECT_EQ(smaller.epoch(), 1);
}

TEST(DataLoader, ErrorsAreClear) {
  EXPECT_THROW(DataLoader(numbers(3), {.batch_size = 0}), Error);
  EXPECT_THROW(DataLoader(Dataset(), {.batch_size = 1}), Error);
  DataLoader undefined;
  EXPECT_FALSE(undefined);
  EXPECT_THROW(undefined.size(), Error);
  EXPECT_THROW(undefined.begin(), Error);
  DataLoader loader(numbers(3));
  EXPECT_THROW(loader.begin_epoch(-1), Error);
  EXPECT_THROW(
      {
        for ([[maybe_unused]] const auto& outer : loader) one_loop(loader);
      },
      Error);
}

struct Halves : DataModule {
  void setup(Stage stage) override {
    last = stage;
    auto parts = random_split(numbers(10), {0.5, 0.5}, {.seed = 0});
    train_ = parts[0], val_ = parts[1];
  }
  DataLoader train_dataloader() override { return {train_, {.batch_size = 2, .shuffle = true}}; }
  DataLoader val_dataloader() override { return {val_, {.batch_size = 5}}; }

  std::optional<Stage> last;
  Dataset train_, val_;
};

TEST(DataModule, GivesLoadersAndUndefinedOnesByDefault) {
  Halves data;
  DataModule& base = data;
  base.prepare_data();
  base.setup(Stage::fit);
  EXPECT_EQ(data.last, Stage::fit);
  EXPECT_EQ(base.train_dataloader().size(), 3);
  EXPECT_EQ(base.val_dataloader().size(), 1);
  EXPECT_FALSE(base.test_dataloader());
  EXPECT_FALSE(base.predict_dataloader());
  base.teardown(Stage::fit);
  EXPECT_TRUE(base.state_dict().empty());
}

}  // namespace
}  // namespace levin
