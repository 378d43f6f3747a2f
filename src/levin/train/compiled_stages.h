// CompiledStages: the programs that stand for a module's steps in a Trainer's run.
#pragma once

#include <levin/compile/optimizer_stage.h>
#include <levin/compile/step_programs.h>
#include <levin/train/trainer_impl.h>

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

class CompiledStages {
 public:
  explicit CompiledStages(Trainer::Impl& run);

  /** What Trainer::Impl::optimize does, by a program; false: the step has to run eagerly. */
  bool train(std::int64_t index, const Batch& batch, std::int64_t batch_idx, const Trainer::Impl::Window& window);
  /** A validation or test step with what it logs; false: eagerly. */
  bool evaluate(Stage stage, const Batch& batch, std::int64_t batch_idx);
  bool predict(const Batch& batch, std::int64_t batch_idx, Batch& prediction);

  /** While a step is being captured, what it logs becomes a result of the program. */
  bool capturing() const { return capture_ != nullptr; }
  void log(std::string_view name, const at::Tensor& value, const LogOptions& options);
  void log(std::string_view name, double value, const LogOptions& options);
  void log(std::string_view name, const metrics::Metric& metric, const LogOptions& options);
  /** The step asks for its trainer, whose answers no program can know. */
  [[noreturn]] void refuse_trainer() const;

  /** What was compiled in each stage, for people. */
  std::string explain() const;

 private:
  /** A call of `log` in the step, fed from the program's results. */
  struct LogCall {
    std::string name;
    LogOptions options;
    metrics::Metric metric;             // of a metric object
    std::size_t first = 0, results = 0; // the results of the program that it is fed from
    std::vector<std::int64_t> counts;
  };
  /** What was noticed while a step was captured; the program carries it. */
  struct Notes {
    std::vector<LogCall> calls;
    Batch prediction;  // its names and parts
  };
  struct Capture {
    compile::StepResults* results = nullptr;
    std::vector<LogCall> calls;
    std::vector<std::pair<metrics::Metric, std::int64_t>> updates;  // of the module's metrics before the step
  };
  struct Entry {
    compile::StepPrograms programs;
    compile::OptimizerStage optimizer;
    compile::BoundGradients bound;
    std::vector<bool> gradients;  // of the accumulation window so far
  };

  Entry& entry(Stage stage, std::int64_t index);
  void check_hooks(Entry& entry) const;
  compile::Surroundings surroundings(const optim::Optimizer* optimizer) const;
  at::Tensor capture(compile::StepResults& results, const std::function<at::Tensor()>& step);
  /** Gives the captured notes to a program that was made just now. */
  const Notes& notes(compile::StepProgram& program);
  void feed(compile::StepProgram& program, std::size_t first);

  Trainer::Impl& run_;
  std::map<std::pair<Stage, std::int64_t>, Entry> entries_;
  Capture* capture_ = nullptr;
  std::shared_ptr<Notes> captured_;  // until its program has it
};

}  // namespace levin
