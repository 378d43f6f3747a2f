#include <levin/core/error.h>
#include <levin/data/loader.h>
#include <levin/data/torch_data.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>

namespace levin {
namespace {

namespace td = torch::data;

struct Squares : td::datasets::Dataset<Squares> {
  td::Example<> get(size_t index) override {
    const auto i = static_cast<int64_t>(index);
    return {torch::tensor(i), torch::tensor(i * i)};
  }
  std::optional<size_t> size() const override { return 10; }
};

struct Countdown : td::datasets::StatefulDataset<Countdown> {
  std::optional<std::vector<td::Example<>>> get_batch(size_t count) override {
    std::vector<td::Example<>> some;
    for (; count > 0 && left > 0; --count, --left) some.push_back({torch::tensor(left), torch::tensor(-left)});
    if (some.empty()) return std::nullopt;
    return some;
  }
  void reset() override { left = 7; }
  std::optional<size_t> size() const override { return std::nullopt; }
  void save(torch::serialize::OutputArchive&) const override {}
  void load(torch::serialize::InputArchive&) override {}
  int64_t left = 7;
};

std::vector<int64_t> column(DataLoader& loader, int64_t tensor = 0) {
  std::vector<int64_t> all;
  while (auto batch = loader.next()) {
    for (int64_t i = 0; i < batch->batch_size(); ++i) all.push_back((*batch)[tensor][i].item<int64_t>());
  }
  return all;
}

TEST(TorchData, MapStyleDatasetsAndMappedOnes) {
  for (const int64_t workers : {0, 2}) {
    DataLoader loader(from_torch(Squares()), {.batch_size = 4, .num_workers = workers});
    EXPECT_EQ(loader.size(), 3);
    EXPECT_EQ(column(loader, 1), (std::vector<int64_t>{0, 1, 4, 9, 16, 25, 36, 49, 64, 81}));
  }
  DataLoader collated(from_torch(Squares().map(td::transforms::Stack<>())), {.batch_size = 4});
  EXPECT_EQ(column(collated, 1).size(), 10u);
  EXPECT_EQ(from_torch(Squares().map(td::transforms::Stack<>())).get(3)[1].item<int64_t>(), 9);
  EXPECT_EQ(from_torch(td::datasets::TensorDataset(torch::arange(5))).get(2)[0].item<int64_t>(), 2);
}

TEST(TorchData, StatefulDatasetsAreStreams) {
  DataLoader loader(from_torch_stream(Countdown()), {.batch_size = 3});
  EXPECT_FALSE(loader.has_size());
  EXPECT_EQ(column(loader), (std::vector<int64_t>{7, 6, 5, 4, 3, 2, 1}));
  loader.begin_epoch(1);
  loader.next();
  DataLoader resumed(from_torch_stream(Countdown()), {.batch_size = 3});
  resumed.load_state(loader.state());
  EXPECT_EQ(column(resumed), (std::vector<int64_t>{4, 3, 2, 1}));
}

TEST(TorchData, SamplersAreFunctionsOfSeedAndEpoch) {
  const auto sampler = from_torch_sampler(td::samplers::RandomSampler(10), 3);
  EXPECT_EQ(sampler.size(), 10);
  auto first = sampler.order(0);
  EXPECT_EQ(first, from_torch_sampler(td::samplers::RandomSampler(10), 3).order(0));
  torch::manual_seed(1);
  const auto expected = torch::rand({1});
  torch::manual_seed(1);
  EXPECT_NE(first, sampler.order(1));
  EXPECT_TRUE(torch::equal(torch::rand({1}), expected));  // torch's generator is as it was
  std::sort(first.begin(), first.end());
  EXPECT_EQ(first, from_torch_sampler(td::samplers::SequentialSampler(10)).order(4));
  const auto shared = from_torch_sampler(td::samplers::DistributedRandomSampler(10, 2, 1), 3);
  EXPECT_EQ(shared.size(), 5);
  EXPECT_NE(shared.order(0), shared.order(1));
  DataLoader loader(from_torch(Squares()), {.batch_size = 4, .sampler = sampler});
  EXPECT_EQ(column(loader), sampler.order(0));
}

}  // namespace
}  // namespace levin
