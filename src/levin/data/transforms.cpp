#include <levin/data/transforms.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>
#include <levin/core/value.h>
#include <levin/data/seed.h>

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/randn.h>

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

Mixup::Mixup(const MixupOptions& options) : options_(options) {
  check_at_least_zero(options.alpha, "Mixup .alpha");
  if (options.num_classes < 0) {
    throw Error({.what = "a number of classes cannot be negative",
                 .value = std::to_string(options.num_classes),
                 .where = "Mixup .num_classes",
                 .hint = {}});
  }
  if (!options_.seed) options_.seed = current_seed();
}

double Mixup::lambda(std::int64_t epoch, std::int64_t batch_index) const {
  if (options_.alpha == 0) return 1;
  Rng rng(seed_of(*options_.seed, epoch, batch_index), "mixup.lambda");
  const double a = log_gamma_draw(rng, options_.alpha), b = log_gamma_draw(rng, options_.alpha);
  return 1 / (1 + std::exp(b - a));
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
    } else if (!at::isFloatingType(own.scalar_type())) {
      if (options_.num_classes == 0) {
        throw Error({.what = "mixup of class indices needs the number of classes",
                     .value = {},
                     .where = "Mixup .num_classes",
                     .hint = "Mixup({.num_classes = 10})"});
      }
      own = at::one_hot(own, options_.num_classes).to(at::kFloat);
    }
    result[i] = weight == 1 ? own : own.mul(weight).add_(own.index_select(0, index.to(own.device())), 1 - weight);
  }
  return result;
}

}  // namespace levin
