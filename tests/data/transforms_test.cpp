#include <levin/core/error.h>
#include <levin/data/seed.h>
#include <levin/data/transforms.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace levin {
namespace {

TEST(GaussianNoise, HasItsDeviationAndLeavesTheBatchAlone) {
  Batch batch{torch::full({200, 500}, 3.0f), torch::arange(200)};
  GaussianNoise noise({.std = 0.5, .seed = 1});
  const auto noisy = noise(batch, 0, 0);
  EXPECT_EQ(batch[0].min().item<float>(), 3);
  EXPECT_TRUE(noisy[1].is_same(batch[1]));
  const auto added = noisy[0] - batch[0];
  // 100,000 draws of a fixed seed: the mean's standard error is 0.0016, the deviation's 0.0011; bounds at 5 of them.
  EXPECT_NEAR(added.mean().item<double>(), 0, 0.008);
  EXPECT_NEAR(added.std().item<double>(), 0.5, 0.0056);
}

TEST(GaussianNoise, DependsOnSeedEpochAndBatchAlone) {
  Batch batch{torch::zeros({4, 4})};
  GaussianNoise noise({.std = 1, .seed = 2});
  const auto first = noise(batch, 3, 5)[0];
  noise(batch, 3, 6);
  torch::manual_seed(3);
  EXPECT_TRUE(torch::equal(first, GaussianNoise({.std = 1, .seed = 2})(batch, 3, 5)[0]));
  EXPECT_TRUE(torch::equal(first, noise(batch, 3, 5)[0]));
  EXPECT_FALSE(torch::equal(first, noise(batch, 5, 3)[0]));
  EXPECT_FALSE(torch::equal(first, noise(batch, 3, 6)[0]));
  EXPECT_FALSE(torch::equal(first, GaussianNoise({.std = 1, .seed = 3})(batch, 3, 5)[0]));

  torch::manual_seed(3);
  const auto global = torch::rand({1});
  torch::manual_seed(3);
  noise(batch, 0, 0);
  EXPECT_TRUE(torch::equal(global, torch::rand({1})));

  const SeedScope scope(2);
  EXPECT_TRUE(torch::equal(first, GaussianNoise({.std = 1})(batch, 3, 5)[0]));
}

TEST(GaussianNoise, ZeroIsOffAndBadInputIsAnError) {
  Batch batch{torch::zeros({4, 4})};
  EXPECT_TRUE(GaussianNoise({.std = 0})(batch, 0, 0)[0].is_same(batch[0]));
  EXPECT_THROW(GaussianNoise({.std = -1}), Error);
  GaussianNoise noise;
  EXPECT_THROW(noise({torch::arange(3)}, 0, 0), Error);
  EXPECT_THROW(noise({}, 0, 0), Error);
}

TEST(Mixup, MixesInputsAndSoftTargetsByOneLambda) {
  // Sample i has input i and class i: the mixed target says which two were mixed and how.
  const int64_t n = 7;
  Batch batch{torch::arange(n).to(torch::kFloat).unsqueeze(1), torch::arange(n)};
  Mixup mixup({.alpha = 1, .num_classes = n, .seed = 4});
  const double lambda = mixup.lambda(1, 2);
  EXPECT_GT(lambda, 0);
  EXPECT_LT(lambda, 1);
  const auto mixed = mixup(batch, 1, 2);
  EXPECT_EQ(mixed[1].sizes(), (std::vector<int64_t>{n, n}));
  EXPECT_TRUE(torch::allclose(mixed[1].sum(1), torch::ones({n})));
  const auto classes = torch::arange(n).to(torch::kFloat).unsqueeze(1);
  EXPECT_TRUE(torch::allclose(mixed[0], mixed[1].mm(classes), 1e-5, 1e-5));
  const auto own = mixed[1].diagonal();
  EXPECT_TRUE(((own - lambda).abs() < 1e-6).logical_or((own - 1).abs() < 1e-6).all().item<bool>());
  // Every sample is the partner of exactly one.
  EXPECT_TRUE(torch::allclose(mixed[1].sum(0), torch::ones({n})));
  EXPECT_TRUE(torch::equal(batch[1], torch::arange(n)));
}

TEST(Mixup, MixesFloatingTargetsAsTheyAre) {
  auto x = torch::randn({16, 3});
  Batch batch{{"x", x}, {"y", x.sum(1, true)}};
  const auto mixed = Mixup({.alpha = 0.4, .seed = 5})(batch, 0, 0);
  EXPECT_TRUE(torch::allclose(mixed["y"], mixed["x"].sum(1, true), 1e-5, 1e-5));
  EXPECT_FALSE(torch::allclose(mixed["x"], x));
}

TEST(Mixup, DependsOnSeedEpochAndBatchAlone) {
  Batch batch{torch::randn({8, 2}), torch::randn({8, 1})};
  const Mixup mixup({.alpha = 1, .seed = 6});
  const auto first = mixup(batch, 2, 3)[0];
  EXPECT_TRUE(torch::equal(first, Mixup({.alpha = 1, .seed = 6})(batch, 2, 3)[0]));
  EXPECT_NE(mixup.lambda(2, 3), mixup.lambda(3, 2));
  EXPECT_NE(mixup.lambda(2, 3), Mixup({.alpha = 1, .seed = 7}).lambda(2, 3));
}

// Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)). 20,000 draws of a fixed seed; bounds at 5 standard errors
// (of the variance: at most those of a draw from {0, 1}-like tails, 0.0009).
TEST(Mixup, LambdaIsBetaDistributed) {
  for (const double alpha : {0.01, 0.2, 1.0, 4.0}) {
    const Mixup mixup({.alpha = alpha, .seed = 8});
    double sum = 0, squares = 0;
    const int draws = 20000;
    for (int i = 0; i < draws; ++i) {
      const double lambda = mixup.lambda(0, i);
      ASSERT_GE(lambda, 0);
      ASSERT_LE(lambda, 1);
      sum += lambda;
      squares += (lambda - 0.5) * (lambda - 0.5);
    }
    const double variance = 1 / (4 * (2 * alpha + 1));
    EXPECT_NEAR(sum / draws, 0.5, 5 * std::sqrt(variance / draws)) << alpha;
    EXPECT_NEAR(squares / draws, variance, 0.0045) << alpha;
  }
}

TEST(Mixup, ZeroIsOffAndBadInputIsAnError) {
  Batch batch{torch::randn({4, 2}), torch::arange(4)};
  const auto same = Mixup({.alpha = 0, .num_classes = 4})(batch, 0, 0);
  EXPECT_TRUE(same[0].is_same(batch[0]));
  EXPECT_TRUE(torch::equal(same[1], torch::eye(4)));  // targets keep their form whatever alpha is
  EXPECT_THROW(Mixup({.alpha = -1}), Error);
  EXPECT_THROW(Mixup({.num_classes = -1}), Error);
  EXPECT_THROW(Mixup()(batch, 0, 0), Error);
  EXPECT_THROW(Mixup({.num_classes = 4})({torch::arange(4), torch::arange(4)}, 0, 0), Error);
  EXPECT_THROW(Mixup()({torch::randn({4, 2})}, 0, 0), Error);
}

}  // namespace
}  // namespace levin
