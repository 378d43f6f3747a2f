#include <levin/train/precision/grad_scaler.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace levin {
namespace {

// The value of a float scalar; on the CPU read where it lies.
double read(const at::Tensor& scalar) {
  return scalar.is_cpu() ? static_cast<double>(*scalar.const_data_ptr<float>()) : scalar.item<double>();
}

[[noreturn]] void misuse(const std::string& what, const std::string& hint) {
  throw Error({.what = what, .value = {}, .where = "GradScaler", .hint = hint});
}

}  // namespace

void GradScaler::check(const GradScalerOptions& o) {
  const auto require = [](bool ok, const char* name, double value, const char* range) {
    if (ok) return;
    throw Error({.what = std::string("GradScaler: ") + name + " must be " + range,
                 .value = format_double(value),
                 .where = {},
                 .hint = {}});
  };
  require(o.init_scale > 0 && std::isfinite(o.init_scale), "init_scale", o.init_scale, "above 0");
  require(o.growth_factor > 1, "growth_factor", o.growth_factor, "above 1");
  require(o.backoff_factor > 0 && o.backoff_factor < 1, "backoff_factor", o.backoff_factor, "in (0, 1)");
  require(o.growth_interval >= 1, "growth_interval", static_cast<double>(o.growth_interval), "at least 1");
}

GradScaler::GradScaler(GradScalerOptions options) : options_(options) { check(options_); }

at::Tensor GradScaler::scale(const at::Tensor& loss) {
  if (!scale_.defined()) {
    const auto on_device = at::TensorOptions(loss.device());
    scale_ = at::full({}, options_.init_scale, on_device.dtype(at::kFloat));
    growth_tracker_ = at::full({}, init_growth_tracker_, on_device.dtype(at::kInt));
  }
  return loss * scale_.to(loss.device(), /*non_blocking=*/true);
}

void GradScaler::require_scale(const char* function) const {
  if (!scale_.defined()) {
    misuse(std::string(function) + " was called before any loss was scaled", "call scale(loss).backward() first");
  }
}

GradScaler::PerOptimizer& GradScaler::state_of(const optim::Optimizer& optimizer) {
  const auto it = std::ranges::find(optimizers_, optimizer, &PerOptimizer::optimizer);
  if (it != optimizers_.end()) return *it;
  optimizers_.push_back({.optimizer = optimizer});
  return optimizers_.back();
}

void GradScaler::unscale_(const optim::Optimizer& optimizer) {
  require_scale("unscale_");
  PerOptimizer& state = state_of(optimizer);
  if (state.stage == Stage::unscaled) {
    misuse("unscale_ was called twice for one step", "gradients are divided by the scale once before each step");
  }
  if (state.stage == Stage::stepped) misuse("unscale_ was called after step", "call update() first");
  const at::NoGradGuard no_grad;
  // The quotient is taken in double precision, as PyTorch does, where the device has it.
  const at::Tensor inverse = scale_.is_mps() ? scale_.reciprocal() : scale_.to(at::kDouble).reciprocal().to(at::kFloat);
  state.found_inf = at::zeros({}, scale_.options());
  std::vector<at::Tensor> rest;
  for (const at::Tensor& param : optimizer.parameters()) {
    const at::Tensor& grad = param.grad();
    if (!grad.defined()) continue;
    if (grad.scalar_type() == at::kHalf) {
      misuse("gradients in float16 cannot be unscaled",
             "keep the parameters in float32 and let autocast (precision 16-mixed) choose where to use float16");
    }
    rest.push_back(grad.is_sparse() ? grad._values() : grad);
  }
  // The kernel takes lists of one dtype and device.
  while (!rest.empty()) {
    const auto other = std::stable_partition(rest.begin(), rest.end(), [&, first = rest.front()](const at::Tensor& t) {
      return t.scalar_type() == first.scalar_type() && t.device() == first.device();
    });
    std::vector<at::Tensor> same(rest.begin(), other);
    const at::Device device = same.front().device();
    at::Tensor found = state.found_inf.to(device);
    at::_amp_foreach_non_finite_check_and_unscale_(same, found, inverse.to(device));
    if (device != state.found_inf.device()) state.found_inf.add_(found.to(state.found_inf.device()));
    rest.erase(rest.begin(), other);
  }
  state.stage = Stage::unscaled;
}

bool GradScaler::step(optim::Optimizer& optimizer) {
  require_scale("step");
  if (state_of(optimizer).stage == Stage::stepped) misuse("step was called twice", "call update() after each step");
  if (state_of(optimizer).stage == Stage::ready) unscale_(optimizer);
  PerOptimizer& state = state_of(optimizer);
  state.stage = Stage::stepped;
  if (read(state.found_inf) != 0) return false;
  optimizer.step();
  return true;
}

void GradScaler::update(std::optional<double> new_scale) {
  require_scale("update");
  const at::NoGradGuard no_grad;
  if (new_scale) {
    if (!(*new_scale > 0)) {
      throw Error({.what = "GradScaler: the new scale must be above 0",
                   .value = format_double(*new_scale),
                   .where = "update",
                   .hint = {}});
    }
    scale_.fill_(*new_scale);
  } else {
    at::Tensor found;
    for (const PerOptimizer& state : optimizers_) {
      if (state.found_inf.defined()) found = found.defined() ? found + state.found_inf : state.found_inf;
    }
    if (!found.defined()) misuse("update was called before any step", "call step(optimizer) first");
    at::_amp_update_scale_(scale_, growth_tracker_, found, options_.growth_factor, options_.backoff_factor,
                           options_.growth_interval);
  }
  optimizers_.clear();
}

double GradScaler::get_scale() const { return scale_.defined() ? read(scale_) : options_.init_scale; }

Map GradScaler::state_dict() const {
  return {{"scale", get_scale()},
          {"growth_factor", options_.growth_factor},
          {"backoff_factor", options_.backoff_factor},
          {"growth_interval", options_.growth_interval},
          {"_growth_tracker", growth_tracker_.defined() ? growth_tracker_.item<std::int64_t>() : init_growth_tracker_}};
}

void GradScaler::load_state_dict(const Map& state) {
  GradScalerOptions loaded{.init_scale = state.get<double>("scale"),
                           .growth_factor = state.get<double>("growth_factor"),
                           .backoff_factor = state.get<double>("backoff_factor"),
                           .growth_interval = state.get<std::int64_t>("growth_interval")};
  check(loaded);
  const auto tracker = state.get<std::int64_t>("_growth_tracker");
  options_ = loaded;
  init_growth_tracker_ = tracker;
  const at::NoGradGuard no_grad;
  if (scale_.defined()) {
    scale_.fill_(loaded.init_scale);
    growth_tracker_.fill_(tracker);
  }
}

}  // namespace levin
