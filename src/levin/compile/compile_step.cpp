#include <levin/compile/compile_step.h>

#include <levin/compile/optimizer_stage.h>
#include <levin/compile/step_programs.h>
#include <levin/core/error.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/optimizer_impl.h>

#include <torch/nn/module.h>

#include <algorithm>

namespace levin {

using compile::Clip;

struct CompiledStep::Impl {
  Impl(torch::nn::Module* module, optim::Optimizer given, Function step, CompileStepOptions step_options)
      : model(module), optimizer(std::move(given)), function(std::move(step)), options(step_options),
        stage(optimizer), programs("compile_step", options.compile) {
    if (!optimizer) throw Error("compile_step needs an optimizer, and got an empty handle");
    if (!function) throw Error("compile_step needs a step, and got an empty function");
    if (options.clip_grad_norm && options.clip_grad_value) {
      throw Error({.what = "compile_step was given both clip_grad_norm and clip_grad_value",
                   .value = {}, .where = {}, .hint = "give one of them"});
    }
    for (const auto& [name, value] : {std::pair("clip_grad_norm", options.clip_grad_norm),
                                      std::pair("clip_grad_value", options.clip_grad_value)}) {
      if (value && !(*value > 0)) {
        throw Error({.what = std::string("compile_step's ") + name + " must be above 0",
                     .value = std::to_string(*value), .where = {}, .hint = {}});
      }
    }
    clip = options.clip_grad_norm ? Clip::norm : options.clip_grad_value ? Clip::value : Clip::none;
    clip_value = options.clip_grad_norm.value_or(options.clip_grad_value.value_or(0));
  }

  at::Tensor run(const Batch& given) {
    const Batch* batch = &given;
    Batch copy;
    if (!std::ranges::all_of(given, [](const at::Tensor& tensor) {
          return !tensor.defined() || tensor.is_non_overlapping_and_dense();
        })) {
      copy = compile::dense(given);
      batch = &copy;
    }
    if (gradients_moved()) programs.clear();
    compile::StepProgram* program = programs.find(
        *batch, 0, [this] { return surroundings(); }, [this](const auto& around) { return request(around); });
    if (program == nullptr) return run_eagerly(given);
    program->run(*batch);
    stage.clip(clip, clip_value, program->has_gradient());
    stage.update(program->has_gradient());
    return program->result(0);
  }

  // Whether the optimizer's gradients lie elsewhere than the programs write them: it was given a group, or unbound.
  bool gradients_moved() {
    if (!programs.any() || optimizer.impl()->layout_version() == layout_) return false;
    layout_ = optimizer.impl()->layout_version();
    const auto now = gradient_views();
    return !std::ranges::equal(now, targets, [](const at::Tensor& a, const at::Tensor& b) { return a.is_same(b); });
  }

  /** The views of the optimizer's gradient buffers, by the index of the parameter. */
  std::vector<at::Tensor> gradient_views() const {
    std::vector<at::Tensor> views(optimizer.parameters().size());
    for (const auto& chunk : optimizer.impl()->chunks()) {
      if (!chunk.grads.defined()) continue;
      for (std::size_t i = 0; i < chunk.slots.size(); ++i) {
        views[static_cast<std::size_t>(chunk.slots[i].index)] = chunk.grads.views()[i];
      }
    }
    return views;
  }

  at::Tensor run_eagerly(const Batch& batch) {
    if (!programs.any()) optimizer.unbind_gradients();
    optimizer.zero_grad();
    const at::Tensor loss = checked(function(batch));
    loss.backward();
    if (clip == Clip::norm) optim::clip_grad_norm_(optimizer, clip_value);
    if (clip == Clip::value) optim::clip_grad_value_(optimizer, clip_value);
    optimizer.step();
    return loss.detach();
  }

  static at::Tensor checked(at::Tensor loss) {
    if (!loss.defined() || loss.numel() != 1) {
      throw Error({.what = "a compiled step must return a loss with one element",
                   .value = loss.defined() ? "a tensor of " + std::to_string(loss.numel()) + " elements"
                                           : "an undefined tensor",
                   .where = {},
                   .hint = "reduce it, for instance with .mean()"});
    }
    if (!loss.requires_grad()) {
      throw Error({.what = "the loss of a compiled step does not depend on any parameter that requires grad",
                   .value = {},
                   .where = {},
                   .hint = "compute it from the model's output without detach(), and leave some parameter unfrozen"});
    }
    return loss;
  }

  compile::Surroundings surroundings() const {
    compile::Surroundings around;
    const auto parameters = optimizer.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      around.parameters.push_back({"parameter " + std::to_string(i), parameters[i]});
    }
    if (model != nullptr) around.add(*model);
    return around;
  }

  compile::CaptureRequest request(const compile::Surroundings&) {
    optimizer.bind_gradients();
    optimizer.zero_grad();
    compile::CaptureRequest request;
    request.function = [this](const Batch& batch, compile::StepResults&) { return checked(function(batch)); };
    request.follows_modes = model != nullptr;
    targets = gradient_views();
    layout_ = optimizer.impl()->layout_version();
    request.targets.views = targets;
    return request;
  }

  torch::nn::Module* model;
  optim::Optimizer optimizer;
  Function function;
  CompileStepOptions options;
  Clip clip = Clip::none;
  double clip_value = 0;
  compile::OptimizerStage stage;
  compile::StepPrograms programs;
  std::vector<at::Tensor> targets;  // where the programs write gradients
  std::uint64_t layout_ = 0;        // of the optimizer, when they were made
};

at::Tensor CompiledStep::operator()(const Batch& batch) { return impl_->run(batch); }
bool CompiledStep::compiled() const { return impl_->programs.any(); }
std::string CompiledStep::explain() const { return impl_->programs.explain(); }
void CompiledStep::reset() { impl_->programs.clear(); }

CompiledStep compile_step(optim::Optimizer optimizer, CompiledStep::Function step, CompileStepOptions options) {
  return CompiledStep(
      std::make_shared<CompiledStep::Impl>(nullptr, std::move(optimizer), std::move(step), options));
}

CompiledStep compile_step(torch::nn::Module& model, optim::Optimizer optimizer, CompiledStep::Function step,
                          CompileStepOptions options) {
  return CompiledStep(std::make_shared<CompiledStep::Impl>(&model, std::move(optimizer), std::move(step), options));
}

}  // namespace levin
