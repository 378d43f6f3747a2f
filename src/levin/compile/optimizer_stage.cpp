#include <levin/compile/optimizer_stage.h>

#include <levin/compile/flush_denormals.h>
#include <levin/compile/kernels/optimizer.h>
#include <levin/compile/team.h>
#include <levin/optim/clip_grad.h>

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

namespace levin::compile {
namespace {

using Step = optim::OptimizerImpl::FlatStep;

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

void rms_prop(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::RmsProp settings{.alpha = group.alpha, .eps = group.eps, .weight_decay = group.weight_decay,
                                  .momentum = group.momentum, .centered = group.centered, .maximize = group.maximize};
  kernels::select_rms_prop(settings)(settings,
                                     {.parameter = step.params, .gradient = step.grads, .square_average = step.states[0],
                                      .gradient_average = step.states[2], .momentum = step.states[1], .lr = &group.lr},
                                     0, step.numel);
}

void adagrad(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::Adagrad settings{.lr_decay = group.lr_decay, .weight_decay = group.weight_decay, .eps = group.eps,
                                  .maximize = group.maximize};
  if (step.first) std::fill_n(step.states[0], step.numel, static_cast<float>(group.initial_accumulator_value));
  kernels::select_adagrad(settings)(settings,
                                    {.parameter = step.params, .gradient = step.grads, .sum = step.states[0],
                                     .lr = &group.lr, .step = step.step},
                                    0, step.numel);
}

void adadelta(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::Adadelta settings{.rho = group.rho, .eps = group.eps, .weight_decay = group.weight_decay,
                                   .maximize = group.maximize};
  kernels::select_adadelta(settings)(settings,
                                     {.parameter = step.params, .gradient = step.grads, .square_average = step.states[0],
                                      .delta_average = step.states[1], .lr = &group.lr},
                                     0, step.numel);
}

void adamax(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::Adamax settings{.beta1 = group.betas[0], .beta2 = group.betas[1], .eps = group.eps,
                                 .weight_decay = group.weight_decay, .maximize = group.maximize};
  kernels::select_adamax(settings)(settings,
                                   {.parameter = step.params, .gradient = step.grads, .first_moment = step.states[0],
                                    .infinity_norm = step.states[1], .lr = &group.lr, .step = step.step},
                                   0, step.numel);
}

void nadam(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::NAdam settings{.beta1 = group.betas[0], .beta2 = group.betas[1], .eps = group.eps,
                                .weight_decay = group.weight_decay, .momentum_decay = group.momentum_decay,
                                .decoupled = group.decoupled_weight_decay, .maximize = group.maximize};
  auto product = static_cast<float>(*step.number);
  kernels::nadam_advance(settings, *step.step, &product);
  *step.number = product;
  kernels::select_nadam(settings)(settings,
                                  {.parameter = step.params, .gradient = step.grads, .first_moment = step.states[0],
                                   .second_moment = step.states[1], .mu_product = &product, .lr = &group.lr,
                                   .step = step.step},
                                  0, step.numel);
}

void radam(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::RAdam settings{.beta1 = group.betas[0], .beta2 = group.betas[1], .eps = group.eps,
                                .weight_decay = group.weight_decay, .decoupled = group.decoupled_weight_decay,
                                .maximize = group.maximize};
  kernels::select_radam(settings)(settings,
                                  {.parameter = step.params, .gradient = step.grads, .first_moment = step.states[0],
                                   .second_moment = step.states[1], .lr = &group.lr, .step = step.step},
                                  0, step.numel);
}

void rprop(const Step& step) {
  const optim::Group& group = *step.group;
  const kernels::Rprop settings{.shrink = group.etas[0], .grow = group.etas[1], .smallest = group.step_sizes[0],
                                .largest = group.step_sizes[1], .maximize = group.maximize};
  if (step.first) std::fill_n(step.states[1], step.numel, static_cast<float>(group.lr));
  kernels::select_rprop(settings)(settings,
                                  {.parameter = step.params, .gradient = step.grads, .previous = step.states[0],
                                   .step_size = step.states[1]},
                                  0, step.numel);
}

// A large update is shared by threads: element by element, so the bits do not depend on their number.
void update_shared(void (*update)(const Step&), const Step& step, int threads) {
  constexpr std::int64_t kCut = 64;  // elements: whole vectors and cache lines
  const std::int64_t pieces = (step.numel + kCut - 1) / kCut;
  const auto work = [&](int part) {
    const FlushDenormals flush;
    const std::int64_t begin = pieces * part / threads * kCut;
    Step own = step;
    own.numel = std::min(step.numel, pieces * (part + 1) / threads * kCut) - begin;
    own.params += begin;
    own.grads += begin;
    for (auto& state : own.states) {
      if (state != nullptr) state += begin;
    }
    update(own);
  };
  run_parts(threads, work);
}

struct Kernel {
  std::string_view name;  ///< of the optimizer
  void (*update)(const Step&);
  bool counts = true;  ///< steps; SGD has no such state
  bool shares = true;  ///< its elements between threads; NAdam's product goes on at each call
};

constexpr std::array<Kernel, 10> kKernels = {{{"Adam", &adam},
                                              {"AdamW", &adam},
                                              {"SGD", &sgd, false},
                                              {"RMSprop", &rms_prop},
                                              {"Adagrad", &adagrad},
                                              {"Adadelta", &adadelta},
                                              {"Adamax", &adamax},
                                              {"NAdam", &nadam, true, false},
                                              {"RAdam", &radam},
                                              {"Rprop", &rprop}}};

const Kernel* kernel_of(const optim::OptimizerImpl& impl) {
  const auto* const found = std::ranges::find(kKernels, impl.name(), &Kernel::name);
  return found == kKernels.end() ? nullptr : found;
}

// A setting that asks for a state which it did not need before; the states of momentum and centering are not each
// optimizer's second and third.
bool has_states(const Kernel& kernel, const Step& step) {
  const optim::Group& group = *step.group;
  const std::size_t momentum = kernel.update == &rms_prop ? 1 : 0;
  return (group.momentum == 0 || step.states[momentum] != nullptr) && (!group.amsgrad || step.states[2] != nullptr) &&
         (!group.centered || step.states[2] != nullptr);
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
  const Kernel* const kernel = kernel_of(impl);
  const auto ready = [&](const Step& step) { return has_states(*kernel, step); };
  if (layout_ == impl.layout_version() && (kernel == nullptr || std::ranges::all_of(steps_, ready))) return !steps_.empty();
  steps_.clear();
  impl.gradients_written(given_);
  if (all_given_ && kernel != nullptr) steps_ = impl.flat_steps();
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
  constexpr std::int64_t kWorthThreads = 1 << 17;  // elements
  const FlushDenormals flush;
  optim::OptimizerImpl& impl = *optimizer_.impl();
  const Kernel& kernel = *kernel_of(impl);
  for (Step& step : steps_) {
    if (kernel.counts) *step.step += 1;
    const int threads = kernel.shares && step.numel >= kWorthThreads ? threads_allowed(threads_) : 1;
    if (threads > 1) {
      update_shared(kernel.update, step, threads);
    } else {
      kernel.update(step);
    }
    step.first = false;
  }
  impl.flat_step_done();
}

}  // namespace levin::compile
