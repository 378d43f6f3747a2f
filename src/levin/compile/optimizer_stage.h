// What follows the gradients of a compiled step: clipping and the optimizer's update, on flat memory where it can.
#pragma once

#include <levin/optim/optimizer.h>
#include <levin/optim/optimizer_impl.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace levin::compile {

enum class Clip { none, norm, value };

class OptimizerStage {
 public:
  OptimizerStage() = default;
  explicit OptimizerStage(optim::Optimizer optimizer) : optimizer_(std::move(optimizer)) {}

  /** Clips what lies in the optimizer's gradient buffers, as torch.nn.utils.clip_grad_norm_ or clip_grad_value_. */
  void clip(Clip kind, double value, const std::vector<bool>& has_gradient);
  /** One step of the optimizer for the parameters that have a gradient, by their index through all groups. */
  void update(const std::vector<bool>& has_gradient);

 private:
  bool flat(const std::vector<bool>& has_gradient);

  optim::Optimizer optimizer_;
  std::vector<optim::OptimizerImpl::FlatStep> steps_;
  std::uint64_t layout_ = ~std::uint64_t{0};
  bool known_ = false;  // the optimizer's update has a kernel
};

}  // namespace levin::compile
