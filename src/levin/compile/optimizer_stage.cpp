#include <levin/compile/optimizer_stage.h>

#include <levin/optim/clip_grad.h>

#include <algorithm>

namespace levin::compile {

bool OptimizerStage::flat(const std::vector<bool>& has_gradient) {
  (void)has_gradient;
  return false;
}

void OptimizerStage::clip(Clip kind, double value, const std::vector<bool>& has_gradient) {
  if (kind == Clip::none) return;
  optimizer_.impl()->gradients_written(has_gradient);
  if (kind == Clip::norm) {
    optim::clip_grad_norm_(optimizer_, value);
  } else {
    optim::clip_grad_value_(optimizer_, value);
  }
}

void OptimizerStage::update(const std::vector<bool>& has_gradient) {
  optimizer_.impl()->gradients_written(has_gradient);
  optimizer_.step();
}

}  // namespace levin::compile
