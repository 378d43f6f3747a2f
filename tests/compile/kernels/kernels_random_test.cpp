#include <levin/compile/kernels/random.h>

#include <set>

#include "compile/kernels/kernels_test_impl.h"

namespace levin::compile::kernels {
namespace {

using namespace levin::compile::kernels::testing;

/** Philox 4x32-10 as Salmon et al. define it. */
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; round++) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * counter[0], b = std::uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<std::uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(b),
               static_cast<std::uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(a)};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return counter;
}

TEST(KernelsRandom, IsPhiloxWhateverTheWidth) {
  // The known answer of the paper's test vectors, for this reference itself.
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0})[0], 0x6627e8d5U);
  const RandomStream stream{.seed = 0x123456789abcdef0, .offset = 0x0fedcba987654321};
  for_each_instruction_set([&] {
    constexpr std::int64_t n = 1000;
    Floats u(n);
    select_uniform()(stream, 0, 1, u.data(), 0, n);
    EXPECT_TRUE(u.intact());
    for (std::int64_t i = 0; i < n; i++) {
      // Element i of a block of 64 is word i / 16 of counter i mod 16.
      const auto counter = static_cast<std::uint32_t>(i / 64 * 16 + i % 16);
      const auto words = philox({counter, 0, 0x87654321, 0x0fedcba9}, {0x9abcdef0, 0x12345678});
      ASSERT_EQ(u[i], static_cast<float>(words[static_cast<std::size_t>(i % 64 / 16)] >> 8) * 0x1p-24F) << i;
    }
  });
}

TEST(KernelsRandom, SplitsDoNotChangeBits) {
  for_each_instruction_set([] {
    const RandomStream stream{7, 3};
    Floats whole(500), split(500);
    select_dropout_mask()(stream, 0.3F, whole.data(), 0, 500);
    select_dropout_mask()(stream, 0.3F, split.data(), 0, kRandomGrain);
    select_dropout_mask()(stream, 0.3F, split.data(), kRandomGrain, 4 * kRandomGrain);
    select_dropout_mask()(stream, 0.3F, split.data(), 4 * kRandomGrain, 500);
    EXPECT_TRUE(whole.same_bits(split) && split.intact());
    Floats other(500);
    select_dropout_mask()({7, 4}, 0.3F, other.data(), 0, 500);
    EXPECT_FALSE(whole.same_bits(other)) << "another step, another mask";
    select_dropout_mask()({8, 3}, 0.3F, other.data(), 0, 500);
    EXPECT_FALSE(whole.same_bits(other)) << "another seed, another mask";
  });
}

TEST(KernelsRandom, FrequenciesAndRanges) {
  for_each_instruction_set([] {
    constexpr std::int64_t n = 200000;
    for (const float p : {0.F, 0.1F, 0.5F, 0.9F, 1.F}) {
      const RandomStream stream{42, 1};
      Floats mask(n), x(n, 2), y(n), mask_of_dropout(n), coin(n);
      select_dropout_mask()(stream, p, mask.data(), 0, n);
      select_dropout()(stream, p, x.data(), y.data(), mask_of_dropout.data(), 0, n);
      select_bernoulli()(stream, p, coin.data(), 0, n);
      EXPECT_TRUE(mask.same_bits(mask_of_dropout));
      double kept = 0, ones = 0;
      for (std::int64_t i = 0; i < n; i++) {
        ASSERT_TRUE(mask[i] == 0 || mask[i] == 1 / (1 - p));
        ASSERT_EQ(y[i], 2 * mask[i]);
        ASSERT_TRUE(coin[i] == 0 || coin[i] == 1);
        kept += mask[i] != 0 ? 1 : 0;
        ones += coin[i];
      }
      const double deviation = 5 * std::sqrt(static_cast<double>(n) * p * (1 - p)) + 1e-9;
      EXPECT_NEAR(kept, static_cast<double>(n) * (1 - p), deviation);
      EXPECT_NEAR(ones, static_cast<double>(n) * p, deviation);
    }
    Floats u(n);
    select_uniform()({1, 1}, -3, -1, u.data(), 0, n);
    double sum = 0, squares = 0;
    for (std::int64_t i = 0; i < n; i++) {
      ASSERT_TRUE(u[i] >= -3 && u[i] < -1);
      sum += u[i];
      squares += (u[i] + 2.0) * (u[i] + 2.0);
    }
    EXPECT_NEAR(sum / n, -2, 0.01);
    EXPECT_NEAR(squares / n, 1.0 / 3, 0.01);
  });
}

}  // namespace
}  // namespace levin::compile::kernels
