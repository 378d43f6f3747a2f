#include <levin/data/image_transforms.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/core/value.h>
#include <levin/data/seed.h>

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/grid_sampler.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <sstream>

namespace levin {
namespace {

[[noreturn]] void throw_option(const std::string& what, const std::string& value, const std::string& where) {
  throw Error({.what = what, .value = value, .where = where, .hint = {}});
}

void check_probability(double p, const char* where) {
  if (!(p >= 0 && p <= 1)) throw_option("a probability lies within [0, 1]", format_double(p), where);
}

void check_range(const std::array<double, 2>& range, double least, const char* where) {
  if (range[0] <= range[1] && range[0] >= least && std::isfinite(range[0]) && std::isfinite(range[1])) return;
  throw_option("a range needs two rising finite numbers" +
                   (std::isfinite(least) ? " of at least " + format_double(least) : std::string()),
               format_double(range[0]) + ", " + format_double(range[1]), where);
}

std::uint64_t seed_or_current(const std::optional<std::uint64_t>& seed, const char* name) {
  return seed ? *seed : mix_seed(current_seed(), stable_hash(name));
}

const at::Tensor& pictures(const Batch& batch, const char* who) {
  const auto& x = batch[0];
  if (x.dim() == 4) return x;
  std::ostringstream shape;
  shape << x.sizes();
  throw Error({.what = std::string(who) + " needs pictures [batch, channels, height, width] as tensor 0 of the batch",
               .value = shape.str(),
               .where = {},
               .hint = x.dim() == 3 ? "unsqueeze(1) gives them one channel" : ""});
}

void check_floating(const at::Tensor& x, const char* who) {
  if (at::isFloatingType(x.scalar_type())) return;
  throw Error({.what = std::string(who) + " needs floating-point pictures",
               .value = x.toString(),
               .where = {},
               .hint = "put ToFloat() before it"});
}

// The streams of a batch's samples, one after the other.
class SampleStreams {
 public:
  SampleStreams(const at::Tensor& x, const BatchContext& context, std::uint64_t seed, const char* purpose)
      : context_(context), key_(mix_seed(seed, static_cast<std::uint64_t>(context.epoch))), purpose_(purpose) {
    if (static_cast<std::int64_t>(context.indices.size()) == x.size(0)) return;
    throw Error(
        {.what = "a random transform needs the index of every sample of the batch",
         .value = std::to_string(context.indices.size()) + " indices for " + std::to_string(x.size(0)) + " samples",
         .where = {},
         .hint = "transform(batch, {.epoch = epoch, .indices = indices})"});
  }
  std::int64_t size() const { return static_cast<std::int64_t>(context_.indices.size()); }
  Rng operator[](std::int64_t place) const {
    return Rng(key_, purpose_, static_cast<std::uint64_t>(context_.indices[static_cast<std::size_t>(place)]));
  }

 private:
  const BatchContext& context_;
  std::uint64_t key_;
  const char* purpose_;
};

Batch with_first(const Batch& batch, at::Tensor x) {
  Batch result = batch;
  result[0] = std::move(x);
  return result;
}

std::int64_t draw_below(Rng& rng, std::int64_t n) {
  return static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(n)));
}

Batch flip(const Batch& batch, const BatchContext& context, const RandomFlipOptions& options, std::int64_t dim,
           const char* purpose) {
  const auto& x = pictures(batch, "a flip");
  const SampleStreams streams(x, context, *options.seed, purpose);
  auto chosen = at::empty({x.size(0), 1, 1, 1}, at::kBool);
  for (std::int64_t i = 0; i < streams.size(); ++i) {
    chosen.mutable_data_ptr<bool>()[i] = streams[i].uniform() < options.p;
  }
  return with_first(batch, at::where(chosen.to(x.device()), x.flip(dim), x));
}

void erase(at::Tensor& picture, std::int64_t top, std::int64_t left, std::int64_t height, std::int64_t width,
           double value) {
  if (height > 0 && width > 0) picture.narrow(1, top, height).narrow(2, left, width).fill_(value);
}

// Where the pixel of the result comes from, both in pixels from the centre: the inverse of torchvision's
// translation * rotation * shear * scale, two rows of three.
std::array<double, 6> inverse_affine(double degrees, double shift_x, double shift_y, double scale, double shear) {
  constexpr double kRadians = std::numbers::pi / 180;
  const double angle = degrees * kRadians, sx = shear * kRadians;
  // Forward: [a b; c d] = rotation(angle) * [1 -tan(sx); 0 1], times scale.
  const double a = std::cos(angle), b = -std::cos(angle) * std::tan(sx) - std::sin(angle);
  const double c = std::sin(angle), d = -std::sin(angle) * std::tan(sx) + std::cos(angle);
  const double ia = d / scale, ib = -b / scale, ic = -c / scale, id = a / scale;  // the determinant is 1
  return {ia, ib, -ia * shift_x - ib * shift_y, ic, id, -ic * shift_x - id * shift_y};
}

}  // namespace

Batch Compose::operator()(const Batch& batch, const BatchContext& context) const {
  Batch result = batch;
  for (const auto& transform : transforms_) result = transform(result, context);
  return result;
}

Batch ToFloat::operator()(const Batch& batch, const BatchContext&) const {
  const auto& x = batch[0];
  if (at::isFloatingType(x.scalar_type())) return with_first(batch, x.to(at::kFloat));
  double most = 1;
  switch (x.scalar_type()) {
    case at::kBool: break;
    case at::kByte: most = 255; break;
    case at::kChar: most = 127; break;
    case at::kShort: most = 32767; break;
    case at::kInt: most = std::numeric_limits<std::int32_t>::max(); break;
    case at::kLong: most = static_cast<double>(std::numeric_limits<std::int64_t>::max()); break;
    default: throw_option("this type of numbers cannot be scaled to [0, 1]", x.toString(), "ToFloat");
  }
  return with_first(batch, x.to(at::kFloat).div_(most));
}

Normalize::Normalize(std::vector<double> mean, std::vector<double> std) : mean_(std::move(mean)), std_(std::move(std)) {
  if (mean_.empty() || mean_.size() != std_.size()) {
    throw_option("normalising needs as many means as standard deviations, at least one",
                 std::to_string(mean_.size()) + " and " + std::to_string(std_.size()), "Normalize");
  }
  for (const auto value : std_) {
    if (!(value > 0)) throw_option("a standard deviation must be above 0", format_double(value), "Normalize std");
  }
}

Batch Normalize::operator()(const Batch& batch, const BatchContext&) const {
  const auto& x = pictures(batch, "normalising");
  check_floating(x, "normalising");
  const auto channels = static_cast<std::int64_t>(mean_.size());
  if (channels != 1 && channels != x.size(1)) {
    throw_option("normalising needs one mean a channel", std::to_string(channels) + " for " + std::to_string(x.size(1)),
                 "Normalize");
  }
  const auto values = [&](const std::vector<double>& list) {
    return at::tensor(list, x.options().requires_grad(false)).view({1, channels, 1, 1});
  };
  return with_first(batch, x.sub(values(mean_)).div_(values(std_)));
}

RandomCrop::RandomCrop(const RandomCropOptions& options) : options_(options) {
  if (options.size[0] < 1 || options.size[1] < 1 || options.padding < 0) {
    throw_option("a crop needs a size of at least 1 and a padding of at least 0",
                 std::to_string(options.size[0]) + " x " + std::to_string(options.size[1]) + ", padding " +
                     std::to_string(options.padding),
                 "RandomCrop");
  }
  options_.seed = seed_or_current(options.seed, "RandomCrop");
}

Batch RandomCrop::operator()(const Batch& batch, const BatchContext& context) const {
  const auto& x = pictures(batch, "a crop");
  const auto [height, width] = options_.size;
  const auto pad = options_.padding;
  const auto rows = x.size(2) + 2 * pad - height + 1, columns = x.size(3) + 2 * pad - width + 1;
  if (rows < 1 || columns < 1) {
    throw_option("a crop is larger than the padded picture",
                 std::to_string(x.size(2)) + " x " + std::to_string(x.size(3)),
                 "RandomCrop .size = " + std::to_string(height) + " x " + std::to_string(width));
  }
  const SampleStreams streams(x, context, *options_.seed, "crop");
  const auto padded = pad == 0 ? x : at::constant_pad_nd(x, {pad, pad, pad, pad}, options_.fill);
  auto result = at::empty({x.size(0), x.size(1), height, width}, x.options());
  for (std::int64_t i = 0; i < streams.size(); ++i) {
    auto rng = streams[i];
    const auto top = draw_below(rng, rows), left = draw_below(rng, columns);
    result.select(0, i).copy_(padded.select(0, i).narrow(1, top, height).narrow(2, left, width));
  }
  return with_first(batch, std::move(result));
}

RandomHorizontalFlip::RandomHorizontalFlip(const RandomFlipOptions& options) : options_(options) {
  check_probability(options.p, "RandomHorizontalFlip .p");
  options_.seed = seed_or_current(options.seed, "RandomHorizontalFlip");
}

Batch RandomHorizontalFlip::operator()(const Batch& batch, const BatchContext& context) const {
  return flip(batch, context, options_, 3, "hflip");
}

RandomVerticalFlip::RandomVerticalFlip(const RandomFlipOptions& options) : options_(options) {
  check_probability(options.p, "RandomVerticalFlip .p");
  options_.seed = seed_or_current(options.seed, "RandomVerticalFlip");
}

Batch RandomVerticalFlip::operator()(const Batch& batch, const BatchContext& context) const {
  return flip(batch, context, options_, 2, "vflip");
}

RandomAffine::RandomAffine(const RandomAffineOptions& options) : options_(options) {
  constexpr auto any = -std::numeric_limits<double>::infinity();
  check_range(options.degrees, any, "RandomAffine .degrees");
  check_range(options.scale, 1e-6, "RandomAffine .scale");
  check_range(options.shear, -89, "RandomAffine .shear");
  if (options.shear[1] > 89)
    throw_option("a shear lies within [-89, 89] degrees", format_double(options.shear[1]), "RandomAffine .shear");
  for (const auto fraction : options.translate) {
    if (!(fraction >= 0 && fraction <= 1)) {
      throw_option("a largest shift lies within [0, 1]", format_double(fraction), "RandomAffine .translate");
    }
  }
  options_.seed = seed_or_current(options.seed, "RandomAffine");
}

Batch RandomAffine::operator()(const Batch& batch, const BatchContext& context) const {
  const auto& x = pictures(batch, "an affine transform");
  check_floating(x, "an affine transform");
  const SampleStreams streams(x, context, *options_.seed, "affine");
  const auto height = static_cast<double>(x.size(2)), width = static_cast<double>(x.size(3));
  auto theta = at::empty({x.size(0), 2, 3}, at::kDouble);
  for (std::int64_t i = 0; i < streams.size(); ++i) {
    auto rng = streams[i];
    const double degrees = rng.uniform(options_.degrees[0], options_.degrees[1]);
    const double reach_x = options_.translate[0] * width, reach_y = options_.translate[1] * height;
    const double shift_x = std::round(rng.uniform(-reach_x, reach_x));
    const double shift_y = std::round(rng.uniform(-reach_y, reach_y));
    const double scale = rng.uniform(options_.scale[0], options_.scale[1]);
    const double shear = rng.uniform(options_.shear[0], options_.shear[1]);
    const auto m = inverse_affine(degrees, shift_x, shift_y, scale, shear);
    // From pixels to grid_sampler's coordinates, where the picture reaches from -1 to 1 in both directions.
    const std::array<double, 6> normal{m[0], m[1] * height / width, 2 * m[2] / width, m[3] * width / height,
                                       m[4], 2 * m[5] / height};
    std::copy(normal.begin(), normal.end(), theta.mutable_data_ptr<double>() + 6 * i);
  }
  // By elementwise operations, not a product of matrices, whose rounding could depend on the size of the batch.
  const auto plain = x.options().requires_grad(false);
  theta = theta.to(plain);
  const auto entry = [&](std::int64_t row, std::int64_t column) {
    return theta.select(1, row).select(1, column).view({-1, 1, 1});
  };
  const auto places = [&](std::int64_t count) {
    return at::arange(count, plain).mul_(2).add_(1).div_(static_cast<double>(count)).sub_(1);
  };
  const auto xs = places(x.size(3)).view({1, 1, -1}), ys = places(x.size(2)).view({1, -1, 1});
  const auto grid = at::stack(
      {entry(0, 0) * xs + entry(0, 1) * ys + entry(0, 2), entry(1, 0) * xs + entry(1, 1) * ys + entry(1, 2)}, -1);
  constexpr int kBilinear = 0, kZeros = 0;
  auto result = at::grid_sampler(options_.fill == 0 ? x : x.sub(options_.fill), grid, kBilinear, kZeros, false);
  if (options_.fill != 0) result.add_(options_.fill);
  return with_first(batch, std::move(result));
}

RandomErasing::RandomErasing(const RandomErasingOptions& options) : options_(options) {
  check_probability(options.p, "RandomErasing .p");
  check_range(options.scale, 0, "RandomErasing .scale");
  if (options.scale[1] > 1)
    throw_option("an area lies within [0, 1]", format_double(options.scale[1]), "RandomErasing .scale");
  check_range(options.ratio, 1e-6, "RandomErasing .ratio");
  options_.seed = seed_or_current(options.seed, "RandomErasing");
}

Batch RandomErasing::operator()(const Batch& batch, const BatchContext& context) const {
  const auto& x = pictures(batch, "erasing");
  const SampleStreams streams(x, context, *options_.seed, "erasing");
  const auto height = x.size(2), width = x.size(3);
  auto result = x.clone();
  for (std::int64_t i = 0; i < streams.size(); ++i) {
    auto rng = streams[i];
    if (rng.uniform() >= options_.p) continue;
    for (int attempt = 0; attempt < 10; ++attempt) {
      const double area = static_cast<double>(height * width) * rng.uniform(options_.scale[0], options_.scale[1]);
      const double ratio = std::exp(rng.uniform(std::log(options_.ratio[0]), std::log(options_.ratio[1])));
      const auto h = std::llround(std::sqrt(area * ratio)), w = std::llround(std::sqrt(area / ratio));
      if (h >= height || w >= width) continue;
      auto picture = result.select(0, i);
      const auto top = draw_below(rng, height - h + 1), left = draw_below(rng, width - w + 1);
      erase(picture, top, left, h, w, options_.value);
      break;
    }
  }
  return with_first(batch, std::move(result));
}

Cutout::Cutout(const CutoutOptions& options) : options_(options) {
  if (options.size < 1)
    throw_option("a cutout needs a size of at least 1", std::to_string(options.size), "Cutout .size");
  options_.seed = seed_or_current(options.seed, "Cutout");
}

Batch Cutout::operator()(const Batch& batch, const BatchContext& context) const {
  const auto& x = pictures(batch, "cutout");
  const SampleStreams streams(x, context, *options_.seed, "cutout");
  const auto height = x.size(2), width = x.size(3), size = options_.size;
  auto result = x.clone();
  for (std::int64_t i = 0; i < streams.size(); ++i) {
    auto rng = streams[i];
    const auto y0 = draw_below(rng, height) - size / 2, x0 = draw_below(rng, width) - size / 2;
    const auto top = std::max<std::int64_t>(0, y0), left = std::max<std::int64_t>(0, x0);
    auto picture = result.select(0, i);
    erase(picture, top, left, std::min(height, y0 + size) - top, std::min(width, x0 + size) - left, options_.value);
  }
  return with_first(batch, std::move(result));
}

}  // namespace levin
