// Capture: one call of a step, run eagerly and recorded, becomes a graph; the graph becomes a program that is compared
// with what the call gave before anybody trusts it.
#pragma once

#include <levin/compile/options.h>
#include <levin/compile/lift.h>
#include <levin/compile/passes/passes.h>
#include <levin/compile/program.h>
#include <levin/compile/tape_check.h>
#include <levin/data/batch.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::compile {

/** The values that a step hands out beside its loss, in the order of the calls. */
class StepResults {
 public:
  explicit StepResults(const Tape* tape) : tape_(tape) {}
  /** A tensor that the program computes at every step. */
  void add(std::string name, const at::Tensor& tensor);
  const std::vector<Result>& list() const { return list_; }

 private:
  const Tape* tape_;
  std::vector<Result> list_;
};

/** What is to be captured. */
struct CaptureRequest {
  /** Computes the loss (undefined for a step without one) of a batch and hands out what else is wanted. */
  std::function<at::Tensor(const Batch&, StepResults&)> function;
  std::vector<Named> parameters;  ///< gradients are taken with respect to those that require them
  std::vector<Named> externals;   ///< other memory that the step may read and write
  bool gradients = true;
  bool follows_modes = true;  ///< the modules whose train and eval modes the step depends on are known
  double loss_divisor = 1;  ///< the loss is divided by it before gradients are taken
  GradientTargets targets;  ///< of the parameters
  at::Generator generator = {};  ///< the program's random numbers are drawn from it; by default from the default one
};

struct Captured {
  std::shared_ptr<const Code> code;
  std::unique_ptr<Program> program;
  std::vector<bool> has_gradient;  ///< of each parameter
  bool has_loss = false;           ///< result 0 is the loss
  std::vector<std::string> notes;
  std::optional<TapeText> text;  ///< of the tape, where debug::checks_steps()
  std::vector<std::string> boxed;  ///< operators that run as boxed calls, each once, with their number
};

/**
 * Captures the step on `batch`. Nothing has changed afterwards: random states, parameters and externals are as they
 * were, gradients are undefined memory. A step of a structure that was met before (code_cache.h) gets the code made
 * then. Throws NotCapturable with the reason when no program can stand for the step;
 * errors of the step itself come through.
 */
Captured capture(const CaptureRequest& request, const Batch& batch, const CompileOptions& options);

/** Runs the step on `batch` and says what it did; nothing has changed afterwards. */
TapeText record_text(const CaptureRequest& request, const Batch& batch);

/** The batch as a program takes it, every tensor dense: itself, or `copy` with copies of those that are not. */
const Batch& dense(const Batch& batch, Batch& copy);

}  // namespace levin::compile
