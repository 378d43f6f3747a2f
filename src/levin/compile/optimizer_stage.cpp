#include <levin/compile/optimizer_stage.h>

#include <levin/optim/clip_grad.h>

#include <algorithm>

namespace levin::compile {

void OptimizerStage::set_gradients(const std::vector<bool>& given) {
  if (given_ == given) return;
  given_ = given;
  all_given_ = std::ranges::all_of(given_, [](bool one) { return one; });
}

void OptimizerStage::clip() {
  if (clipping_.kind == Clipping::Kind::none) return;
  optimizer_.impl()->gradients_written(given_);
  if (clipping_.kind == Clipping::Kind::norm) {
    optim::clip_grad_norm_(optimizer_, clipping_.limit);
  } else {
    optim::clip_grad_value_(optimizer_, clipping_.limit);
  }
}

void OptimizerStage::update() {
  optimizer_.impl()->gradients_written(given_);
  optimizer_.step();
}

}  // namespace levin::compile
