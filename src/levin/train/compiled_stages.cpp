#include <levin/train/compiled_stages.h>

#include <levin/compile/debug.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <functional>

namespace levin {
namespace {

const char* step_name(Stage stage) {
  switch (stage) {
    case Stage::validate: return "validation_step";
    case Stage::test: return "test_step";
    case Stage::predict: return "predict_step";
    default: return "training_step";
  }
}

std::array<Hook, 2> batch_hooks(Stage stage) {
  switch (stage) {
    case Stage::validate: return {Hook::on_validation_batch_start, Hook::on_validation_batch_end};
    case Stage::test: return {Hook::on_test_batch_start, Hook::on_test_batch_end};
    case Stage::predict: return {Hook::on_predict_batch_start, Hook::on_predict_batch_end};
    default: return {Hook::on_train_batch_start, Hook::on_train_batch_end};
  }
}

[[noreturn]] void refuse(const std::string& reason) { throw compile::NotCapturable(reason); }

}  // namespace

Trainer::Impl::~Impl() = default;

CompiledStages::CompiledStages(Trainer::Impl& run) : run_(run) {}

CompiledStages::Entry& CompiledStages::entry(Stage stage, std::int64_t index) {
  const auto found = entries_.find({stage, index});
  if (found != entries_.end()) return found->second;
  Entry made(compile::StepPrograms(step_name(stage), run_.options.compile.options()));
  if (stage == Stage::fit) {
    using Kind = compile::Clipping::Kind;
    const auto& clip = run_.options.gradient_clip_val;
    made.optimizer = {run_.optimizers.optimizer(index),
                      {.kind = !clip ? Kind::none
                               : run_.options.gradient_clip_algorithm == ClipAlgorithm::norm ? Kind::norm
                                                                                               : Kind::value,
                       .limit = clip.value_or(0)},
                      run_.options.compile.options().threads};
    check_hooks(made);
  }
  return entries_.emplace(std::pair(stage, index), std::move(made)).first->second;
}

// A program computes loss and gradients in one go: what stands between them has no place.
void CompiledStages::check_hooks(Entry& entry) const {
  for (const Hook hook : {Hook::backward, Hook::optimizer_step, Hook::optimizer_zero_grad,
                          Hook::configure_gradient_clipping, Hook::on_before_zero_grad, Hook::on_before_backward}) {
    const bool by_callback = !run_.hooked[static_cast<std::size_t>(hook)].empty();
    if (!run_.model_hooks.has(hook) && !by_callback) continue;
    return entry.programs.refuse(std::string(by_callback ? "a callback" : "the module") + " overrides " +
                                 hook_name(hook) + "; on_after_backward and on_before_optimizer_step can be compiled");
  }
  if (run_.options.precision.has_scaler() || run_.options.precision.name().ends_with("mixed")) {
    return entry.programs.refuse("precision " + run_.options.precision.name() + " chooses types call by call");
  }
  if (run_.options.detect_anomaly) entry.programs.refuse("detect_anomaly looks at every call of autograd");
}

compile::Surroundings CompiledStages::surroundings(const optim::Optimizer* optimizer) const {
  compile::Surroundings around;
  if (optimizer) around.add(*optimizer);
  around.add(*run_.model);
  return around;
}

at::Tensor CompiledStages::capture(compile::StepResults& results, const std::function<at::Tensor()>& step) {
  if (!run_.device.is_cpu() && !run_.model->registered_metrics().empty()) {
    refuse("the module has metric objects, whose books no graph of a device can keep; log tensors instead");
  }
  Capture capture{.results = &results, .calls = {}, .updates = {}, .prediction = {}};
  std::vector<std::vector<at::Tensor>> states;
  {
    const compile::PauseRecording pause;
    for (const auto& [name, metric] : run_.model->registered_metrics()) {
      capture.updates.emplace_back(metric, metric->batch_state().updates);
      states.push_back(metric->state());
      metric->reset();  // what the step adds is all there is
    }
  }
  struct Scope {
    CompiledStages& stages;
    ~Scope() { stages.capture_ = nullptr; }
  } scope{*this};
  capture_ = &capture;
  const auto restore = [&] {
    const compile::PauseRecording pause;
    for (std::size_t i = 0; i < states.size(); ++i) capture.updates[i].first->load_state(states[i]);
  };
  at::Tensor loss;
  try {
    loss = step();
    for (const auto& [metric, before] : capture.updates) {
      const bool updated = metric->batch_state().updates != before;
      const bool logged = std::ranges::any_of(
          capture.calls, [&](const LogCall& call) { return call.metric && call.metric.impl() == metric.impl(); });
      if (updated && !logged) refuse("a metric is updated and not logged in the step; log it there");
    }
  } catch (...) {
    restore();
    throw;
  }
  restore();
  captured_ =
      std::make_shared<Notes>(Notes{.calls = std::move(capture.calls), .prediction = std::move(capture.prediction)});
  return loss;
}

void CompiledStages::log(std::string_view name, const at::Tensor& value, const LogOptions& options) {
  if (!value.defined() || value.numel() != 1) {
    throw Error({.what = "log(\"" + std::string(name) + "\") takes a tensor with one element",
                 .value = !value.defined() ? "an undefined tensor" : std::to_string(value.numel()) + " elements",
                 .where = {},
                 .hint = "reduce it first, for instance with .mean()"});
  }
  capture_->calls.push_back({.name = std::string(name), .options = options, .metric = {},
                             .first = capture_->results->list().size(), .results = 1, .counts = {}});
  capture_->results->add(std::string(name), value);
}

void CompiledStages::log(std::string_view name, double, const LogOptions&) {
  refuse(
      "log(\"" + std::string(name) +
      "\") is given a number that the host computes, which would stay as it is in all later batches; log a tensor that "
      "is computed from the batch or from registered buffers, or log the number in on_train_batch_end");
}

void CompiledStages::log(std::string_view name, const metrics::Metric& metric, const LogOptions& options) {
  const auto before = std::ranges::find_if(
      capture_->updates, [&](const auto& known) { return known.first.impl() == metric.impl(); });
  const auto batch = metric->batch_state();
  if (before == capture_->updates.end() || batch.tensors.empty() || batch.updates - before->second != 1) {
    refuse("log(\"" + std::string(name) + "\") is given a metric that " +
           (batch.tensors.empty() ? "has no batch_state(); override it and add_batch()"
                                  : "was not updated exactly once in the step"));
  }
  capture_->calls.push_back({.name = std::string(name), .options = options, .metric = metric,
                             .first = capture_->results->list().size(), .results = batch.tensors.size(),
                             .counts = batch.counts});
  for (const at::Tensor& tensor : batch.tensors) capture_->results->add(std::string(name), tensor);
}

void CompiledStages::refuse_trainer() const {
  refuse("the step asks for its trainer (current_epoch(), global_step(), trainer()), whose answer would stay as it is; "
         "keep such values in a tensor that is a registered buffer and change it in a hook");
}

const CompiledStages::Notes& CompiledStages::notes(compile::StepProgram& program) {
  if (captured_) program.attachment = std::exchange(captured_, nullptr);
  return *static_cast<const Notes*>(program.attachment.get());
}

void CompiledStages::feed(compile::StepProgram& program, std::size_t first, std::vector<std::size_t>* places) {
  for (const LogCall& call : notes(program).calls) {
    if (call.metric) {
      metrics::MetricImpl::BatchState batch{.tensors = {}, .counts = call.counts};
      for (std::size_t i = 0; i < call.results; ++i) batch.tensors.push_back(program.result(first + call.first + i));
      call.metric->add_batch(batch);
      run_.active_log->log(call.name, call.metric, call.options, run_.context);
    } else if (program.on_device()) {
      run_.active_log->log(call.name, program.result(first + call.first), call.options, run_.context);
    } else {
      run_.active_log->log(call.name, program.scalar(first + call.first), call.options, run_.context);
      if (places) places->push_back(run_.active_log->place());
    }
  }
}

bool CompiledStages::train(std::int64_t index, const Batch& given, std::int64_t batch_idx,
                           const Trainer::Impl::Window& window) {
  Entry& entry = this->entry(Stage::fit, index);
  optim::Optimizer& optimizer = run_.optimizers.optimizer(index);
  const bool accumulate = window.size > 1;
  Batch copy;
  const Batch& batch = compile::dense(given, copy);
  const auto around = [&] { return surroundings(&optimizer); };
  const auto request = [&] {
    compile::CaptureRequest request;
    request.function = [&](const Batch& captured, compile::StepResults& results) {
      run_.context = Hook::training_step;
      const Precision::Context forward(run_.options.precision, run_.device.type());
      at::Tensor loss =
          capture(results, [&] { return run_.model->training_step(captured, batch_idx, index); });
      run_.context = Hook::none;
      if (!loss.defined()) refuse("it returned no loss for this batch");
      if (loss.numel() != 1) {
        throw Error({.what = "training_step must return a loss with one element",
                     .value = "a tensor of " + std::to_string(loss.numel()) + " elements",
                     .where = {},
                     .hint = "reduce it, for instance with .mean()"});
      }
      if (!loss.requires_grad()) refuse("its loss does not depend on any parameter that requires grad");
      return loss;
    };
    request.loss_divisor = static_cast<double>(window.size);
    entry.optimizer.forget();
    request.targets = {.views = entry.bound.bind(optimizer), .accumulate = accumulate};
    return request;
  };
  captured_.reset();
  if (entry.programs.any() && entry.bound.moved(optimizer)) entry.programs.clear();
  compile::StepProgram* program = entry.programs.find(batch, window.size, std::cref(around), std::cref(request));
  if (program == nullptr) {
    if (!entry.programs.any()) optimizer.unbind_gradients();
    return false;
  }
  notes(*program);
  step(entry, *program, index, batch_idx, window, /*same_gradients=*/false, [&] {
    {
      const ProfiledAction action(run_.profiler(), Hook::training_step);
      program->run(batch);
    }
    run_.context = Hook::training_step;
    feed(*program, 1);
    run_.context = Hook::none;
  });
  return true;
}

template <class Run>
void CompiledStages::step(Entry& entry, const compile::StepProgram& program, std::int64_t index, std::int64_t batch_idx,
                          const Trainer::Impl::Window& window, bool same_gradients, const Run& run) {
  const bool accumulate = window.size > 1;
  optim::Optimizer& optimizer = run_.optimizers.optimizer(index);
  run_.loss_missing = false;
  if (window.first) {
    run_.progress.zero_grad.increment_ready();
    if (accumulate) optimizer.zero_grad();
    run_.progress.zero_grad.increment_completed();
  }
  run();

  if (!same_gradients) {
    if (window.first || entry.gradients.empty()) {
      entry.gradients = program.has_gradient();
    } else {
      for (std::size_t i = 0; i < entry.gradients.size(); ++i) {
        entry.gradients[i] = entry.gradients[i] || program.has_gradient()[i];
      }
    }
    entry.optimizer.set_gradients(entry.gradients);
  }
  run_.on_after_backward();
  if (accumulate) optimizer.impl()->gradients_written(entry.gradients);
  if (!window.last) return;
  run_.correct_short_window(index, batch_idx, window);
  run_.update_parameters(index, &entry.optimizer);
}

// What holds for a whole run; callbacks that want a batch are asked batch by batch.
std::string CompiledStages::why_no_blocks(Stage stage) const {
  const auto overrides = [](const char* who, Hook hook) { return std::string(who) + " overrides " + hook_name(hook); };
  if (stage == Stage::fit) {
    if (run_.optimizers.size() != 1) return "there are several optimizers";
    for (const Hook hook : {Hook::on_after_backward, Hook::on_before_optimizer_step, Hook::lr_scheduler_step}) {
      if (run_.model_hooks.has(hook)) return overrides("the module", hook);
      if (!run_.hooked[static_cast<std::size_t>(hook)].empty()) return overrides("a callback", hook);
    }
  }
  for (const Hook hook : batch_hooks(stage)) {
    if (run_.model_hooks.has(hook)) return overrides("the module", hook);
  }
  if (run_.transfers_by_hook) return "a hook for the transfer of batches is overridden";
  if (compile::debug::checks_steps()) return "LEVIN_COMPILE_DEBUG=check looks at each step";
  if (run_.profiler()) return "a profiler measures the parts of a step";
  if (run_.options.precision.converts()) return "precision " + run_.options.precision.name() + " converts each batch";
  if (!run_.device.is_cpu()) return "the batches go to " + run_.device.str();
  return {};
}

std::int64_t CompiledStages::begin_block(Entry& entry, Stage stage, LoaderImpl& loader, std::int64_t variant,
                                         std::int64_t most) {
  block_.places.clear();
  block_.timed = block_.gradients_set = false;
  if (!entry.why_no_blocks) entry.why_no_blocks = why_no_blocks(stage);
  if (!entry.why_no_blocks->empty() || most <= 0) return 0;
  for (const Hook hook : batch_hooks(stage)) {
    for (const CallbackImpl* callback : run_.hooked[static_cast<std::size_t>(hook)]) {
      most = std::min(most, callback->batches_to_skip(run_.self, stage));
    }
  }
  if (most <= 0) {
    entry.why_no_block = "a callback wants the batch (see CallbackImpl::batches_to_skip)";
    return 0;
  }
  if (!entry.programs.any()) return 0;  // the first batch is captured, or steps run eagerly
  most = std::min(most, entry.rows.look(loader));
  if (most == 0) {
    entry.why_no_block = entry.rows.why_not();
    return 0;
  }
  compile::StepProgram* program = entry.programs.known(entry.rows.sample(), variant);
  if (program == nullptr) return 0;  // a new shape: captured from a batch
  captured_.reset();
  const auto& calls = notes(*program).calls;
  block_.entry = &entry;
  block_.program = program;
  block_.scalars = std::ranges::none_of(calls, [](const LogCall& call) { return static_cast<bool>(call.metric); });
  // Callbacks, signals and clocks wait for a block's end: a few milliseconds.
  block_.timed = most > entry.pace;
  if (!block_.timed) return most;
  block_.begin = std::chrono::steady_clock::now();
  return entry.pace;
}

void CompiledStages::end_block() {
  if (!block_.timed) return;
  constexpr std::chrono::milliseconds kShort(1), kLong(4);
  std::int64_t& pace = block_.entry->pace;
  const auto took = std::chrono::steady_clock::now() - block_.begin;
  if (took < kShort && pace < (std::int64_t{1} << 20)) pace *= 2;
  if (took > kLong && pace > 1) pace /= 2;
}

// Runs the program on the next batch and feeds the logs.
void CompiledStages::run_block_batch(Hook hook, std::size_t first, std::optional<std::int64_t> dataloader_idx) {
  Block& block = block_;
  compile::RowBatches& rows = block.entry->rows;
  MetricLog& log = *run_.active_log;
  const auto addresses = rows.next();
  log.begin_batch(rows.batch_size(), dataloader_idx);
  block.program->run(addresses);
  ++block.entry->in_blocks;
  if (block.places.empty()) {
    run_.context = hook;
    feed(*block.program, first, block.scalars ? &block.places : nullptr);
    run_.context = Hook::none;
    return;
  }
  const auto& calls = notes(*block.program).calls;
  for (std::size_t i = 0; i < calls.size(); ++i) {
    log.log_again(block.places[i], block.program->scalar(first + calls[i].first));
  }
}

std::int64_t CompiledStages::begin_training_block(std::int64_t most) {
  manual_ = !run_.model->automatic_optimization();
  if (manual_ || run_.optimizers.size() != 1) {
    for (auto& [key, entry] : entries_) {
      if (key.first == Stage::fit && !entry.why_no_blocks) entry.why_no_blocks = why_no_blocks(Stage::fit);
    }
    return 0;
  }
  Entry& entry = this->entry(Stage::fit, 0);
  if (entry.programs.any() && entry.bound.moved(run_.optimizers.optimizer(0))) entry.programs.clear();
  // Windows of one size have one program.
  const std::int64_t size = run_.window_of(run_.progress.batch.current.ready).size;
  if (size > 1 && size == run_.accumulate_grad_batches && run_.num_training_batches != kUnknownLength &&
      !run_.options.lightning_compat) {
    most = std::min(most,
                    run_.num_training_batches - run_.num_training_batches % size - run_.progress.batch.current.ready);
  }
  return begin_block(entry, Stage::fit, run_.train_loader.impl(), size, most);
}

void CompiledStages::train_next(std::int64_t batch_idx, const Trainer::Impl::Window& window) {
  const bool same_gradients = block_.gradients_set && window.size == 1;
  step(*block_.entry, *block_.program, 0, batch_idx, window, same_gradients,
       [&] { run_block_batch(Hook::training_step, 1, {}); });
  block_.gradients_set = true;
}

std::int64_t CompiledStages::evaluate_block(Stage stage, LoaderImpl& loader, std::int64_t most,
                                            std::optional<std::int64_t> dataloader_idx, Progress* progress) {
  Entry& entry = this->entry(stage, run_.dataloader_idx);
  const std::int64_t batches = begin_block(entry, stage, loader, 0, most);
  if (batches == 0) return 0;
  const c10::InferenceMode off(false);
  const at::NoGradGuard no_grad;
  const Hook hook = stage == Stage::validate ? Hook::validation_step : Hook::test_step;
  std::int64_t done = 0;
  for (; done < batches && !interrupt_requested(); ++done) {
    if (progress) progress->increment_ready(), progress->increment_started();
    run_block_batch(hook, 0, dataloader_idx);
    if (progress) progress->increment_processed(), progress->increment_completed();
    run_.log_eval_step();
  }
  end_block();
  return done;
}

// A step without gradients: what `step` does is captured, and `take` reads the program's results.
bool CompiledStages::run_without_gradients(Stage stage, const Batch& given,
                                           const std::function<void(const Batch&, compile::StepResults&)>& step,
                                           const std::function<void(compile::StepProgram&)>& take) {
  Entry& entry = this->entry(stage, run_.dataloader_idx);
  const Hook context = run_.context;
  const c10::InferenceMode off(false);
  const at::NoGradGuard no_grad;
  Batch copy;
  const Batch& batch = compile::dense(given, copy);
  captured_.reset();
  compile::StepProgram* program = entry.programs.find(batch, 0, [&] { return surroundings(nullptr); }, [&] {
    compile::CaptureRequest request;
    request.gradients = false;
    request.function = [&](const Batch& captured, compile::StepResults& results) {
      return capture(results, [&] {
        step(captured, results);
        return at::Tensor();
      });
    };
    return request;
  });
  run_.context = context;
  if (program == nullptr) return false;
  notes(*program);
  program->run(batch);
  take(*program);
  return true;
}

bool CompiledStages::evaluate(Stage stage, const Batch& batch, std::int64_t batch_idx) {
  return run_without_gradients(
      stage, batch,
      [&](const Batch& captured, compile::StepResults&) {
        if (stage == Stage::validate) {
          run_.model->validation_step(captured, batch_idx, run_.dataloader_idx);
        } else {
          run_.model->test_step(captured, batch_idx, run_.dataloader_idx);
        }
      },
      [&](compile::StepProgram& program) { feed(program, 0); });
}

bool CompiledStages::predict(const Batch& batch, std::int64_t batch_idx, Batch& prediction) {
  return run_without_gradients(
      Stage::predict, batch,
      [&](const Batch& captured, compile::StepResults& results) {
        capture_->prediction = run_.model->predict_step(captured, batch_idx, run_.dataloader_idx);
        for (const at::Tensor& tensor : capture_->prediction) {
          if (!tensor.defined()) refuse("it returned an undefined tensor");
          results.add("prediction", tensor);
        }
      },
      [&](compile::StepProgram& program) {
        Batch::Tensors tensors;
        for (std::size_t i = 0; i < program.results(); ++i) tensors.push_back(program.result(i).clone());
        prediction = notes(program).prediction.with_tensors(std::move(tensors));
      });
}

std::string CompiledStages::explain() const {
  std::string text;
  if (manual_) text += "training_step runs eagerly: optimization is manual\n";
  for (const auto& [key, entry] : entries_) {
    text += entry.programs.explain();
    if (entry.in_blocks > 0) {
      text += "  " + std::to_string(entry.in_blocks) + " batches ran in blocks, without a call between them\n";
    }
    const std::string& reason = entry.why_no_blocks.value_or("").empty() ? entry.why_no_block : *entry.why_no_blocks;
    if (!reason.empty() && entry.programs.any()) {
      text += std::string("  ") + (entry.in_blocks > 0 ? "some" : "all") + " batches ran one by one: " + reason + "\n";
    }
  }
  return text;
}

}  // namespace levin
