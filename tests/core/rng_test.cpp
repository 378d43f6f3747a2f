#include <levin/core/rng.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace levin {
namespace {

TEST(Rng, SameStreamWhateverElseIsDrawn) {
  Rng a(7, "dropout", 3), other(7, "dropout", 4), b(7, "dropout", 3);
  for (int i = 0; i < 100; ++i) {
    const auto expected = a();
    other();
    EXPECT_EQ(b(), expected);
  }
}

TEST(Rng, SeedPurposeAndIndexEachChangeTheStream) {
  std::set<std::uint64_t> firsts{Rng(1, "a", 0)(), Rng(2, "a", 0)(), Rng(1, "b", 0)(), Rng(1, "a", 1)()};
  EXPECT_EQ(firsts.size(), 4u);
}

TEST(Rng, ContinuesFromItsStateAtEveryPosition) {
  Rng rng(11, "resume");
  for (int i = 0; i < 9; ++i) {
    Rng resumed(rng.state());
    EXPECT_EQ(resumed(), Rng(rng.state())());
    EXPECT_EQ(rng(), [&] { Rng again(11, "resume"); for (int j = 0; j < i; ++j) again(); return again(); }());
  }
}

// Known answers of Philox 4x32-10 from the authors' Random123 distribution (kat_vectors).
TEST(Rng, MatchesTheReferencePhiloxVectors) {
  Rng zeros(Rng::State{.key = 0, .index = 0, .position = 0});
  EXPECT_EQ(zeros(), 0xe169c58d6627e8d5ULL);
  EXPECT_EQ(zeros(), 0x9b00dbd8bc57ac4cULL);
}

TEST(Rng, BelowIsUniform) {
  Rng rng(3, "below");
  std::array<int, 7> counts{};
  constexpr int n = 70'000;
  for (int i = 0; i < n; ++i) ++counts[rng.below(7)];
  double chi2 = 0;
  for (int count : counts) chi2 += (count - n / 7.0) * (count - n / 7.0) / (n / 7.0);
  EXPECT_LT(chi2, 22.46);  // 6 degrees of freedom, p = 0.001
}

TEST(Rng, NormalHasUnitMoments) {
  Rng rng(5, "normal");
  double sum = 0, squares = 0;
  constexpr int n = 100'000;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal();
    sum += x;
    squares += x * x;
  }
  EXPECT_NEAR(sum / n, 0, 4 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 4 * std::sqrt(2.0 / n));
}

TEST(Rng, PermutationHoldsEachIndexOnce) {
  auto order = Rng(1, "shuffle").permutation(1000);
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

// It draws eight blocks of words at once, which nobody may notice.
TEST(Rng, PermutationIsFisherAndYatesOverTheStream) {
  for (const std::size_t size : {0, 1, 2, 17, 1001}) {
    // At the last, the number of the block passes 32 bits.
    for (const std::uint64_t position : {std::uint64_t{0}, std::uint64_t{1}, (std::uint64_t{1} << 33) - 3}) {
      const Rng::State begin{.key = 11, .index = (std::uint64_t{1} << 40) + 3, .position = position};
      Rng at_once(begin), one_by_one(begin);
      std::vector<std::int64_t> order(size);
      for (std::size_t i = 0; i < size; ++i) order[i] = static_cast<std::int64_t>(i);
      for (std::size_t i = size; i > 1; --i) std::swap(order[i - 1], order[one_by_one.below(i)]);
      EXPECT_EQ(at_once.permutation(static_cast<std::int64_t>(size)), order);
      EXPECT_EQ(at_once.state(), one_by_one.state());
      EXPECT_EQ(at_once(), one_by_one());
    }
  }
}

}  // namespace
}  // namespace levin
