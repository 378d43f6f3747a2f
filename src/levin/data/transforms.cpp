#include <levin/data/transforms.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/core/value.h>
#include <levin/data/seed.h>

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/randn.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <sstream>
#include <vector>

namespace levin {
namespace {

std::uint64_t seed_of(std::uint64_t seed, std::int64_t epoch, std::int64_t batch_index) {
  return mix_seed(mix_seed(seed, static_cast<std::uint64_t>(epoch)), static_cast<std::uint64_t>(batch_index));
}

void check_at_least_zero(double value, const char* where) {
  if (value >= 0 && std::isfinite(value)) return;
  throw Error({.what = "an augmentation's strength must be a number of at least 0",
               .value = format_double(value),
               .where = where,
               .hint = {}});
}

void check_floating(const at::Tensor& input, std::int64_t index, const char* who) {
  if (at::isFloatingType(input.scalar_type())) return;
  std::ostringstream type;
  type << input.scalar_type();
  throw Error({.what = std::string(who) + " needs floating-point inputs, but tensor " + std::to_string(index) +
                       " of the batch is not",
               .value = type.str(),
               .where = {},
               .hint = {}});
}

// The logarithm of a Gamma(shape, 1) draw (Marsaglia and Tsang 2000); small shapes underflow outside logarithms.
double log_gamma_draw(Rng& rng, double shape) {
  if (shape < 1) return log_gamma_draw(rng, shape + 1) + std::log(1 - rng.uniform()) / shape;
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double x = rng.normal();
    const double v = std::pow(1 + c * x, 3);
    if (v > 0 && std::log(1 - rng.uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return std::log(d * v);
  }
}

// A number in (0, 1) from Beta(alpha, alpha).
double beta_draw(Rng& rng, double alpha) {
  const double a = log_gamma_draw(rng, alpha), b = log_gamma_draw(rng, alpha);
  return 1 / (1 + std::exp(b - a));
}

void check_indices(const Batch& batch, const BatchContext& context) {
  if (static_cast<std::int64_t>(context.indices.size()) == batch.batch_size()) return;
  throw Error({.what = "a random transform needs the index of every sample of the batch",
               .value = std::to_string(context.indices.size()) + " indices for " + std::to_string(batch.batch_size()) +
                        " samples",
               .where = {},
               .hint = "transform(batch, {.epoch = epoch, .indices = indices})"});
}

Rng sample_stream(std::uint64_t seed, const BatchContext& context, std::int64_t place, const char* purpose) {
  return Rng(mix_seed(seed, static_cast<std::uint64_t>(context.epoch)), purpose,
             static_cast<std::uint64_t>(context.indices[static_cast<std::size_t>(place)]));
}

// Class indices as probabilities; floating-point targets as they are.
at::Tensor mixable_target(const at::Tensor& target, std::int64_t num_classes, const char* who) {
  if (at::isFloatingType(target.scalar_type())) return target;
  if (num_classes == 0) {
    throw Error({.what = std::string(who) + " of class indices needs the number of classes",
                 .value = {},
                 .where = std::string(who) + " .num_classes",
                 .hint = "set it: {.num_classes = 10}"});
  }
  return at::one_hot(target, num_classes).to(at::kFloat);
}

// own * weights + partners' * (1 - weights), a weight a sample.
at::Tensor mix(const at::Tensor& own, const at::Tensor& weights, const at::Tensor& partners) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(own.dim()), 1);
  shape[0] = own.size(0);
  const auto weight = weights.to(own.options().requires_grad(false)).view(shape);
  const auto other = own.index_select(0, partners.to(own.device()));
  return other.lerp(own, weight);  // exact at both ends
}

void check_mixup_options(const MixupOptions& options, const std::string& who) {
  check_at_least_zero(options.alpha, (who + " .alpha").c_str());
  if (options.num_classes < 0) {
    throw Error({.what = "a number of classes cannot be negative",
                 .value = std::to_string(options.num_classes),
                 .where = who + " .num_classes",
                 .hint = {}});
  }
}

}  // namespace

GaussianNoise::GaussianNoise(const GaussianNoiseOptions& options)
    : std_(options.std), seed_(mix_seed(options.seed.value_or(current_seed()), stable_hash("GaussianNoise"))) {
  check_at_least_zero(std_, "GaussianNoise .std");
}

Batch GaussianNoise::operator()(const Batch& batch, std::int64_t epoch, std::int64_t batch_index) {
  const auto& input = batch[0];
  check_floating(input, 0, "Gaussian noise");
  if (std_ == 0) return batch;
  if (!generator_.defined() || generator_.device() != input.device()) {
    auto standard = at::globalContext().defaultGenerator(input.device());
    const std::lock_guard lock(standard.mutex());
    generator_ = standard.clone();
  }
  generator_.set_current_seed(seed_of(seed_, epoch, batch_index));
  Batch result = batch;
  result[0] = at::randn(input.sizes(), generator_, input.options().requires_grad(false)).mul_(std_).add_(input);
  return result;
}

Batch GaussianNoise::operator()(const Batch& batch, const BatchContext& context) const {
  const auto& input = batch[0];
  check_floating(input, 0, "Gaussian noise");
  check_indices(batch, context);
  if (std_ == 0) return batch;
  auto noise = at::empty(input.sizes(), input.options().device(at::kCPU).requires_grad(false));
  for (std::int64_t i = 0; i < input.size(0); ++i) {
    noise.select(0, i).normal_(0, std_, at::detail::createCPUGenerator(sample_stream(seed_, context, i, "noise")()));
  }
  Batch result = batch;
  result[0] = noise.to(input.device()).add_(input);
  return result;
}

Mixup::Mixup(const MixupOptions& options) : options_(options) {
  check_mixup_options(options, "Mixup");
  if (!options_.seed) options_.seed = current_seed();
}

double Mixup::lambda(std::int64_t epoch, std::int64_t batch_index) const {
  if (options_.alpha == 0) return 1;
  Rng rng(seed_of(*options_.seed, epoch, batch_index), "mixup.lambda");
  return beta_draw(rng, options_.alpha);
}

Batch Mixup::operator()(const Batch& batch, std::int64_t epoch, std::int64_t batch_index) const {
  if (batch.size() < 2) throw Error("mixup needs a batch of at least one input and a target");
  const auto size = batch.batch_size();
  const double weight = lambda(epoch, batch_index);
  const auto partners = Rng(seed_of(*options_.seed, epoch, batch_index), "mixup.partners").permutation(size);
  const auto index = at::from_blob(const_cast<std::int64_t*>(partners.data()), {size}, at::kLong);

  Batch result = batch;
  for (std::int64_t i = 0; i < batch.size(); ++i) {
    auto own = batch[i];
    if (i + 1 < batch.size()) {
      check_floating(own, i, "mixup");
      if (weight == 1) continue;
    } else {
      own = mixable_target(own, options_.num_classes, "Mixup");
    }
    result[i] = weight == 1 ? own : own.mul(weight).add_(own.index_select(0, index.to(own.device())), 1 - weight);
  }
  return result;
}

Batch Mixup::operator()(const Batch& batch, const BatchContext& context) const {
  if (batch.size() < 2) throw Error("mixup needs a batch of at least one input and a target");
  check_indices(batch, context);
  const auto size = batch.batch_size();
  auto weights = at::empty({size}, at::kDouble), partners = at::empty({size}, at::kLong);
  for (std::int64_t i = 0; i < size; ++i) {
    auto rng = sample_stream(*options_.seed, context, i, "mixup");
    weights.mutable_data_ptr<double>()[i] = options_.alpha == 0 ? 1 : beta_draw(rng, options_.alpha);
    partners.mutable_data_ptr<std::int64_t>()[i] =
        static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(size)));
  }
  Batch result = batch;
  for (std::int64_t i = 0; i + 1 < batch.size(); ++i) {
    check_floating(batch[i], i, "mixup");
    result[i] = mix(batch[i], weights, partners);
  }
  result[batch.size() - 1] =
      mix(mixable_target(batch[batch.size() - 1], options_.num_classes, "Mixup"), weights, partners);
  return result;
}

CutMix::CutMix(const MixupOptions& options) : options_(options) {
  check_mixup_options(options, "CutMix");
  if (!options_.seed) options_.seed = current_seed();
}

Batch CutMix::operator()(const Batch& batch, const BatchContext& context) const {
  if (batch.size() < 2) throw Error("cutmix needs a batch of at least pictures and a target");
  check_indices(batch, context);
  const auto& x = batch[0];
  if (x.dim() != 4) throw Error("cutmix needs pictures [batch, channels, height, width] as tensor 0 of the batch");
  const auto size = batch.batch_size(), height = x.size(2), width = x.size(3);
  auto pictures = x.clone();
  auto weights = at::empty({size}, at::kDouble), partners = at::empty({size}, at::kLong);
  for (std::int64_t i = 0; i < size; ++i) {
    auto rng = sample_stream(*options_.seed, context, i, "cutmix");
    const double cut = options_.alpha == 0 ? 0 : std::sqrt(1 - beta_draw(rng, options_.alpha));
    const auto partner = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(size)));
    const auto y = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(height)));
    const auto column = static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(width)));
    const auto half_height = static_cast<std::int64_t>(static_cast<double>(height) * cut / 2);
    const auto half_width = static_cast<std::int64_t>(static_cast<double>(width) * cut / 2);
    const auto top = std::max<std::int64_t>(0, y - half_height), bottom = std::min(height, y + half_height);
    const auto left = std::max<std::int64_t>(0, column - half_width), right = std::min(width, column + half_width);
    const auto place = [&](const at::Tensor& from, std::int64_t sample) {
      return from.select(0, sample).narrow(1, top, bottom - top).narrow(2, left, right - left);
    };
    if (bottom > top && right > left) place(pictures, i).copy_(place(x, partner));
    weights.mutable_data_ptr<double>()[i] =
        1 - static_cast<double>((bottom - top) * (right - left)) / static_cast<double>(height * width);
    partners.mutable_data_ptr<std::int64_t>()[i] = partner;
  }
  Batch result = batch;
  result[0] = std::move(pictures);
  result[batch.size() - 1] =
      mix(mixable_target(batch[batch.size() - 1], options_.num_classes, "CutMix"), weights, partners);
  return result;
}

}  // namespace levin
