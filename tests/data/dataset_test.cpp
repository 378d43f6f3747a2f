#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/data/random_split.h>
#include <levin/data/seed.h>
#include <levin/data/tensor_dataset.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

namespace levin {
namespace {

std::vector<int64_t> to_vector(const torch::Tensor& tensor) {
  auto flat = tensor.to(torch::kLong).contiguous();
  return {flat.data_ptr<int64_t>(), flat.data_ptr<int64_t>() + flat.numel()};
}

TensorDataset numbers(int64_t n) { return TensorDataset({torch::arange(n)}); }

std::vector<int64_t> samples_of(const Dataset& dataset) {
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < dataset.size(); ++i) samples.push_back(dataset.get(i)[0].item<int64_t>());
  return samples;
}

TEST(TensorDataset, GathersRowsOfEveryLayoutAsIndexSelectDoes) {
  Rng rng(1);
  const std::vector<torch::Tensor> sources{
      torch::randn({37, 5}),
      torch::randn({37}),
      torch::arange(37),
      torch::randn({37}).to(torch::kHalf),
      torch::randn({37, 3}).to(torch::kBFloat16),
      torch::arange(37).to(torch::kByte),
      torch::randn({37, 2, 3, 4}),
      torch::randn({5, 37}).t(),  // rows are not contiguous
      torch::randn({37, 4, 6}).permute({0, 2, 1}),
      torch::randn({74, 3}).slice(0, 0, 74, 2),
      torch::randn({37, 1}).expand({37, 4}),
      torch::randn({37, 2}, torch::kComplexFloat),
      torch::conj(torch::randn({37, 2}, torch::kComplexFloat)),
      torch::randn({37, 4}).to(torch::kDouble).requires_grad_(),
      torch::zeros({37, 0}),
      torch::rand({37}) > 0.5,
  };
  for (const auto& source : sources) {
    for (int repeat = 0; repeat < 5; ++repeat) {
      std::vector<int64_t> indices(1 + rng.below(60));
      for (auto& index : indices) index = static_cast<int64_t>(rng.below(37));
      auto expected = source.index_select(0, torch::tensor(indices));
      auto rows = gather_rows(source, indices);
      ASSERT_EQ(rows.scalar_type(), expected.scalar_type());
      ASSERT_TRUE(torch::equal(rows.detach(), expected.detach())) << source.sizes() << " " << source.scalar_type();
      ASSERT_EQ(rows.requires_grad(), source.requires_grad());
    }
  }
}

TEST(TensorDataset, GathersLargeBatchesInParallelTheSame) {
  auto source = torch::randn({5000, 300});
  const auto indices = Rng(2).permutation(5000);
  EXPECT_TRUE(torch::equal(gather_rows(source, indices), source.index_select(0, torch::tensor(indices))));
}

TEST(TensorDataset, ConsecutiveIndicesGiveViews) {
  auto x = torch::randn({10, 3});
  TensorDataset dataset({x});
  const std::vector<int64_t> run{4, 5, 6}, single{9}, gap{4, 6, 7}, back{6, 5, 4};
  auto view = dataset.get_batch(run)[0];
  EXPECT_EQ(view.data_ptr(), x[4].data_ptr());
  EXPECT_EQ(view.sizes(), (std::vector<int64_t>{3, 3}));
  EXPECT_EQ(dataset.get_batch(single)[0].data_ptr(), x[9].data_ptr());
  for (const auto& indices : {gap, back}) {
    auto copy = dataset.get_batch(indices)[0];
    EXPECT_FALSE(copy.is_alias_of(x));
    EXPECT_TRUE(torch::equal(copy, x.index_select(0, torch::tensor(indices))));
  }
}

TEST(TensorDataset, KeepsNames) {
  TensorDataset dataset({{"x", torch::randn({4, 2})}, {"y", torch::arange(4)}});
  const std::vector<int64_t> indices{3, 1};
  EXPECT_EQ(to_vector(dataset.get_batch(indices)["y"]), indices);
  EXPECT_EQ(dataset.get(2)["y"].item<int64_t>(), 2);
  EXPECT_EQ(dataset.tensors()["x"].size(1), 2);
  EXPECT_EQ(Subset(dataset, {1, 2}).get_batch(std::vector<int64_t>{0})["y"].item<int64_t>(), 1);
}

TEST(TensorDataset, ErrorsEchoTheShapes) {
  try {
    TensorDataset({torch::zeros({3, 2}), torch::zeros({4})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.info().value, "[3, 2], [4]");
  }
  EXPECT_THROW(TensorDataset({torch::tensor(1.0)}), Error);
  EXPECT_THROW(TensorDataset({torch::Tensor()}), Error);
  EXPECT_THROW(TensorDataset(Batch{}), Error);
  auto dataset = numbers(3);
  EXPECT_THROW(dataset.get(3), Error);
  EXPECT_THROW(dataset.get(-1), Error);
  EXPECT_THROW(dataset.get_batch(std::vector<int64_t>{0, 3}), Error);
  EXPECT_THROW(dataset.get_batch(std::vector<int64_t>{-1}), Error);
  EXPECT_THROW(Dataset().size(), Error);
}

struct Squares : DatasetImpl {
  int64_t size() const override { return 6; }
  Batch get(int64_t index) const override {
    return Batch{{"n", torch::full({2}, index)}, {"square", torch::tensor(index * index)}};
  }
};

struct Ragged : DatasetImpl {
  int64_t size() const override { return 6; }
  Batch get(int64_t index) const override { return {torch::zeros({index + 1})}; }
};

TEST(Dataset, UserDatasetsAreStackedSampleBySample) {
  Dataset dataset(std::make_shared<Squares>());
  auto batch = dataset.get_batch(std::vector<int64_t>{5, 0, 2});
  EXPECT_EQ(batch["n"].sizes(), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(to_vector(batch["square"]), (std::vector<int64_t>{25, 0, 4}));
  EXPECT_THROW(dataset.get_batch({}), Error);
}

TEST(Dataset, SamplesOfDifferentShapesAreAnError) {
  Dataset dataset(std::make_shared<Ragged>());
  try {
    dataset.get_batch(std::vector<int64_t>{1, 4});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.info().value, "[2] in its first sample, [5] in number 1");
    EXPECT_EQ(error.info().where.substr(0, 16), "samples 1, 4 of ");
  }
}

TEST(Subset, MapsIndicesThroughNestedSubsets) {
  Subset outer(numbers(10), {9, 8, 7, 1, 2, 3});
  Subset inner(outer, {0, 3, 4});
  EXPECT_EQ(inner.size(), 3);
  EXPECT_EQ(samples_of(inner), (std::vector<int64_t>{9, 1, 2}));
  EXPECT_EQ(to_vector(inner.get_batch(std::vector<int64_t>{2, 0})[0]), (std::vector<int64_t>{2, 9}));
  EXPECT_THROW(Subset(outer, {6}), Error);
  EXPECT_THROW(Subset(outer, {-1}), Error);
  EXPECT_THROW(inner.get_batch(std::vector<int64_t>{3}), Error);
  EXPECT_THROW(inner.get_batch(std::vector<int64_t>{-1}), Error);
}

// Counts given by torch.utils.data.random_split of torch 2.13.0 for these sizes and fractions.
TEST(RandomSplit, RoundsAsPyTorchDoes) {
  auto counts = [](int64_t size, std::vector<double> fractions) { return split_counts(size, fractions); };
  using Counts = std::vector<int64_t>;
  EXPECT_EQ(counts(1797, {0.7, 0.15, 0.15}), (Counts{1258, 270, 269}));
  EXPECT_EQ(counts(10, {0.33, 0.33, 0.34}), (Counts{4, 3, 3}));
  EXPECT_EQ(counts(11, {0.25, 0.25, 0.25, 0.25}), (Counts{3, 3, 3, 2}));
  EXPECT_EQ(counts(5, {0.9, 0.1}), (Counts{5, 0}));
  EXPECT_EQ(counts(0, {0.5, 0.5}), (Counts{0, 0}));
}

// Property: whatever the size and the fractions, the parts are disjoint, complete and of the promised sizes.
TEST(RandomSplit, PartsAreDisjointAndComplete) {
  Rng rng(3);
  for (int round = 0; round < 50; ++round) {
    const auto size = static_cast<int64_t>(rng.below(200));
    std::vector<double> fractions(1 + rng.below(5));
    double sum = 0;
    for (auto& fraction : fractions) sum += (fraction = 0.01 + rng.uniform());
    for (auto& fraction : fractions) fraction /= sum;
    auto parts = random_split(numbers(size), fractions, {.seed = rng()});
    ASSERT_EQ(parts.size(), fractions.size());
    std::vector<int64_t> all;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      EXPECT_EQ(parts[i].size(), split_counts(size, fractions)[i]);
      auto samples = samples_of(parts[i]);
      all.insert(all.end(), samples.begin(), samples.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<int64_t> expected(static_cast<std::size_t>(size));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
  }
}

TEST(RandomSplit, TakesBracedListsAndStructuredBindings) {
  auto dataset = numbers(100);
  auto [train, val] = random_split(dataset, {0.8, 0.2}, {.seed = 0});
  EXPECT_EQ(train.size(), 80);
  EXPECT_EQ(val.size(), 20);
  auto parts = random_split(TensorDataset({torch::arange(100)}), {70, 20, 10}, {.seed = 0});
  EXPECT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[2].size(), 10);
  const std::vector<int64_t> counts{99, 1};
  EXPECT_EQ(random_split(dataset, counts).at(1).size(), 1);
}

TEST(RandomSplit, DependsOnTheSeedAlone) {
  auto split = [](uint64_t seed) { return samples_of(random_split(numbers(50), {0.5, 0.5}, {.seed = seed})[0]); };
  const auto first = split(0);
  torch::manual_seed(99);
  std::vector<int64_t> elsewhere;
  std::thread([&] { elsewhere = split(0); }).join();
  EXPECT_EQ(first, elsewhere);
  EXPECT_NE(first, split(1));
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_NE(first, sorted);

  seed_everything(5);
  const auto derived = samples_of(random_split(numbers(50), {0.5, 0.5})[0]);
  EXPECT_EQ(derived, split(5));
}

TEST(RandomSplit, RejectsLengthsThatDoNotAddUp) {
  auto dataset = numbers(10);
  EXPECT_THROW(random_split(dataset, {0.8, 0.3}), Error);
  EXPECT_THROW(random_split(dataset, {0.5, 0.4}), Error);
  EXPECT_THROW(random_split(dataset, {1.5, -0.5}), Error);
  EXPECT_THROW(random_split(dataset, {5, 4}), Error);
  EXPECT_THROW(random_split(dataset, {12, -2}), Error);
  EXPECT_THROW(random_split(dataset, {std::nan(""), 0.5}), Error);
  EXPECT_THROW(random_split(dataset, std::span<const double>{}), Error);
}

TEST(Seed, ScopesNestAndThreadsDoNotDisturbEachOther) {
  seed_everything(11);
  EXPECT_EQ(current_seed(), 11u);
  auto drawn = torch::rand({3});
  seed_everything(11);
  EXPECT_TRUE(torch::equal(drawn, torch::rand({3})));
  {
    SeedScope outer(1);
    EXPECT_EQ(current_seed(), 1u);
    {
      SeedScope inner(2);
      EXPECT_EQ(current_seed(), 2u);
    }
    EXPECT_EQ(current_seed(), 1u);
  }
  EXPECT_EQ(current_seed(), 11u);

  uint64_t unseeded = 0, seeded = 0, latest = 0;
  std::thread([&] {
    unseeded = current_seed();
    seed_everything(12);
    seeded = current_seed();
  }).join();
  std::thread([&] { latest = current_seed(); }).join();
  EXPECT_EQ(unseeded, 11u);
  EXPECT_EQ(seeded, 12u);
  EXPECT_EQ(latest, 12u);
  EXPECT_EQ(current_seed(), 11u);
}

}  // namespace
}  // namespace levin
