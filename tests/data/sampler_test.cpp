#include <levin/core/error.h>
#include <levin/data/sampler.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <numeric>
#include <set>
#include <sstream>
#include <string>

namespace levin {
namespace {

using Indices = std::vector<std::int64_t>;

Indices sorted(Indices indices) {
  std::sort(indices.begin(), indices.end());
  return indices;
}

Indices count_to(std::int64_t n) {
  Indices indices(static_cast<std::size_t>(n));
  std::iota(indices.begin(), indices.end(), 0);
  return indices;
}

std::string text(const Indices& indices) {
  std::string all;
  for (const auto index : indices) all += (all.empty() ? "" : " ") + std::to_string(index);
  return all;
}

TEST(Sampler, MatchesTorchUtilsData) {
  std::ifstream file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/data/samplers.csv");
  std::string line;
  std::getline(file, line);
  int rows = 0;
  for (; std::getline(file, line); ++rows) {
    std::istringstream cells(line);
    std::array<std::string, 7> cell;
    for (auto& c : cell) std::getline(cells, c, ',');
    const auto size = std::stoll(cell[1]), a = std::stoll(cell[2]), b = std::stoll(cell[3]),
               length = std::stoll(cell[5]);
    const bool drop_last = cell[4] == "1";
    if (cell[0] == "distributed") {
      DistributedSampler sampler(size, {.num_replicas = a, .rank = b, .shuffle = false, .drop_last = drop_last});
      EXPECT_EQ(sampler.size(), length) << line;
      EXPECT_EQ(text(sampler.order(0)), cell[6]) << line;
    } else if (cell[0] == "batch") {
      BatchSampler sampler(SequentialSampler(size), a, drop_last);
      std::string all;
      for (const auto& batch : sampler.batches(0)) all += (all.empty() ? "" : " | ") + text(batch);
      EXPECT_EQ(sampler.size(), length) << line;
      EXPECT_EQ(all, cell[6]) << line;
    } else {
      RandomSampler sampler(size, {.num_samples = a, .seed = 1});
      EXPECT_EQ(sampler.size(), length) << line;
      EXPECT_EQ(static_cast<std::int64_t>(sampler.order(3).size()), length) << line;
    }
  }
  EXPECT_GT(rows, 100);
}

TEST(Sampler, RandomOrdersCoverAndDependOnSeedAndEpoch) {
  const RandomSampler sampler(50, {.seed = 3});
  EXPECT_EQ(sorted(sampler.order(0)), count_to(50));
  EXPECT_EQ(sampler.order(4), RandomSampler(50, {.seed = 3}).order(4));
  EXPECT_NE(sampler.order(0), sampler.order(1));
  EXPECT_NE(sampler.order(0), RandomSampler(50, {.seed = 4}).order(0));
  RandomSampler other(50);
  other.load_state(sampler.state());
  EXPECT_EQ(other.order(7), sampler.order(7));
  // More than all: whole permutations one after the other.
  const auto twice = RandomSampler(10, {.num_samples = 25, .seed = 1}).order(0);
  EXPECT_EQ(sorted(Indices(twice.begin(), twice.begin() + 10)), count_to(10));
  EXPECT_EQ(sorted(Indices(twice.begin() + 10, twice.begin() + 20)), count_to(10));
  const auto drawn = RandomSampler(10, {.replacement = true, .num_samples = 1000, .seed = 1}).order(0);
  EXPECT_EQ(std::set<std::int64_t>(drawn.begin(), drawn.end()).size(), 10u);
  const SubsetRandomSampler subset({4, 9, 2}, {.seed = 1});
  EXPECT_EQ(sorted(subset.order(5)), (Indices{2, 4, 9}));
  EXPECT_EQ(subset.sequential().order(5), (Indices{4, 9, 2}));
  EXPECT_EQ(sampler.sequential().order(5), count_to(50));
}

// Fixed seeds, so these either hold for good or not: chi-square with 3 degrees of freedom exceeds 16.3 with
// probability 0.001.
TEST(Sampler, WeightedDrawsFollowTheWeights) {
  const std::vector<double> weights{1, 0, 4, 2, 3};
  const auto chi_square = [&](const std::map<std::int64_t, double>& counts, const std::vector<double>& expected) {
    double sum = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      if (weights[i] == 0) continue;
      const auto found = counts.find(static_cast<std::int64_t>(i));
      const double seen = found == counts.end() ? 0 : found->second;
      sum += (seen - expected[i]) * (seen - expected[i]) / expected[i];
    }
    return sum;
  };
  std::map<std::int64_t, double> counts;
  for (const auto index : WeightedRandomSampler(weights, 20000, {.seed = 5}).order(0)) ++counts[index];
  EXPECT_EQ(counts.count(1), 0u);
  EXPECT_LT(chi_square(counts, {2000, 0, 8000, 4000, 6000}), 16.3);

  // Without replacement the first draw has the same distribution, and none comes twice.
  const WeightedRandomSampler without(weights, 4, {.replacement = false, .seed = 6});
  counts.clear();
  for (int epoch = 0; epoch < 10000; ++epoch) {
    const auto order = without.order(epoch);
    ASSERT_EQ(sorted(order), (Indices{0, 2, 3, 4}));
    ++counts[order[0]];
  }
  EXPECT_LT(chi_square(counts, {1000, 0, 4000, 2000, 3000}), 16.3);
}

TEST(Sampler, RanksShareAnEpoch) {
  for (const bool exact : {false, true}) {
    Indices all;
    for (std::int64_t rank = 0; rank < 3; ++rank) {
      const DistributedSampler sampler(11, {.num_replicas = 3, .rank = rank, .seed = 2, .exact = exact});
      const auto order = sampler.order(4);
      EXPECT_EQ(static_cast<std::int64_t>(order.size()), sampler.size());
      all.insert(all.end(), order.begin(), order.end());
    }
    EXPECT_EQ(all.size(), exact ? 11u : 12u);
    EXPECT_EQ(std::set<std::int64_t>(all.begin(), all.end()).size(), 11u);
  }
  EXPECT_EQ(DistributedSampler(2, {.num_replicas = 3, .rank = 2, .exact = true}).size(), 0);
  EXPECT_NE(DistributedSampler(100).order(0), DistributedSampler(100).order(1));
}

TEST(Sampler, BucketsKeepSimilarLengthsTogether) {
  Indices lengths;
  for (std::int64_t i = 0; i < 500; ++i) lengths.push_back(1 + i * 37 % 100);
  const auto check = [&](const BucketBatchSampler& sampler, std::int64_t most_spread) {
    Indices all;
    const auto batches = sampler.batches(2);
    EXPECT_EQ(static_cast<std::int64_t>(batches.size()), sampler.size());
    for (const auto& batch : batches) {
      std::int64_t least = 1000, most = 0;
      for (const auto index : batch) {
        least = std::min(least, lengths[static_cast<std::size_t>(index)]);
        most = std::max(most, lengths[static_cast<std::size_t>(index)]);
      }
      EXPECT_LE(most - least, most_spread);
      all.insert(all.end(), batch.begin(), batch.end());
    }
    return all;
  };
  const BucketBatchSampler sampler(lengths, {.batch_size = 8, .num_buckets = 10, .seed = 1});
  EXPECT_EQ(sorted(check(sampler, 10)), count_to(500));
  EXPECT_NE(sampler.batches(0), sampler.batches(1));
  EXPECT_EQ(sampler.sequential().batches(0), sampler.sequential().batches(1));
  const BucketBatchSampler bounded(lengths, {.batch_size = 8, .boundaries = {20, 60}, .drop_last = true, .seed = 1});
  for (const auto& batch : bounded.batches(0)) EXPECT_EQ(batch.size(), 8u);
  check(bounded, 39);
  const BucketBatchSampler tokens(lengths, {.max_tokens = 200, .seed = 1});
  EXPECT_EQ(sorted(check(tokens, 10)), count_to(500));
  for (const auto& batch : tokens.batches(0)) {
    std::int64_t most = 0;
    for (const auto index : batch) most = std::max(most, lengths[static_cast<std::size_t>(index)]);
    EXPECT_LE(most * static_cast<std::int64_t>(batch.size()), 200);
  }
}

TEST(Sampler, ErrorsAreClear) {
  EXPECT_THROW(SequentialSampler(-1), Error);
  EXPECT_THROW(RandomSampler(5, {.num_samples = -1}), Error);
  EXPECT_THROW(RandomSampler(0, {.num_samples = 1}), Error);
  EXPECT_THROW(WeightedRandomSampler({1, -1}, 1), Error);
  EXPECT_THROW(WeightedRandomSampler({0, 0}, 1), Error);
  EXPECT_THROW(WeightedRandomSampler({1, 0}, 2, {.replacement = false}), Error);
  EXPECT_THROW(DistributedSampler(5, {.num_replicas = 2, .rank = 2}), Error);
  EXPECT_THROW(DistributedSampler(5, {.drop_last = true, .exact = true}), Error);
  EXPECT_THROW(BucketBatchSampler({1, 2}, {}), Error);
  EXPECT_THROW(BucketBatchSampler({1, 2}, {.batch_size = 2, .boundaries = {5, 2}}), Error);
  EXPECT_THROW(Sampler().size(), Error);
  EXPECT_THROW(BatchSampler(Sampler(), 3), Error);
}

}  // namespace
}  // namespace levin
