// compile_step: a training step written as ordinary torch::nn code, captured once and then run as one native program.
#pragma once

#include <levin/compile/options.h>
#include <levin/core/export.h>
#include <levin/data/loader.h>
#include <levin/optim/optimizer.h>

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace torch::nn {
class Module;
}

namespace levin {

/** Options of compile_step: those of every compiled step and what a loop does between backward and step. */
struct CompileStepOptions {
  std::optional<double> clip_grad_norm = {};   ///< as torch.nn.utils.clip_grad_norm_ between backward and step
  std::optional<double> clip_grad_value = {};  ///< as torch.nn.utils.clip_grad_value_
  CompileOptions compile = {};
};

/**
 * One training step as a callable: `loss = step({x, y})` computes the loss, its gradients, and updates the parameters.
 * Copies share one step.
 *
 * The first call with a shape of batch runs the step eagerly and records it; every call, the first included, is then
 * run by the program, so a run that is resumed gives the bits of one that was not stopped. The code of the step itself
 * is not called again: numbers it computes on the host, and what it prints or counts, stay as they were in that first
 * call. What changes from step to step belongs into the batch; learning rates and other settings of the optimizer are
 * read at each step. A step that cannot be captured runs eagerly, with one warning that says why and what to change.
 */
class LEVIN_API CompiledStep {
 public:
  using Function = std::function<at::Tensor(const Batch&)>;

  /** Runs one step; the loss as the step returned it, detached. Throws what the step throws. */
  at::Tensor operator()(const Batch& batch);

  /**
   * An epoch: one step for every batch of the loader, as `for (const auto& batch : loader) step(batch)`. Batches of
   * tensors in memory are read where they lie, without making a tensor of each. Returns the mean of the losses,
   * weighted by the rows of the batches; NaN for an epoch without batches.
   */
  double run(DataLoader loader);

  /** Whether programs run; false before the first call and for a step that runs eagerly. */
  bool compiled() const;
  /** What was captured and fused, what is left to ATen's kernels, or why the step runs eagerly. */
  std::string explain() const;
  /** Forgets the programs: the next call captures anew. For a step whose own code or constants have changed. */
  void reset();

  struct Impl;
  explicit CompiledStep(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

 private:
  std::shared_ptr<Impl> impl_;
};

/**
 * Compiles `step`, which returns the loss of a batch (one element), for the parameters of `optimizer`.
 *
 * The step may read its batch and the optimizer's parameters. For a model with buffers (BatchNorm), frozen parameters,
 * or train and eval modes pass the model, too.
 */
LEVIN_API CompiledStep compile_step(optim::Optimizer optimizer, CompiledStep::Function step,
                                    CompileStepOptions options = {});
/** As above for a model, whose buffers, other parameters and modes the step may use. The model has to outlive it. */
LEVIN_API CompiledStep compile_step(torch::nn::Module& model, optim::Optimizer optimizer, CompiledStep::Function step,
                                    CompileStepOptions options = {});

/** As above for a module holder: `nn::Sequential`, `nn::Linear`, ... */
template <class Holder>
requires requires(Holder& holder) {
  { *holder } -> std::convertible_to<torch::nn::Module&>;
}
CompiledStep compile_step(Holder& model, optim::Optimizer optimizer, CompiledStep::Function step,
                          CompileStepOptions options = {}) {
  return compile_step(static_cast<torch::nn::Module&>(*model), std::move(optimizer), std::move(step), options);
}

}  // namespace levin
