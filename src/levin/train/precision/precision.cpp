#include <levin/train/precision/precision.h>

#include <levin/core/error.h>

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/DefaultDtype.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace levin {

Precision::Precision(std::string name) : name_(std::move(name)) {
  static const std::vector<std::pair<std::string, std::string>> short_names{
      {"32", "32-true"}, {"64", "64-true"}, {"16", "16-mixed"}, {"bf16", "bf16-mixed"}};
  for (const auto& [shorter, full] : short_names) {
    if (name_ == shorter) name_ = full;
  }
  if (name_ == "32-true") return;
  changes_context_ = true;
  if (name_ == "bf16-mixed" || name_ == "16-mixed") {
    mixed_ = true;
    compute_dtype_ = name_ == "16-mixed" ? at::kHalf : at::kBFloat16;
    if (name_ == "16-mixed") scaler_.emplace();
    return;
  }
  converts_ = true;
  if (name_ == "64-true") {
    dtype_ = at::kDouble;
  } else if (name_ == "bf16-true") {
    dtype_ = at::kBFloat16;
  } else if (name_ == "16-true") {
    dtype_ = at::kHalf;
  } else {
    static const std::vector<std::string> known{"32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true"};
    throw Error(
        {.what = "unknown precision", .value = "\"" + name_ + "\"", .where = {}, .hint = did_you_mean(name_, known)});
  }
  compute_dtype_ = dtype_;
}

void Precision::convert_module(torch::nn::Module& module) const {
  if (!converts_) return;
  const at::NoGradGuard no_grad;
  const auto convert = [&](at::Tensor& tensor) {
    if (!tensor.defined() || !tensor.is_floating_point() || tensor.scalar_type() == dtype_) return;
    tensor.set_data(tensor.to(dtype_));
    if (tensor.grad().defined()) tensor.mutable_grad() = tensor.grad().to(dtype_);
  };
  for (at::Tensor& parameter : module.parameters()) convert(parameter);
  for (at::Tensor& buffer : module.buffers()) convert(buffer);
}

Batch Precision::converted(Batch batch) const {
  for (at::Tensor& tensor : batch) {
    if (tensor.defined() && tensor.is_floating_point()) tensor = tensor.to(dtype_);
  }
  return batch;
}

void Precision::Context::enter(const Precision& precision, c10::DeviceType device) {
  active_ = true;
  autocast_ = precision.mixed_;
  device_ = device;
  if (!autocast_) {
    dtype_before_ = c10::typeMetaToScalarType(c10::get_default_dtype());
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(precision.compute_dtype_));
    return;
  }
  // As torch.autocast(device, dtype, cache_enabled=False), which is what Lightning uses.
  enabled_before_ = at::autocast::is_autocast_enabled(device);
  dtype_before_ = at::autocast::get_autocast_dtype(device);
  cache_before_ = at::autocast::is_autocast_cache_enabled();
  at::autocast::set_autocast_enabled(device, true);
  at::autocast::set_autocast_dtype(device, precision.compute_dtype_);
  at::autocast::set_autocast_cache_enabled(false);
  at::autocast::increment_nesting();
}

void Precision::Context::leave() {
  if (!autocast_) {
    c10::set_default_dtype(c10::scalarTypeToTypeMeta(dtype_before_));
    return;
  }
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(device_, enabled_before_);
  at::autocast::set_autocast_dtype(device_, dtype_before_);
  at::autocast::set_autocast_cache_enabled(cache_before_);
}

bool Precision::step(optim::Optimizer& optimizer) {
  if (!scaler_) {
    optimizer.step();
    return true;
  }
  const bool stepped = scaler_->step(optimizer);
  scaler_->update();
  return stepped;
}

}  // namespace levin
