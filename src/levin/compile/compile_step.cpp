#include <levin/compile/compile_step.h>

#include <levin/compile/optimizer_stage.h>
#include <levin/compile/row_batches.h>
#include <levin/compile/step_programs.h>
#include <levin/core/error.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/optimizer_impl.h>

#include <torch/nn/module.h>

#include <algorithm>

namespace levin {

struct CompiledStep::Impl {
  Impl(torch::nn::Module* module, optim::Optimizer given, Function step, CompileStepOptions step_options)
      : model(module), optimizer(std::move(given)), function(std::move(step)), options(step_options),
        programs("compile_step", options.compile) {
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
    using Kind = compile::Clipping::Kind;
    stage = {optimizer,
             {.kind = options.clip_grad_norm    ? Kind::norm
                      : options.clip_grad_value ? Kind::value
                                                : Kind::none,
              .limit = options.clip_grad_norm.value_or(options.clip_grad_value.value_or(0))}};
  }

  at::Tensor run(const Batch& given) {
    Batch copy;
    const Batch& batch = compile::dense(given, copy);
    if (programs.any() && gradients.moved(optimizer)) programs.clear();
    compile::StepProgram* program =
        programs.find(batch, 0, [this] { return surroundings(); }, [this] { return request(); });
    if (program == nullptr) return run_eagerly(given);
    program->run(batch);
    stage.set_gradients(program->has_gradient());
    stage.clip();
    stage.update();
    return program->result(0);
  }

  double run_epoch(LoaderImpl& loader) {
    loader.begin_loop();
    double sum = 0, rows = 0;
    const auto add = [&](double loss, std::int64_t weight) {
      sum += loss * static_cast<double>(weight);
      rows += static_cast<double>(weight);
    };
    Batch batch;
    for (;;) {
      std::int64_t ready = programs.any() ? row_batches.look(loader) : 0;
      if (ready > 0 && gradients.moved(optimizer)) programs.clear();
      compile::StepProgram* program = ready > 0 ? programs.known(row_batches.sample(), 0) : nullptr;
      if (program != nullptr) {
        stage.set_gradients(program->has_gradient());
        for (; ready > 0; --ready) {
          program->run(row_batches.next());
          stage.clip();
          stage.update();
          add(program->scalar(0), row_batches.batch_size());
        }
      } else if (loader.next(batch)) {
        add(run(batch).item<double>(), batch.empty() ? 1 : batch.batch_size());
      } else {
        return sum / rows;
      }
    }
  }

  at::Tensor run_eagerly(const Batch& batch) {
    if (!programs.any()) optimizer.unbind_gradients();
    optimizer.zero_grad();
    const at::Tensor loss = checked(function(batch));
    loss.backward();
    if (options.clip_grad_norm) optim::clip_grad_norm_(optimizer, *options.clip_grad_norm);
    if (options.clip_grad_value) optim::clip_grad_value_(optimizer, *options.clip_grad_value);
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
    around.add(optimizer);
    if (model != nullptr) around.add(*model);
    return around;
  }

  compile::CaptureRequest request() {
    compile::CaptureRequest request;
    request.function = [this](const Batch& batch, compile::StepResults&) { return checked(function(batch)); };
    request.follows_modes = model != nullptr;
    request.targets.views = gradients.bind(optimizer);
    stage.forget();
    return request;
  }

  torch::nn::Module* model;
  optim::Optimizer optimizer;
  Function function;
  CompileStepOptions options;
  compile::OptimizerStage stage;
  compile::StepPrograms programs;
  compile::BoundGradients gradients;
  compile::RowBatches row_batches;
};

at::Tensor CompiledStep::operator()(const Batch& batch) { return impl_->run(batch); }
double CompiledStep::run(DataLoader loader) { return impl_->run_epoch(loader.impl()); }
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
