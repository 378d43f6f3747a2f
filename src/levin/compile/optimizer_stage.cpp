#include <levin/compile/optimizer_stage.h>

#include <levin/compile/flush_denormals.h>
#include <levin/compile/kernels/optimizer.h>
#include <levin/optim/clip_grad.h>

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>

namespace levin::compile {
namespace {

using Step = optim::OptimizerImpl::FlatStep;

bool has_kernel(const std::string& name) { return name == "Adam" || name == "AdamW" || name == "SGD"; }

void adam(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::Adam settings{.beta1 = group.betas[0], .beta2 = group.betas[1], .eps = group.eps,
                               .weight_decay = group.weight_decay, .decoupled = group.decoupled_weight_decay,
                               .amsgrad = group.amsgrad, .maximize = group.maximize};
  kernels::select_adam(settings)(settings,
                                 {.parameter = step.params, .gradient = step.grads, .first_moment = step.states[0],
                                  .second_moment = step.states[1], .max_second_moment = step.states[2],
                                  .lr = &group.lr, .step = step.step},
                                 0, step.numel);
}

void sgd(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::Sgd settings{.momentum = group.momentum, .dampening = group.dampening,
                              .weight_decay = group.weight_decay, .nesterov = group.nesterov, .maximize = group.maximize};
  static constexpr float kFirst = 1;
  kernels::select_sgd(settings)(settings,
                                {.parameter = step.params, .gradient = step.grads, .momentum = step.states[0],
                                 .lr = &group.lr, .step = step.first ? &kFirst : nullptr},
                                0, step.numel);
}

// A setting that asks for a state which it did not need before.
bool has_states(const Step& step) {
  const optim::Group& group = *step.group;
  return (group.momentum == 0 || step.states[0] != nullptr) && (!group.amsgrad || step.states[2] != nullptr);
}

}  // namespace

void OptimizerStage::set_gradients(const std::vector<bool>& given) {
  if (given_ == given) return;
  given_ = given;
  // Programs write what they compute; what is left of others must not look like a gradient.
  const at::NoGradGuard no_grad;
  for (const auto& chunk : optimizer_.impl()->chunks()) {
    if (!chunk.grads.defined()) continue;
    for (std::size_t i = 0; i < chunk.slots.size(); ++i) {
      if (!given_[static_cast<std::size_t>(chunk.slots[i].index)]) chunk.grads.views()[i].zero_();
    }
  }
  all_given_ = std::ranges::all_of(given_, [](bool one) { return one; });
  forget();
}

// The optimizer's own memory in one piece, with every parameter due: kernels may run over the whole of it.
bool OptimizerStage::flat() {
  optim::OptimizerImpl& impl = *optimizer_.impl();
  if (layout_ == impl.layout_version() && std::ranges::all_of(steps_, has_states)) return !steps_.empty();
  steps_.clear();
  impl.gradients_written(given_);
  if (all_given_ && has_kernel(impl.name())) steps_ = impl.flat_steps();
  layout_ = impl.layout_version();
  return !steps_.empty();
}

void OptimizerStage::clip() {
  if (clipping_.kind == Clipping::Kind::none) return;
  if (flat()) {
    if (clipping_.kind == Clipping::Kind::value) {
      const auto limit = static_cast<float>(clipping_.limit);
      for (const Step& step : steps_) kernels::select_clamp()(step.grads, -limit, limit, step.numel);
      return;
    }
    // As clip_grad_norm_: one norm over everything, and a factor that is never above 1. Padding holds zeros.
    double squares = 0;
    for (const Step& step : steps_) squares += kernels::select_sum_of_squares()(step.grads, step.numel);
    const auto factor = static_cast<float>(clipping_.limit / (std::sqrt(squares) + 1e-6));
    if (!(factor >= 1)) {
      for (const Step& step : steps_) kernels::select_scale()(step.grads, &factor, step.numel);
    }
    return;
  }
  optimizer_.impl()->gradients_written(given_);
  if (clipping_.kind == Clipping::Kind::norm) {
    optim::clip_grad_norm_(optimizer_, clipping_.limit);
  } else {
    optim::clip_grad_value_(optimizer_, clipping_.limit);
  }
}

void OptimizerStage::update() {
  if (!flat()) {
    optimizer_.impl()->gradients_written(given_);
    optimizer_.step();
    return;
  }
  const FlushDenormals flush;
  optim::OptimizerImpl& impl = *optimizer_.impl();
  const bool momentum_only = impl.name() == "SGD";
  for (Step& step : steps_) {
    if (momentum_only) {
      sgd(step);
    } else {
      *step.step += 1;
      adam(step);
    }
    step.first = false;
  }
  impl.flat_step_done();
}

}  // namespace levin::compile
