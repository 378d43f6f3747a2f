// What follows the gradients of a compiled step: clipping and the optimizer's update, on flat memory where it can.
#pragma once

#include <levin/optim/optimizer.h>
#include <levin/optim/optimizer_impl.h>

#include <cstdint>
#include <vector>

namespace levin::compile {

struct Clipping {
  enum class Kind { none, norm, value };
  Kind kind = Kind::none;
  double limit = 0;
};

class OptimizerStage {
 public:
  OptimizerStage() = default;
  /** `threads`: as CompileOptions::threads. */
  OptimizerStage(optim::Optimizer optimizer, Clipping clipping, std::int64_t threads = 0)
      : optimizer_(std::move(optimizer)), clipping_(clipping), threads_(threads) {}

  /** Which parameters, by their index through all groups, have a gradient in the optimizer's buffers. */
  void set_gradients(const std::vector<bool>& given);
  /** Looks anew where the optimizer's memory lies: parameters may have moved. */
  void forget() { layout_ = ~std::uint64_t{0}; }
  /** Clips them, as torch.nn.utils.clip_grad_norm_ or clip_grad_value_. */
  void clip();
  /** One step of the optimizer for the parameters that have a gradient. */
  void update();

 private:
  bool flat();

  optim::Optimizer optimizer_;
  Clipping clipping_;
  std::int64_t threads_ = 0;
  std::vector<bool> given_;
  bool all_given_ = false;
  std::vector<optim::OptimizerImpl::FlatStep> steps_;
  std::uint64_t layout_ = ~std::uint64_t{0};
};

}  // namespace levin::compile
