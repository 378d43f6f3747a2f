// CompiledStages: the programs that stand for a module's steps in a Trainer's run.
#pragma once

#include <levin/compile/optimizer_stage.h>
#include <levin/compile/row_batches.h>
#include <levin/compile/step_programs.h>
#include <levin/train/trainer_impl.h>

#include <chrono>
#include <functional>
#include <map>
#include <optional>
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

  /**
   * A block: batches that a loader has as rows of tensors in memory, and whose hooks nobody needs, run without a tensor
   * being made of them. Begins one of the training loader's next batches: so many, at most `most`, and a few
   * milliseconds of them; 0 where the next batch has to come the long way, and explain() says why. Then train_next()
   * does for each what train() does, and end_block() follows.
   */
  std::int64_t begin_training_block(std::int64_t most);
  void train_next(std::int64_t batch_idx, const Trainer::Impl::Window& window);
  void end_block();
  /** A block of validation or test batches, counted in `progress` if any; how many they were. */
  std::int64_t evaluate_block(Stage stage, LoaderImpl& loader, std::int64_t most,
                              std::optional<std::int64_t> dataloader_idx, Progress* progress);

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
    Batch prediction;
  };
  struct Entry {
    explicit Entry(compile::StepPrograms of) : programs(std::move(of)) {}
    compile::StepPrograms programs;
    compile::OptimizerStage optimizer;
    compile::BoundGradients bound;
    std::vector<bool> gradients;  // of the accumulation window so far
    // Of blocks.
    compile::RowBatches rows;
    std::int64_t pace = 1;                     // batches that take a few milliseconds at most
    std::int64_t in_blocks = 0;                // batches so far
    std::optional<std::string> why_no_blocks;  // in this run, once somebody has looked; empty: nothing prevents them
    std::string why_no_block;                  // of the latest batches that could not be one
  };

  Entry& entry(Stage stage, std::int64_t index);
  void check_hooks(Entry& entry) const;
  compile::Surroundings surroundings(const optim::Optimizer* optimizer) const;
  at::Tensor capture(compile::StepResults& results, const std::function<at::Tensor()>& step);
  /** Gives the captured notes to a program that was made just now. */
  const Notes& notes(compile::StepProgram& program);
  /** Gives the results from `first` on to the calls of `log`; `places` gets where they found their slots. */
  void feed(compile::StepProgram& program, std::size_t first, std::vector<std::size_t>* places = nullptr);
  bool run_without_gradients(Stage stage, const Batch& given,
                             const std::function<void(const Batch&, compile::StepResults&)>& step,
                             const std::function<void(compile::StepProgram&)>& take);
  /**
   * What train() does with a program: `run` runs it and feeds the logs. `same_gradients`: the optimizer knows already
   * for which parameters this program has gradients.
   */
  template <class Run>
  void step(Entry& entry, const compile::StepProgram& program, std::int64_t index, std::int64_t batch_idx,
            const Trainer::Impl::Window& window, bool same_gradients, const Run& run);
  std::string why_no_blocks(Stage stage) const;
  std::int64_t begin_block(Entry& entry, Stage stage, LoaderImpl& loader, std::int64_t variant, std::int64_t most);
  void run_block_batch(Hook hook, std::size_t first, std::optional<std::int64_t> dataloader_idx);

  /** The block under way. */
  struct Block {
    Entry* entry = nullptr;
    compile::StepProgram* program = nullptr;
    std::vector<std::size_t> places;  // of the calls of log, once the first batch has found them
    bool scalars = false;             // all of them log scalars
    bool gradients_set = false;       // of the optimizer, by the first batch
    bool timed = false;
    std::chrono::steady_clock::time_point begin;
  };

  Trainer::Impl& run_;
  std::map<std::pair<Stage, std::int64_t>, Entry> entries_;
  Block block_;
  bool manual_ = false;  // the module optimizes by itself
  Capture* capture_ = nullptr;
  std::shared_ptr<Notes> captured_;  // until its program has it
};

}  // namespace levin
