#include <levin/core/error.h>
#include <levin/data/image_transforms.h>
#include <levin/data/loader.h>
#include <levin/data/npy.h>
#include <levin/data/tensor_dataset.h>
#include <levin/data/transforms.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <set>
#include <string>

namespace levin {
namespace {

std::vector<std::pair<std::string, Transform>> random_transforms() {
  return {{"crop", RandomCrop({.size = {6, 5}, .padding = 2, .seed = 1})},
          {"hflip", RandomHorizontalFlip({.seed = 1})},
          {"vflip", RandomVerticalFlip({.seed = 1})},
          {"affine", RandomAffine({.degrees = {-30, 30}, .translate = {0.2, 0.2}, .scale = {0.8, 1.2}, .seed = 1})},
          {"erasing", RandomErasing({.p = 0.8, .seed = 1})},
          {"cutout", Cutout({.size = 4, .seed = 1})},
          {"noise", GaussianNoise({.std = 0.5, .seed = 1})}};
}

// The property that all of them share: a sample's result depends on (seed, epoch, index) alone.
TEST(ImageTransforms, DependOnTheSampleAlone) {
  const auto x = torch::rand({20, 3, 8, 7});
  std::vector<int64_t> all(20), odd;
  for (int64_t i = 0; i < 20; ++i) all[static_cast<size_t>(i)] = i;
  for (int64_t i = 19; i >= 0; i -= 2) odd.push_back(i);
  for (const auto& [name, transform] : random_transforms()) {
    const auto before = x.clone();
    const auto whole = transform(Batch{x}, {.epoch = 3, .indices = all})[0];
    const auto part = transform(Batch{x.index_select(0, torch::tensor(odd))}, {.epoch = 3, .indices = odd})[0];
    EXPECT_TRUE(torch::equal(part, whole.index_select(0, torch::tensor(odd)))) << name;
    EXPECT_FALSE(torch::equal(whole, transform(Batch{x}, {.epoch = 4, .indices = all})[0])) << name;
    EXPECT_TRUE(torch::equal(x, before)) << name << " changed its input";
    EXPECT_THROW(transform(Batch{x}, {}), Error) << name;

    std::vector<torch::Tensor> first;
    for (const int64_t workers : {0, 2}) {
      DataLoader loader(TensorDataset({x}),
                        {.batch_size = 7 - workers, .num_workers = workers, .transform = transform});
      std::vector<torch::Tensor> batches;
      while (auto batch = loader.next()) batches.push_back((*batch)[0]);
      first.push_back(torch::cat(batches));
    }
    EXPECT_TRUE(torch::equal(first[0], first[1])) << name;
  }
}

TEST(ImageTransforms, AffineMatchesTorchvisionsDefinition) {
  const auto golden = read_npz(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/data/files/affine.npz");
  const auto picture = golden["picture"].unsqueeze(0);
  const std::vector<int64_t> index{0};
  for (int64_t i = 0; i < golden["cases"].size(0); ++i) {
    const auto value = [&](int64_t j) { return golden["cases"][i][j].item<double>(); };
    RandomAffine affine(
        {.degrees = {value(0), value(0)}, .scale = {value(1), value(1)}, .shear = {value(2), value(2)}, .seed = 0});
    const auto result = affine(Batch{picture}, {.indices = index})[0][0];
    EXPECT_TRUE(torch::allclose(result, golden["results"][i], 1e-9, 1e-9)) << i;
  }
  // Shifts are of whole pixels, and what comes in is the fill.
  RandomAffine shift({.translate = {0.5, 0.5}, .fill = 9, .seed = 2});
  const auto x = torch::rand({1, 1, 8, 8}, torch::kDouble);
  for (int64_t i = 0; i < 20; ++i) {
    const std::vector<int64_t> one{i};
    const auto moved = shift(Batch{x}, {.indices = one})[0];
    bool found = false;
    for (int64_t dy = -4; dy <= 4 && !found; ++dy) {
      for (int64_t dx = -4; dx <= 4 && !found; ++dx) {
        auto padded = torch::constant_pad_nd(x, {4, 4, 4, 4}, 9);
        found = torch::allclose(padded.narrow(2, 4 - dy, 8).narrow(3, 4 - dx, 8), moved, 1e-9, 1e-9);
      }
    }
    EXPECT_TRUE(found) << i;
  }
}

TEST(ImageTransforms, CropsAndFlipsKeepPixels) {
  const auto x = torch::arange(64, torch::kByte).view({1, 1, 8, 8});
  const RandomCrop crop({.size = {4, 4}, .seed = 1});
  std::set<int> corners;
  for (int64_t i = 0; i < 300; ++i) {
    const std::vector<int64_t> one{i};
    const auto cut = crop(Batch{x}, {.indices = one})[0];
    const auto corner = cut[0][0][0][0].item<int>();
    corners.insert(corner);
    EXPECT_TRUE(torch::equal(cut[0][0], x[0][0].narrow(0, corner / 8, 4).narrow(1, corner % 8, 4)));
  }
  EXPECT_EQ(corners.size(), 25u);  // every place, at these seeds
  int flipped = 0;
  for (int64_t i = 0; i < 1000; ++i) {
    const std::vector<int64_t> one{i};
    const auto y = RandomHorizontalFlip({.p = 0.3, .seed = 1})(Batch{x}, {.indices = one})[0];
    const bool is_flipped = torch::equal(y, x.flip(3));
    EXPECT_TRUE(is_flipped || torch::equal(y, x));
    flipped += is_flipped;
  }
  EXPECT_NEAR(flipped, 300, 60);  // 4 standard deviations; the seed is fixed
  EXPECT_THROW(RandomCrop({.size = {9, 4}})(Batch{x}, {.indices = std::vector<int64_t>{0}}), Error);
}

TEST(ImageTransforms, ErasingAndCutoutFillRectangles) {
  std::vector<int64_t> all(200);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int64_t>(i);
  const auto x = torch::ones({200, 2, 20, 30});
  const auto erased = RandomErasing({.p = 1, .scale = {0.1, 0.2}, .seed = 1})(Batch{x}, {.indices = all})[0];
  const auto cut = Cutout({.size = 6, .seed = 1})(Batch{x}, {.indices = all})[0];
  for (int64_t i = 0; i < 200; ++i) {
    for (const auto& result : {erased[i], cut[i]}) {
      const auto rows = (result[0] == 0).any(1).sum().item<int64_t>(),
                 columns = (result[0] == 0).any(0).sum().item<int64_t>();
      const auto zeros = (result[0] == 0).sum().item<int64_t>();
      EXPECT_EQ(zeros, rows * columns);  // one full rectangle, the same in every channel
      EXPECT_TRUE(torch::equal(result[0], result[1]));
    }
    const double area = (erased[i][0] == 0).sum().item<double>() / 600;
    EXPECT_GT(area, 0.05);
    EXPECT_LT(area, 0.25);
    EXPECT_LE((cut[i][0] == 0).sum().item<int64_t>(), 36);
    EXPECT_GE((cut[i][0] == 0).sum().item<int64_t>(), 9);  // at least the part of a corner
  }
}

TEST(ImageTransforms, ScaleNormalizeCompose) {
  const auto x = torch::randint(256, {2, 3, 4, 4}).to(torch::kByte);
  const Transform both = Compose{ToFloat(), Normalize({0.1, 0.2, 0.3}, {0.5, 1, 2})};
  const auto y = both(Batch{{"x", x}, {"y", torch::arange(2)}}, {});
  const auto mean = torch::tensor({0.1, 0.2, 0.3}).view({1, 3, 1, 1}),
             std = torch::tensor({0.5, 1., 2.}).view({1, 3, 1, 1});
  EXPECT_TRUE(torch::allclose(y["x"], (x.to(torch::kFloat) / 255 - mean.to(torch::kFloat)) / std.to(torch::kFloat)));
  EXPECT_TRUE(torch::equal(y["y"], torch::arange(2)));
  EXPECT_THROW(Normalize({0.5}, {0.0}), Error);
  EXPECT_THROW(Normalize({0.5}, {0.5})(Batch{x}, {}), Error);  // whole numbers
  EXPECT_THROW(Normalize({1, 2}, {1, 1})(Batch{torch::ones({1, 3, 2, 2})}, {}), Error);
  EXPECT_THROW(RandomAffine({.scale = {2, 1}}), Error);
  EXPECT_THROW(RandomErasing({.p = 2}), Error);
  EXPECT_THROW(Cutout({.size = 0}), Error);
}

// Mixing: with pictures that are their own index, weights can be read off and must agree with the targets.
TEST(ImageTransforms, MixupAndCutMixTargetsFollowThePictures) {
  const int64_t n = 50;
  std::vector<int64_t> all(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) all[static_cast<size_t>(i)] = i + 100;
  const auto x = torch::arange(n, torch::kFloat).view({n, 1, 1, 1}).expand({n, 2, 10, 12}).contiguous();
  const auto target = torch::arange(n);
  const Batch batch{x, target};
  for (const bool cutmix : {false, true}) {
    const MixupOptions options{.alpha = 1, .num_classes = n, .seed = 5};
    const Transform transform = cutmix ? Transform(CutMix(options)) : Transform(Mixup(options));
    const auto mixed = transform(batch, {.epoch = 1, .indices = all});
    EXPECT_EQ(mixed[1].sizes(), (std::vector<int64_t>{n, n}));
    EXPECT_TRUE(torch::allclose(mixed[1].sum(1), torch::ones({n})));
    // The mean pixel is the expected class under the target's probabilities, for both.
    const auto expected = torch::mv(mixed[1], torch::arange(n, torch::kFloat));
    EXPECT_TRUE(torch::allclose(mixed[0].mean({1, 2, 3}), expected, 1e-3, 1e-3));
    EXPECT_GT((mixed[1].amax(1) < 0.999).sum().item<int64_t>(), n / 2);
    EXPECT_TRUE(torch::equal(transform(batch, {.epoch = 1, .indices = all})[0], mixed[0]));
    EXPECT_FALSE(torch::equal(transform(batch, {.epoch = 2, .indices = all})[0], mixed[0]));
  }
  const auto kept = Mixup({.alpha = 0, .num_classes = n})(batch, {.indices = all});
  EXPECT_TRUE(torch::equal(kept[0], x));
  EXPECT_THROW(CutMix()(batch, {.indices = all}), Error);  // class indices without a number of classes
}

}  // namespace
}  // namespace levin
