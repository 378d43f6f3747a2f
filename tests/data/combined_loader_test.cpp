#include <levin/core/error.h>
#include <levin/data/combined_loader.h>
#include <levin/data/tensor_dataset.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <set>

namespace levin {
namespace {

using Ids = std::vector<int64_t>;

// Samples first, first + 1, ..., so that a batch tells where it came from.
DataLoader numbers(int64_t first, int64_t n, DataLoaderOptions options = {}) {
  return {TensorDataset({torch::arange(first, first + n)}), options};
}

Ids ids(const Batch& batch) {
  Ids all;
  for (const auto& tensor : batch) {
    for (int64_t i = 0; i < tensor.numel(); ++i) all.push_back(tensor[i].item<int64_t>());
  }
  return all;
}

// The batches left, each with the part it came from in front; checks the knowledge of the end on the way.
std::vector<Ids> rest(DataLoader loader) {
  std::vector<Ids> batches;
  while (true) {
    const bool at_end = loader.at_end();
    auto batch = loader.next();
    EXPECT_EQ(at_end, !batch);
    if (!batch) return batches;
    batches.push_back(ids(*batch));
    batches.back().insert(batches.back().begin(), loader.dataloader_idx());
  }
}

// A loader that does not know its length.
class Unsized : public LoaderImpl {
 public:
  explicit Unsized(DataLoader inner) : inner_(std::move(inner)) {}
  std::optional<int64_t> size() const override { return std::nullopt; }
  bool at_end() override { return inner_.at_end(); }
  Map state() const override { return inner_.state(); }
  void load_state(const Map& state) override {
    inner_.load_state(state);
    load_position(state);
  }
  std::shared_ptr<LoaderImpl> sequential_copy() const override {
    return std::make_shared<Unsized>(inner_.sequential_copy());
  }

 protected:
  void start_epoch() override { inner_.begin_epoch(epoch()); }
  bool fetch(Batch& batch) override { return inner_.next(batch); }

 private:
  DataLoader inner_;
};

DataLoader unsized(DataLoader inner) { return DataLoader(std::make_shared<Unsized>(std::move(inner))); }

TEST(CombinedLoader, CombinesInEveryMode) {
  const auto make = [](CombineMode mode) {
    return CombinedLoader({numbers(0, 5, {.batch_size = 2}), numbers(10, 2)}, {.mode = mode});
  };
  using enum CombineMode;
  EXPECT_EQ(rest(make(min_size)), (std::vector<Ids>{{0, 0, 1, 10}, {0, 2, 3, 11}}));
  EXPECT_EQ(rest(make(max_size_cycle)), (std::vector<Ids>{{0, 0, 1, 10}, {0, 2, 3, 11}, {0, 4, 10}}));
  EXPECT_EQ(rest(make(max_size)), (std::vector<Ids>{{0, 0, 1, 10}, {0, 2, 3, 11}, {0, 4}}));
  EXPECT_EQ(rest(make(sequential)), (std::vector<Ids>{{0, 0, 1}, {0, 2, 3}, {0, 4}, {1, 10}, {1, 11}}));
  EXPECT_EQ(rest(make(interleaved)), (std::vector<Ids>{{0, 0, 1}, {1, 10}, {0, 2, 3}, {1, 11}, {0, 4}}));
  EXPECT_EQ(rest(CombinedLoader({numbers(0, 5), numbers(10, 2)}, {.mode = interleaved, .weights = {2, 1}})),
            (std::vector<Ids>{{0, 0}, {0, 1}, {1, 10}, {0, 2}, {0, 3}, {1, 11}, {0, 4}}));

  for (const auto mode : {min_size, max_size_cycle, max_size, sequential, interleaved}) {
    auto loader = make(mode);
    EXPECT_EQ(loader.mode(), mode);
    EXPECT_EQ(loader.parts().size(), 2u);
    ASSERT_TRUE(loader.has_size());
    EXPECT_EQ(loader.size(), static_cast<int64_t>(rest(loader).size())) << to_string(mode);
    const auto first = loader.epoch();
    int64_t batches = 0;
    for ([[maybe_unused]] const auto& batch : loader) ++batches;  // the next epoch
    EXPECT_EQ(loader.epoch(), first + 1);
    EXPECT_EQ(batches, loader.size());
  }
  DataLoader single = numbers(0, 3);
  EXPECT_TRUE(single.parts().empty());
  EXPECT_EQ(single.mode(), sequential);
  EXPECT_EQ(single.dataloader_idx(), 0);
}

TEST(CombinedLoader, GivesPartsByNameAndIndex) {
  DataLoader a(TensorDataset({{"x", torch::zeros({4, 3})}, {"y", torch::ones({4})}}), {.batch_size = 2});
  CombinedLoader loader({{"labelled", a}, {"raw", numbers(10, 3)}}, {.mode = CombineMode::max_size});
  EXPECT_EQ(loader.names(), (std::vector<std::string>{"labelled", "raw"}));
  auto batch = *loader.next();
  EXPECT_EQ(batch.names(), (std::vector<std::string>{"labelled/x", "labelled/y", "raw/0"}));
  EXPECT_EQ(batch.num_parts(), 2);
  EXPECT_EQ(batch.part("labelled").names(), (std::vector<std::string>{"x", "y"}));
  EXPECT_TRUE(torch::equal(batch.part("labelled")["y"], torch::ones({2})));
  EXPECT_EQ(ids(batch.part(1)), Ids{10});
  EXPECT_TRUE(batch.part("raw").names().empty());
  EXPECT_EQ(ids(batch.to(at::kCPU).part("raw")), Ids{10});  // parts go where the batch goes
  loader.next();
  batch = *loader.next();  // the first part has ended
  EXPECT_TRUE(batch.part("labelled").empty());
  EXPECT_EQ(batch.size(), 1);
  EXPECT_EQ(ids(batch.part("raw")), Ids{12});
  EXPECT_THROW(batch.part(2), Error);
  EXPECT_THROW(batch.part("labeled"), Error);
  EXPECT_THROW(Batch{torch::ones(2)}.part(0), Error);

  CombinedLoader list({DataLoader(TensorDataset({{"x", torch::zeros({4})}})), numbers(0, 4)});
  EXPECT_EQ(list.next()->names(), (std::vector<std::string>{"0/x", ""}));
  EXPECT_TRUE(CombinedLoader({numbers(0, 2), numbers(0, 2)}).next()->names().empty());
}

// Property: at every position of every epoch, a restored loader gives what was left.
TEST(CombinedLoader, ResumesAtEveryBatch) {
  using enum CombineMode;
  for (const auto mode : {min_size, max_size_cycle, max_size, sequential, interleaved}) {
    const auto make = [mode](uint64_t seed) {
      CombinedLoaderOptions options{.mode = mode};
      if (mode == interleaved) options.weights = {2, 1, 1};
      return CombinedLoader({numbers(0, 7, {.batch_size = 2, .shuffle = true, .seed = seed}),
                             numbers(10, 3, {.shuffle = true, .seed = seed + 1}),
                             unsized(numbers(20, 5, {.shuffle = true, .seed = seed + 2}))},
                            options);
    };
    auto whole = make(1);
    EXPECT_FALSE(whole.has_size());
    EXPECT_THROW(whole.size(), Error);
    std::vector<std::vector<Ids>> epochs;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      whole.begin_epoch(epoch);
      epochs.push_back(rest(whole));
    }
    EXPECT_NE(epochs[0], epochs[1]);
    const auto batches = static_cast<int64_t>(epochs[0].size());
    for (int64_t epoch = 0; epoch < 2; ++epoch) {
      const auto& expected = epochs[static_cast<size_t>(epoch)];
      for (int64_t given = 0; given <= batches; ++given) {
        auto stopped = make(1);
        stopped.begin_epoch(epoch);
        for (int64_t i = 0; i < given; ++i) stopped.next();
        if (given % 2) stopped.at_end();  // looking ahead moves nothing
        auto resumed = make(100);
        resumed.next();
        resumed.load_state(stopped.state());
        EXPECT_EQ(resumed.batches_given(), given);
        EXPECT_EQ(rest(resumed), std::vector<Ids>(expected.begin() + given, expected.end())) << to_string(mode);
        resumed.begin_epoch(epoch + 1);
        EXPECT_EQ(rest(resumed), epochs[static_cast<size_t>(epoch + 1)]);
      }
    }
  }
}

// A part that is started again gets an order of its own each time, in no other epoch seen before.
TEST(CombinedLoader, CycledPartsGoThroughFurtherEpochs) {
  for (const bool sized : {true, false}) {
    auto part = numbers(10, 8, {.batch_size = 8, .shuffle = true, .seed = 3});
    CombinedLoader loader({numbers(0, 4), sized ? part : unsized(part)}, {.mode = CombineMode::max_size_cycle});
    std::set<Ids> orders;
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
      loader.begin_epoch(epoch);
      while (auto batch = loader.next()) orders.insert(ids(batch->part(1)));
    }
    EXPECT_EQ(orders.size(), 12u);
  }
}

TEST(CombinedLoader, CanBeNestedAndCopiedInOrder) {
  CombinedLoader inner({numbers(0, 2, {.shuffle = true}), numbers(10, 2, {.shuffle = true})},
                       {.mode = CombineMode::sequential});
  CombinedLoader loader({DataLoader(inner), numbers(20, 4, {.shuffle = true})});
  auto ordered = loader.sequential_copy();
  EXPECT_EQ(rest(ordered), (std::vector<Ids>{{0, 0, 20}, {0, 1, 21}, {0, 10, 22}, {0, 11, 23}}));
  ordered.begin_epoch(1);
  EXPECT_EQ(rest(ordered).front(), (Ids{0, 0, 20}));
  EXPECT_EQ(loader.batches_given(), 0);
}

TEST(CombinedLoader, ErrorsAreClear) {
  EXPECT_THROW(CombinedLoader(std::vector<DataLoader>()), Error);
  EXPECT_THROW(CombinedLoader({numbers(0, 2), DataLoader()}), Error);
  auto loader = numbers(0, 2);
  EXPECT_THROW(CombinedLoader({loader, loader}), Error);
  EXPECT_THROW(CombinedLoader({{"a", numbers(0, 2)}, {"a", numbers(0, 2)}}), Error);
  EXPECT_THROW(CombinedLoader({{"a/b", numbers(0, 2)}}), Error);
  using enum CombineMode;
  EXPECT_THROW(CombinedLoader({numbers(0, 2)}, {.mode = sequential, .weights = {1}}), Error);
  EXPECT_THROW(CombinedLoader({numbers(0, 2)}, {.mode = interleaved, .weights = {0}}), Error);
  EXPECT_THROW(CombinedLoader({numbers(0, 2)}, {.mode = interleaved, .weights = {1, 2}}), Error);
  EXPECT_THROW(CombinedLoader({numbers(0, 2)}).dataset(), Error);

  CombinedLoader empty({numbers(0, 2), numbers(0, 0)}, {.mode = max_size_cycle});
  EXPECT_THROW(empty.next(), Error);
  CombinedLoader two({numbers(0, 4), numbers(0, 4)}, {.mode = sequential});
  two.next();
  EXPECT_THROW(CombinedLoader({numbers(0, 4)}, {.mode = sequential}).load_state(two.state()), Error);
  EXPECT_THROW(CombinedLoader({numbers(0, 4), numbers(0, 4)}).load_state(two.state()), Error);
}

}  // namespace
}  // namespace levin
