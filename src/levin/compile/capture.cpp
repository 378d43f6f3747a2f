#include <levin/compile/capture.h>

#include <levin/compile/code_cache.h>
#include <levin/compile/debug.h>
#include <levin/compile/lower.h>
#include <levin/compile/trial_step.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

namespace levin::compile {
namespace {

// The largest element, by magnitude.
double magnitude(const at::Tensor& tensor) {
  if (!tensor.defined() || tensor.numel() == 0) return 0;
  const at::Tensor a = tensor.detach().to(at::kDouble);
  return at::where(a.isfinite(), a.abs(), at::zeros_like(a)).max().item<double>();
}

// The largest difference, relative to the largest element of the expected tensor or to `scale` if that is larger.
double difference(const at::Tensor& expected, const at::Tensor& seen, double scale) {
  if (expected.numel() == 0) return 0;
  const at::Tensor a = expected.detach().to(at::kDouble), b = seen.detach().to(at::kDouble);
  const at::Tensor same = a.eq(b).logical_or(a.isnan().logical_and(b.isnan()));
  const double apart = at::where(same, at::zeros_like(a), (a - b).abs()).max().item<double>();
  return apart == 0 ? 0 : apart / std::max({magnitude(expected), scale, 1e-6});
}

at::Tensor view_of(const std::byte* address, const Value& value) {
  return at::from_blob(const_cast<std::byte*>(address), value.sizes, value.strides, at::TensorOptions(value.dtype));
}

struct Eager {
  at::Tensor loss;
  std::vector<at::Tensor> results, gradients, externals;
};

std::vector<std::string> boxed_names(const Code& code) {
  std::map<std::string, int> counts;
  for (const auto& step : code.steps) {
    if (step.boxed) ++counts[step.name];
  }
  std::vector<std::string> names;
  for (const auto& [name, count] : counts) names.push_back(name + (count > 1 ? " x " + std::to_string(count) : ""));
  return names;
}

}  // namespace

void StepResults::add(std::string name, const at::Tensor& tensor) {
  list_.push_back({.kind = Output::Kind::result,
                   .index = static_cast<int>(list_.size()),
                   .name = std::move(name),
                   .tensor = tensor.detach(),
                   .after = tape_->records.size()});
}

const Batch& dense(const Batch& batch, Batch& copy) {
  const auto is_dense = [](const at::Tensor& tensor) {
    return !tensor.defined() || tensor.is_non_overlapping_and_dense();
  };
  if (std::ranges::all_of(batch, is_dense)) return batch;
  Batch::Tensors tensors;
  for (const at::Tensor& tensor : batch) tensors.push_back(is_dense(tensor) ? tensor : tensor.contiguous());
  copy = batch.with_tensors(std::move(tensors));
  return copy;
}

namespace {

// Runs forward and backward eagerly, and writes them on the tape.
Eager record(const CaptureRequest& request, const Batch& batch, Tape& tape, StepResults& results) {
  if (at::autocast::is_autocast_enabled(at::kCPU)) {
    throw NotCapturable("autocast chooses types call by call; use a full precision");
  }
  const auto outermost = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  Eager eager;
  try {
    const Recording recording(tape);
    eager.loss = request.function(batch, results);
    eager.gradients = gradients_of(request, eager.loss);
  } catch (const NotCapturable& error) {
    const std::string place = place_text(user_code(error.frames, outermost),
                                         place_in_model(tape, tape.records.size(), known_tensors(request)));
    NotCapturable placed(error.what() + place);
    placed.place = place;
    throw placed;
  }
  tape.check_made();
  return eager;
}

// A call that was found wanting on the tape: the step runs once more, up to there, to see who makes it.
std::string place_of_call(const CaptureRequest& request, const Batch& batch, const Tape& tape, std::size_t call) {
  Tape again;
  again.stop_at = call;
  StepResults results(&again);
  try {
    record(request, batch, again, results);
  } catch (const NotCapturable& stopped) {
    return stopped.place;
  }
  return place_text({}, place_in_model(tape, call, known_tensors(request)));
}

}  // namespace

namespace {

// Beyond this the difference of gradients is never taken for rounding.
constexpr double kMostRounding = 0.05;

// How far apart the eager step's gradients are when its parameters change in their last bits. In deep networks of relu
// and pooling elements near a tie fall to the other side, and gradients change by far more than the bits did.
double rounding(const CaptureRequest& request, const Batch& batch, Snapshot& snapshot, const Eager& eager, double scale) {
  std::vector<at::Tensor> kept;
  const at::Generator own = at::detail::createCPUGenerator(0);  // nothing is drawn from the user's
  for (const Named& parameter : request.parameters) {
    kept.push_back(parameter.tensor.detach().clone());
    if (!parameter.tensor.is_floating_point()) continue;
    const double bit = parameter.tensor.scalar_type() == at::kDouble ? 0x1p-51 : 0x1p-22;
    parameter.tensor.detach().mul_(at::randint(0, 2, parameter.tensor.sizes(), own, parameter.tensor.options()).mul_(2 * bit).add_(1 - bit));
  }
  snapshot.restore();
  Tape tape;
  StepResults results(&tape);
  Eager changed;
  {
    const at::AutoGradMode grad_mode(true);
    changed = record(request, batch, tape, results);
  }
  for (std::size_t i = 0; i < kept.size(); ++i) request.parameters[i].tensor.detach().copy_(kept[i]);
  double apart = 0;
  for (std::size_t i = 0; i < eager.gradients.size(); ++i) {
    if (eager.gradients[i].defined()) apart = std::max(apart, difference(eager.gradients[i], changed.gradients[i], scale));
  }
  return apart;
}

}  // namespace

TapeText record_text(const CaptureRequest& request, const Batch& batch) {
  const Snapshot snapshot(request, at::kCPU);
  Tape tape;
  StepResults results(&tape);
  record(request, private_copy(batch), tape, results);
  return TapeText(tape);
}

Captured capture(const CaptureRequest& request, const Batch& given, const CompileOptions& options) {
  Snapshot snapshot(request, at::kCPU);
  const Batch batch = private_copy(given);
  Tape tape;
  StepResults results(&tape);
  Eager eager = record(request, batch, tape, results);
  // Another thread may have seeded it, once; a step that does seeds it every time.
  for (int again = 0; snapshot.seeded(); ++again) {
    if (again == 2) {
      throw NotCapturable("the random generator is seeded within the step (torch::manual_seed); seed it outside");
    }
    snapshot.restore();
    tape = Tape();
    results = StepResults(&tape);
    eager = record(request, batch, tape, results);
  }
  if (!tape.draws()) snapshot.nothing_drawn();

  std::vector<Result> outputs;
  Captured captured;
  captured.has_loss = eager.loss.defined();
  if (eager.loss.defined()) {
    outputs.push_back({.kind = Output::Kind::result, .index = -1, .name = "loss", .tensor = eager.loss.detach(),
                       .after = tape.records.size()});
    eager.results.push_back(eager.loss.detach());
  }
  for (const Result& result : results.list()) {
    outputs.push_back(result);
    eager.results.push_back(result.tensor);
  }
  for (std::size_t i = 0; i < eager.gradients.size(); ++i) {
    captured.has_gradient.push_back(eager.gradients[i].defined());
    if (!eager.gradients[i].defined()) continue;
    outputs.push_back({.kind = Output::Kind::gradient, .index = static_cast<int>(i), .name = request.parameters[i].name,
                       .tensor = eager.gradients[i], .after = tape.records.size()});
  }

  if (debug::checks_steps()) captured.text.emplace(tape);
  std::vector<at::Tensor> inputs(batch.begin(), batch.end());
  Graph graph = [&] {
    try {
      return lift(tape, inputs, known_tensors(request), outputs);
    } catch (const NotCapturable& error) {
      if (!error.call) throw;
      snapshot.restore();
      throw NotCapturable(error.what() + place_of_call(request, batch, tape, *error.call));
    }
  }();
  if (!request.follows_modes && std::ranges::any_of(graph.nodes, &Node::random)) {
    throw NotCapturable(
        "it draws random numbers, as dropout does in train mode, and does not know the model whose mode that is; write "
        "compile_step(model, optimizer, step)");
  }
  const auto structure = structure_of(graph, request.targets, options);
  if (structure && !debug::dumps()) {
    if (const auto known = CodeCache::instance().find(*structure)) {
      if (!known->refusal.empty()) {
        NotCapturable refused(known->refusal);
        refused.known = true;
        throw refused;
      }
      captured.code = known->code;
      captured.program = std::make_unique<Program>(known->code, known->bind(graph, request.targets));
      captured.program->set_generator(request.generator);
      captured.notes = known->notes;
      captured.notes.emplace_back("code shared with an earlier step of the same structure");
      captured.boxed = known->boxed;
      return captured;
    }
  }

  auto shared = std::make_shared<SharedCode>();
  const Sources sources(graph, request.targets);
  run_passes(graph, request.targets, options, debug::observer());
  Lowered lowered = lower(graph, {.native = options.fuse});
  for (const at::Tensor& external : lowered.externals) shared->externals.push_back(sources.of(external));
  shared->code = captured.code = lowered.code;
  shared->notes = captured.notes = graph.notes;
  shared->boxed = captured.boxed = boxed_names(*captured.code);
  captured.program = std::make_unique<Program>(captured.code, std::move(lowered.externals));
  debug::lowered(*captured.code);

  // The shadow step: from the same state the program has to give what eager gave.
  for (const Named& external : request.externals) eager.externals.push_back(external.tensor.detach().clone());
  snapshot.restore();
  {
    const at::NoGradGuard no_grad;
    if (request.targets.accumulate) {
      for (const at::Tensor& view : request.targets.views) at::Tensor(view).zero_();
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (i < captured.code->inputs.size() && captured.code->inputs[i] > 0) {
        captured.program->set_input(i, inputs[i].const_data_ptr());
      }
    }
    captured.program->run_with_captured_draws();
    const auto refuse = [&](const std::string& what, double apart) {
      std::ostringstream text;
      text << "the program's " << what << " differs from the eager step's by " << apart
           << " of its largest element; please report this model";
      if (structure) {
        auto refused = std::make_shared<SharedCode>();
        refused->refusal = text.str();
        CodeCache::instance().insert(*structure, std::move(refused));
      }
      throw NotCapturable(text.str());
    };
    const auto compare = [&](const std::string& what, const at::Tensor& expected, const at::Tensor& seen) {
      const double apart = difference(expected, seen, 0);
      if (!(apart <= options.tolerance)) refuse(what, apart);
    };
    for (std::size_t i = 0; i < eager.results.size(); ++i) {
      const auto& result = captured.code->results[i];
      compare(result.name, eager.results[i], view_of(captured.program->result(i), result.value));
    }
    for (std::size_t i = 0; i < eager.externals.size(); ++i) {
      compare(request.externals[i].name, eager.externals[i], request.externals[i].tensor);
    }
    // A gradient that cancels, of what stands before a normalisation, is nothing but rounding: beside the others it
    // does not count.
    double largest = 1e-3 * magnitude(eager.loss);
    for (const at::Tensor& gradient : eager.gradients) largest = std::max(largest, magnitude(gradient));
    double apart = 0;
    std::size_t worst = 0;
    for (std::size_t i = 0; i < eager.gradients.size(); ++i) {
      if (!eager.gradients[i].defined()) continue;
      const double own = difference(eager.gradients[i], request.targets.views[i], largest);
      if (own > apart || std::isnan(own)) apart = own, worst = i;
    }
    if (!(apart <= options.tolerance)) {
      const bool close = apart <= kMostRounding && apart <= 4 * rounding(request, batch, snapshot, eager, largest);
      if (!close) refuse("gradient of " + request.parameters[worst].name, apart);
    }
  }
  captured.program->set_generator(request.generator);
  lowered.code->forget_draws();
  if (structure) CodeCache::instance().insert(*structure, std::move(shared));
  return captured;
}

}  // namespace levin::compile
