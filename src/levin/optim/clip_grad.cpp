#include <levin/optim/clip_grad.h>

#include <levin/core/error.h>
#include <levin/optim/optimizer_impl.h>
#include <levin/optim/validate.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ATen.h>

#include <algorithm>

namespace levin::optim {
namespace {

std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& params) {
  std::vector<at::Tensor> grads;
  for (const auto& param : params) {
    if (param.grad().defined()) grads.push_back(param.grad());
  }
  return grads;
}

// The tensors that hold all gradients of an optimizer: with `whole` the flat buffers, where they are bound. Padding is
// zero, and so is the gradient of a parameter that got none.
std::vector<at::Tensor> gradients(const Optimizer& optimizer, bool whole) {
  if (!optimizer.gradients_bound()) return gradients(optimizer.parameters());
  std::vector<at::Tensor> grads;
  for (const auto& chunk : optimizer.impl()->chunks()) {
    size_t bound = 0;
    for (size_t i = 0; i < chunk.slots.size(); ++i) bound += OptimizerImpl::is_bound(chunk, i);
    if (whole && bound == chunk.slots.size()) {
      grads.push_back(chunk.grads.flat());
      continue;
    }
    for (size_t i = 0; i < chunk.slots.size(); ++i) {
      if (OptimizerImpl::has_gradient(chunk, i)) grads.push_back(chunk.slots[i].param.grad());
    }
  }
  return grads;
}

// Lists of one dtype and device, as the foreach kernels want them.
std::vector<std::vector<at::Tensor>> by_kind(const std::vector<at::Tensor>& tensors) {
  std::vector<std::vector<at::Tensor>> lists;
  for (const auto& tensor : tensors) {
    auto list = std::ranges::find_if(lists, [&](const auto& l) {
      return l.front().scalar_type() == tensor.scalar_type() && l.front().device() == tensor.device();
    });
    if (list == lists.end()) {
      lists.push_back({tensor});
    } else {
      list->push_back(tensor);
    }
  }
  return lists;
}

at::Tensor clip_norm(const std::vector<at::Tensor>& grads, double max_norm, const ClipGradNormOptions& options) {
  require(max_norm >= 0, "clip_grad_norm_", "max_norm", max_norm, "at least 0");
  if (grads.empty()) return at::zeros({});
  at::NoGradGuard no_grad;
  const auto lists = by_kind(grads);
  const auto device = grads.front().device();

  std::vector<at::Tensor> norms;
  for (const auto& list : lists) {
    for (auto& norm : at::_foreach_norm(list, options.norm_type)) norms.push_back(norm.to(device));
  }
  auto total = norms.size() == 1 ? norms.front() : at::linalg_vector_norm(at::stack(norms), options.norm_type);
  if (options.error_if_nonfinite && !std::isfinite(total.item<double>())) {
    throw Error({.what = "the norm of the gradients is not finite, so they cannot be clipped",
                 .value = format_double(total.item<double>()),
                 .where = {},
                 .hint = "lower the learning rate, or set error_if_nonfinite = false to go on all the same"});
  }
  // The factor stays on the device: a gradient within the bound is multiplied by 1 rather than asked about.
  const auto factor = (max_norm / (total + 1e-6)).clamp_max_(1);
  for (const auto& list : lists) at::_foreach_mul_(list, factor.to(list.front().device()));
  return total;
}

void clip_value_in(const std::vector<at::Tensor>& grads, double clip_value) {
  require(clip_value >= 0, "clip_grad_value_", "clip_value", clip_value, "at least 0");
  at::NoGradGuard no_grad;
  for (const auto& grad : grads) at::clamp_(const_cast<at::Tensor&>(grad), -clip_value, clip_value);
}

}  // namespace

at::Tensor clip_grad_norm_(const std::vector<at::Tensor>& params, double max_norm, ClipGradNormOptions options) {
  return clip_norm(gradients(params), max_norm, options);
}

at::Tensor clip_grad_norm_(const Optimizer& optimizer, double max_norm, ClipGradNormOptions options) {
  // Zeros that stand for nothing count in norms of other orders.
  return clip_norm(gradients(optimizer, options.norm_type > 0), max_norm, options);
}

void clip_grad_value_(const std::vector<at::Tensor>& params, double clip_value) {
  clip_value_in(gradients(params), clip_value);
}

void clip_grad_value_(const Optimizer& optimizer, double clip_value) {
  clip_value_in(gradients(optimizer, true), clip_value);
}

}  // namespace levin::optim
