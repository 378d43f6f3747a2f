#include <levin/compile/compile_step.h>

#include <levin/compile/debug.h>
#include <levin/compile/optimizer_stage.h>
#include <levin/compile/row_batches.h>
#include <levin/compile/step_programs.h>
#include <levin/core/error.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/optimizer_impl.h>

#include <ATen/CPUGeneratorImpl.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

// Of the OpenMP runtime that torch was built with, if it was: the calling thread's own number.
extern "C" __attribute__((weak)) void omp_set_num_threads(int);

namespace levin {
namespace {

void check_run(std::span<const Batch> batches, std::int64_t num_steps) {
  if (batches.empty()) throw Error("steps over batches need at least one batch, and got none");
  if (num_steps < 1) {
    throw Error({.what = "num_steps must be at least 1", .value = std::to_string(num_steps), .where = {}, .hint = {}});
  }
}

}  // namespace

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
    if (options.seed) generator = at::detail::createCPUGenerator(*options.seed);
    using Kind = compile::Clipping::Kind;
    stage = {optimizer,
             {.kind = options.clip_grad_norm    ? Kind::norm
                      : options.clip_grad_value ? Kind::value
                                                : Kind::none,
              .limit = options.clip_grad_norm.value_or(options.clip_grad_value.value_or(0))},
             options.compile.threads};
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

  // The programs of all batches, when every one has its own already.
  std::vector<compile::StepProgram*> known(std::span<const Batch> batches) {
    std::vector<compile::StepProgram*> all;
    if (compile::debug::checks_steps() || !programs.any() || gradients.moved(optimizer)) return {};
    for (const Batch& batch : batches) {
      if (compile::StepProgram* program = programs.known(batch, 0)) all.push_back(program);
    }
    if (all.size() != batches.size()) all.clear();
    return all;
  }

  double run(std::span<const Batch> batches, std::int64_t num_steps) {
    const std::size_t count = batches.size();
    at::Tensor loss;
    std::vector<compile::StepProgram*> programs_of;
    for (std::int64_t s = 0; s < num_steps; ++s) {
      const std::size_t b = static_cast<std::size_t>(s) % count;
      if (b == 0 && s > 0 && programs_of.empty()) programs_of = known(batches);
      if (programs_of.empty()) {
        loss = run(batches[b]);
        continue;
      }
      compile::StepProgram& program = *programs_of[b];
      program.run(batches[b]);
      stage.set_gradients(program.has_gradient());
      stage.clip();
      stage.update();
      if (s + 1 == num_steps) return program.scalar(0);
    }
    return loss.item<double>();
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
    request.generator = generator;
    request.targets.views = gradients.bind(optimizer);
    stage.forget();
    return request;
  }

  torch::nn::Module* model;
  optim::Optimizer optimizer;
  Function function;
  CompileStepOptions options;
  at::Generator generator;  // of options.seed
  compile::OptimizerStage stage;
  compile::StepPrograms programs;
  compile::BoundGradients gradients;
  compile::RowBatches row_batches;
};

at::Tensor CompiledStep::operator()(const Batch& batch) { return impl_->run(batch); }
double CompiledStep::run(DataLoader loader) { return impl_->run_epoch(loader.impl()); }
double CompiledStep::run(std::span<const Batch> batches, std::int64_t num_steps) {
  check_run(batches, num_steps);
  return impl_->run(batches, num_steps);
}

std::vector<double> run_together(std::span<CompiledStep> trials, std::span<const Batch> batches, std::int64_t num_steps,
                                 std::int64_t num_threads) {
  check_run(batches, num_steps);
  if (num_threads < 0) {
    throw Error({.what = "run_together's num_threads must not be negative", .value = std::to_string(num_threads),
                 .where = {}, .hint = "0 takes one thread a core"});
  }
  std::vector<const CompiledStep::Impl*> steps;
  for (const CompiledStep& trial : trials) steps.push_back(trial.impl_.get());
  std::ranges::sort(steps);
  if (std::ranges::adjacent_find(steps) != steps.end()) {
    throw Error({.what = "run_together was given the same step twice", .value = {}, .where = {},
                 .hint = "copies of a CompiledStep share one training: compile a step for each trial"});
  }
  const auto cores = static_cast<std::int64_t>(std::max(1U, std::thread::hardware_concurrency()));
  const auto count = std::min<std::int64_t>(num_threads == 0 ? cores : num_threads, std::ssize(trials));
  std::vector<double> losses(trials.size());
  std::vector<std::exception_ptr> errors(trials.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    if (omp_set_num_threads) omp_set_num_threads(1);
    for (std::size_t i = next++; i < trials.size(); i = next++) {
      try {
        losses[i] = trials[i].run(batches, num_steps);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  {
    // The caller waits, so that its own number of threads stays as it is.
    std::vector<std::jthread> threads;
    for (std::int64_t i = 0; i < count; ++i) threads.emplace_back(work);
  }
  for (const auto& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  return losses;
}

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
