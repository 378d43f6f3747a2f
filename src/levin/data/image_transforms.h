// Transforms of batches of pictures, the same for the same (seed, epoch, sample) in any batch and on any thread.
#pragma once

#include <levin/core/export.h>
#include <levin/data/transform.h>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace levin {

/**
 * One transform after the other: `.transform = Compose{RandomCrop({.size = {28, 28}}), ToFloat()}`. All transforms of
 * this page change tensor 0 of a batch, [batch, channels, height, width], and leave the others as they are. Random ones
 * draw for every sample by (seed, epoch, index), so a BatchContext must name the samples; seeds are by default derived
 * from current_seed(). Options that make no sense and batches of another shape are Errors.
 */
class LEVIN_API Compose {
 public:
  Compose(std::initializer_list<Transform> transforms) : transforms_(transforms) {}
  explicit Compose(std::vector<Transform> transforms) : transforms_(std::move(transforms)) {}
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  std::vector<Transform> transforms_;
};

/** Whole numbers to float32 in [0, 1], divided by the largest of their type (torchvision's ToDtype with scale). */
class LEVIN_API ToFloat {
 public:
  Batch operator()(const Batch& batch, const BatchContext& context) const;
};

/** (x - mean) / std, one value a channel or one for all; floating-point input. */
class LEVIN_API Normalize {
 public:
  Normalize(std::vector<double> mean, std::vector<double> std);
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  std::vector<double> mean_, std_;
};

struct RandomCropOptions {
  std::array<std::int64_t, 2> size = {0, 0};  ///< height and width of the result
  std::int64_t padding = 0;                   ///< pixels added on each side first
  double fill = 0;                            ///< their value
  std::optional<std::uint64_t> seed = {};
};

/** A part of each picture at a random place, after padding (torchvision's RandomCrop). */
class LEVIN_API RandomCrop {
 public:
  explicit RandomCrop(const RandomCropOptions& options);
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  RandomCropOptions options_;
};

struct RandomFlipOptions {
  double p = 0.5;  ///< probability
  std::optional<std::uint64_t> seed = {};
};

/** Left and right change places. */
class LEVIN_API RandomHorizontalFlip {
 public:
  explicit RandomHorizontalFlip(const RandomFlipOptions& options = {});
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  RandomFlipOptions options_;
};

/** Top and bottom change places. */
class LEVIN_API RandomVerticalFlip {
 public:
  explicit RandomVerticalFlip(const RandomFlipOptions& options = {});
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  RandomFlipOptions options_;
};

struct RandomAffineOptions {
  std::array<double, 2> degrees = {0, 0};    ///< range of the angle, clockwise
  std::array<double, 2> translate = {0, 0};  ///< largest shift, as fractions of width and height
  std::array<double, 2> scale = {1, 1};      ///< range of the factor
  std::array<double, 2> shear = {0, 0};      ///< range of the angle along x, in degrees
  double fill = 0;                           ///< the value outside the picture
  std::optional<std::uint64_t> seed = {};
};

/**
 * Rotation, shift, scaling and shear about the centre in one bilinear resampling (torchvision's RandomAffine: its
 * matrices, shifts of whole pixels). Floating-point input.
 */
class LEVIN_API RandomAffine {
 public:
  explicit RandomAffine(const RandomAffineOptions& options);
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  RandomAffineOptions options_;
};

struct RandomErasingOptions {
  double p = 0.5;                              ///< probability
  std::array<double, 2> scale = {0.02, 0.33};  ///< range of the area, as a fraction of the picture
  std::array<double, 2> ratio = {0.3, 3.3};    ///< range of height / width
  double value = 0;                            ///< what the rectangle is filled with
  std::optional<std::uint64_t> seed = {};
};

/** Fills a random rectangle (Zhong et al. 2020, "Random erasing data augmentation"; torchvision's RandomErasing). */
class LEVIN_API RandomErasing {
 public:
  explicit RandomErasing(const RandomErasingOptions& options = {});
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  RandomErasingOptions options_;
};

struct CutoutOptions {
  std::int64_t size = 8;  ///< side of the square, in pixels
  double value = 0;
  std::optional<std::uint64_t> seed = {};
};

/** Fills a square about a random centre, cut off at the border (DeVries and Taylor 2017). */
class LEVIN_API Cutout {
 public:
  explicit Cutout(const CutoutOptions& options = {});
  Batch operator()(const Batch& batch, const BatchContext& context) const;

 private:
  CutoutOptions options_;
};

}  // namespace levin
