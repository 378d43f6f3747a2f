// compile_step: a training step written as ordinary torch::nn code, captured once and then run as one native program.
#pragma once

#include <levin/compile/options.h>
#include <levin/core/export.h>
#include <levin/data/loader.h>
#include <levin/optim/optimizer.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
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
  /**
   * The step's random numbers (dropout, noise) come from a stream of its own with this seed: of trainings side by side
   * each repeats its own. By default, and where the step runs eagerly, they come from torch's default generator.
   */
  std::optional<std::uint64_t> seed = {};
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

  /**
   * So many steps over the batches in turn, one call for all: each costs what its program costs. Returns the last loss.
   */
  double run(std::span<const Batch> batches, std::int64_t num_steps);

  /** Whether programs run; false before the first call and for a step that runs eagerly. */
  bool compiled() const;
  /** What was captured and fused, what is left to ATen's kernels, or why the step runs eagerly. */
  std::string explain() const;
  /** Forgets the programs: the next call captures anew. For a step whose own code or constants have changed. */
  void reset();

  struct Impl;
  explicit CompiledStep(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

 private:
  friend LEVIN_API std::vector<double> run_together(std::span<CompiledStep>, std::span<const Batch>, std::int64_t, std::int64_t);

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

/**
 * Trainings side by side in one process, what JAX's users do with a vmapped update: every trial makes `num_steps` steps
 * over the shared `batches` in turn, each trial on one thread, `num_threads` of them at a time (0: one a core). Trials
 * whose steps are of one structure share one program's code, whatever their learning rates, seeds and weights.
 *
 * Returns the last loss of each trial. The numbers do not depend on `num_threads`; steps with random numbers need
 * CompileStepOptions::seed for that. Trials must not share parameters. A trial's exception is thrown when all have ended, the first trial's first.
 */
LEVIN_API std::vector<double> run_together(std::span<CompiledStep> trials, std::span<const Batch> batches,
                                           std::int64_t num_steps, std::int64_t num_threads = 0);

}  // namespace levin
