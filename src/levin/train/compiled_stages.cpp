#include <levin/train/compiled_stages.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>

#include <algorithm>
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

[[noreturn]] void refuse(const std::string& reason) { throw compile::NotCapturable(reason); }

// The batch itself where it is dense already.
const Batch& dense(const Batch& batch, Batch& copy) {
  const bool is_dense = std::ranges::all_of(
      batch, [](const at::Tensor& tensor) { return !tensor.defined() || tensor.is_non_overlapping_and_dense(); });
  if (is_dense) return batch;
  copy = compile::dense(batch);
  return copy;
}

}  // namespace

Trainer::Impl::~Impl() = default;

CompiledStages::CompiledStages(Trainer::Impl& run) : run_(run) {}

CompiledStages::Entry& CompiledStages::entry(Stage stage, std::int64_t index) {
  const auto found = entries_.find({stage, index});
  if (found != entries_.end()) return found->second;
  Entry made{.programs = compile::StepPrograms(step_name(stage), run_.options.compile.options()),
             .optimizer = {}, .bound = {}, .gradients = {}};
  if (stage == Stage::fit) {
    using Kind = compile::Clipping::Kind;
    const auto& clip = run_.options.gradient_clip_val;
    made.optimizer = {run_.optimizers.optimizer(index),
                      {.kind = !clip ? Kind::none
                               : run_.options.gradient_clip_algorithm == ClipAlgorithm::norm ? Kind::norm
                                                                                               : Kind::value,
                       .limit = clip.value_or(0)}};
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
  Capture capture{.results = &results, .calls = {}, .updates = {}};
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
  captured_ = std::make_shared<Notes>(Notes{.calls = std::move(capture.calls), .prediction = {}});
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
  refuse("log(\"" + std::string(name) +
         "\") is given a number that the host computes, which would stay as it is; log a tensor, or log it in "
         "on_train_batch_end");
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

void CompiledStages::feed(compile::StepProgram& program, std::size_t first) {
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
    }
  }
}

bool CompiledStages::train(std::int64_t index, const Batch& given, std::int64_t batch_idx,
                           const Trainer::Impl::Window& window) {
  Entry& entry = this->entry(Stage::fit, index);
  optim::Optimizer& optimizer = run_.optimizers.optimizer(index);
  const bool accumulate = window.size > 1;
  Batch copy;
  const Batch& batch = dense(given, copy);
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

  run_.loss_missing = false;
  if (window.first) {
    run_.progress.zero_grad.increment_ready();
    if (accumulate) optimizer.zero_grad();
    run_.progress.zero_grad.increment_completed();
  }
  {
    const ProfiledAction action(run_.profiler(), Hook::training_step);
    program->run(batch);
  }
  run_.context = Hook::training_step;
  feed(*program, 1);
  run_.context = Hook::none;

  if (window.first || entry.gradients.empty()) {
    entry.gradients = program->has_gradient();
  } else {
    for (std::size_t i = 0; i < entry.gradients.size(); ++i) {
      entry.gradients[i] = entry.gradients[i] || program->has_gradient()[i];
    }
  }
  entry.optimizer.set_gradients(entry.gradients);
  run_.on_after_backward();
  if (!window.last) {
    optimizer.impl()->gradients_written(entry.gradients);
    return true;
  }
  if (accumulate) optimizer.impl()->gradients_written(entry.gradients);
  run_.correct_short_window(index, batch_idx, window);
  run_.update_parameters(index, &entry.optimizer);
  return true;
}

bool CompiledStages::evaluate(Stage stage, const Batch& given, std::int64_t batch_idx) {
  Entry& entry = this->entry(stage, run_.dataloader_idx);
  const Hook context = run_.context;
  const c10::InferenceMode off(false);
  const at::NoGradGuard no_grad;
  Batch copy;
  const Batch& batch = dense(given, copy);
  captured_.reset();
  compile::StepProgram* program = entry.programs.find(batch, 0, [&] { return surroundings(nullptr); }, [&] {
    compile::CaptureRequest request;
    request.gradients = false;
    request.function = [&](const Batch& captured, compile::StepResults& results) {
      return capture(results, [&] {
        if (stage == Stage::validate) {
          run_.model->validation_step(captured, batch_idx, run_.dataloader_idx);
        } else {
          run_.model->test_step(captured, batch_idx, run_.dataloader_idx);
        }
        return at::Tensor();
      });
    };
    return request;
  });
  run_.context = context;
  if (program == nullptr) return false;
  program->run(batch);
  feed(*program, 0);
  return true;
}

bool CompiledStages::predict(const Batch& given, std::int64_t batch_idx, Batch& prediction) {
  Entry& entry = this->entry(Stage::predict, run_.dataloader_idx);
  const c10::InferenceMode off(false);
  const at::NoGradGuard no_grad;
  Batch copy;
  const Batch& batch = dense(given, copy);
  captured_.reset();
  compile::StepProgram* program = entry.programs.find(batch, 0, [&] { return surroundings(nullptr); }, [&] {
    compile::CaptureRequest request;
    request.gradients = false;
    request.function = [&](const Batch& captured, compile::StepResults& results) {
      Batch predicted;
      const at::Tensor none = capture(results, [&] {
        predicted = run_.model->predict_step(captured, batch_idx, run_.dataloader_idx);
        for (const at::Tensor& tensor : predicted) {
          if (!tensor.defined()) refuse("it returned an undefined tensor");
          results.add("prediction", tensor);
        }
        return at::Tensor();
      });
      captured_->prediction = std::move(predicted);
      return none;
    };
    return request;
  });
  if (program == nullptr) return false;
  const Batch& shape = notes(*program).prediction;
  program->run(batch);
  Batch::Tensors tensors;
  for (std::size_t i = 0; i < program->results(); ++i) tensors.push_back(program->result(i).clone());
  prediction = shape.with_tensors(std::move(tensors));
  return true;
}

std::string CompiledStages::explain() const {
  std::string text;
  for (const auto& [key, entry] : entries_) text += entry.programs.explain();
  return text;
}

}  // namespace levin
