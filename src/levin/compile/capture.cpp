#include <levin/compile/capture.h>

#include <levin/compile/choose_threads.h>
#include <levin/compile/code_cache.h>
#include <levin/compile/debug.h>
#include <levin/compile/lower.h>
#include <levin/compile/team.h>
#include <levin/compile/trial_step.h>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <map>
#include <sstream>

namespace levin::compile {
namespace {

// What two tensors of one shape have in common.
struct Comparison {
  double largest = 0;  ///< finite element of the first, by magnitude
  double apart = 0;    ///< the largest difference; equal infinities and NaNs do not differ, else it is NaN for a NaN
};

template <class T>
Comparison compare_elements(const T* a, const T* b, std::int64_t count) {
  double largest = 0, apart = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const double x = a[i], y = b[i], difference = std::abs(x - y);
    if (std::abs(x) > largest && std::isfinite(x)) largest = std::abs(x);
    if (difference <= apart || x == y || (std::isnan(x) && std::isnan(y))) continue;
    if (std::isnan(difference)) return {.largest = largest, .apart = difference};
    apart = difference;
  }
  return {.largest = largest, .apart = apart};
}

Comparison compare(const at::Tensor& expected, const at::Tensor& seen) {
  const bool floats = expected.scalar_type() == at::kFloat && seen.scalar_type() == at::kFloat;
  const at::ScalarType type = floats ? at::kFloat : at::kDouble;
  const at::Tensor a = expected.detach().to(type).contiguous(), b = seen.detach().to(type).contiguous();
  if (floats) return compare_elements(a.const_data_ptr<float>(), b.const_data_ptr<float>(), a.numel());
  return compare_elements(a.const_data_ptr<double>(), b.const_data_ptr<double>(), a.numel());
}

// The largest element, by magnitude.
double magnitude(const at::Tensor& tensor) { return tensor.defined() ? compare(tensor, tensor).largest : 0; }

// The largest difference, relative to the largest element of the expected tensor or to `scale` if that is larger.
double difference(const at::Tensor& expected, const at::Tensor& seen, double scale) {
  const Comparison both = compare(expected, seen);
  return both.apart == 0 ? 0 : both.apart / std::max({both.largest, scale, 1e-6});
}

at::Tensor view_of(const std::byte* address, const Value& value) {
  return at::from_blob(const_cast<std::byte*>(address), value.sizes, value.strides, at::TensorOptions(value.dtype));
}

struct Eager {
  at::Tensor loss;
  std::vector<at::Tensor> results, gradients, externals;
};

// How long the parts of a capture took, for explain().
class Phases {
 public:
  /** What has run since the last one ended. */
  void end(const char* name) {
    const auto now = Clock::now();
    parts_.emplace_back(name, Milliseconds(now - last_).count());
    last_ = now;
  }
  std::string to_string() const {
    std::ostringstream out;
    out << std::fixed << std::setprecision(2) << "captured in " << Milliseconds(last_ - begin_).count() << " ms:";
    for (std::size_t i = 0; i < parts_.size(); ++i) out << (i ? ", " : " ") << parts_[i].first << ' ' << parts_[i].second;
    return out.str();
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Milliseconds = std::chrono::duration<double, std::milli>;
  Clock::time_point begin_ = Clock::now(), last_ = begin_;
  std::vector<std::pair<const char*, double>> parts_;
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

constexpr std::size_t kMuchMemory = 1 << 20;  // bytes: what is free elsewhere is returned before so much is taken

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
    if (eager.loss.defined()) eager.loss = eager.loss.detach();  // lets go of what backward needed
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

using Gradients = std::vector<at::Tensor>;

// The largest difference of two runs' gradients, and whose it is; NaN where one of them alone is NaN.
std::pair<double, std::size_t> gradients_apart(const Gradients& expected, const Gradients& seen, double scale) {
  std::pair<double, std::size_t> worst{0, 0};
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!expected[i].defined()) continue;
    const double own = seen[i].defined() ? difference(expected[i], seen[i], scale) : std::nan("");
    if (!(own <= worst.first)) worst = {own, i};
    if (std::isnan(own)) break;
  }
  return worst;
}

// Parameters whose last bits are changed while it lives. The changes grow: 2, 2, 4, 4, 8, 8 units in the last place.
class Perturbed {
 public:
  Perturbed(const std::vector<Named>& parameters, int trial) {
    const at::Generator own = at::detail::createCPUGenerator(static_cast<std::uint64_t>(trial));  // not the user's
    for (const Named& parameter : parameters) {
      if (!parameter.tensor.is_floating_point()) continue;
      const at::Tensor tensor = parameter.tensor.detach();
      kept_.emplace_back(tensor, tensor.clone());
      const double bits = std::exp2((tensor.scalar_type() == at::kDouble ? -51 : -22) + trial / 2);
      tensor.mul_(at::randint(0, 2, tensor.sizes(), own, tensor.options()).mul_(2 * bits).add_(1 - bits));
    }
  }
  ~Perturbed() {
    for (const auto& [tensor, before] : kept_) tensor.copy_(before);
  }
  Perturbed(const Perturbed&) = delete;
  Perturbed& operator=(const Perturbed&) = delete;

 private:
  std::vector<std::pair<at::Tensor, at::Tensor>> kept_;
};

/**
 * Whether a difference of the gradients is rounding. In deep networks of relu and pooling elements near a tie fall to
 * the other side, and gradients jump by far more than the bits did. Eager step and program run again with parameters
 * changed in their last bits. Where ties are few, a run of the one then agrees with a run of the other; a program that
 * is wrong stays so. Where there are so many that no two runs fall alike, the program may be as far from the eager step
 * as a few times what the changes make on average (geometric: a single jump counts little).
 */
class RoundingCheck {
 public:
  static constexpr double kMost = 0.05;  ///< beyond this it is never taken for rounding
  static constexpr int kTrials = 6, kFewest = 2;
  static constexpr double kTimes = 3;

  const CaptureRequest& request;
  const Batch& batch;
  Snapshot& snapshot;
  double tolerance, scale;
  std::function<Gradients()> program;  ///< runs one made anew: eager steps have the memory to themselves

  bool passes(const Gradients& eager, const Gradients& seen, double apart) {
    if (!(apart <= kMost)) return false;
    std::vector<Gradients> eagers{eager}, programs{seen};
    double logs = 0;
    for (int trial = 0; trial < kTrials; ++trial) {
      const Perturbed perturbed(request.parameters, trial);
      eagers.push_back(run_eagerly());
      if (any_agrees({eagers.back()}, programs)) return true;
      const double own = gradients_apart(eager, eagers.back(), scale).first;
      if (own <= tolerance) {  // else ties are many
        programs.push_back(program());
        if (any_agrees(eagers, {programs.back()})) return true;
      }
      logs += std::log(std::max(own, 1e-12));
      if (trial + 1 >= kFewest && apart <= kTimes * std::exp(logs / (trial + 1))) return true;
    }
    return false;
  }

 private:
  Gradients run_eagerly() {
    snapshot.restore();
    return_free_memory();
    const Tape unused;
    StepResults results(&unused);
    const at::AutoGradMode grad_mode(true);
    return gradients_of(request, request.function(batch, results));
  }
  bool any_agrees(const std::vector<Gradients>& expected, const std::vector<Gradients>& seen) const {
    return std::ranges::any_of(expected, [&](const Gradients& a) {
      return std::ranges::any_of(seen, [&](const Gradients& b) { return gradients_apart(a, b, scale).first <= tolerance; });
    });
  }
};

void take_shared(Captured& captured, const SharedCode& known, const Graph& graph, const CaptureRequest& request) {
  if (!known.refusal.empty()) {
    NotCapturable refused(known.refusal);
    refused.known = true;
    throw refused;
  }
  captured.code = known.code;
  if (captured.code->arena_bytes >= kMuchMemory) return_free_memory();
  captured.program = std::make_unique<Program>(known.code, known.bind(graph, request.targets));
  captured.program->set_generator(request.generator);
  captured.notes = known.notes;
  captured.notes.emplace_back("code shared with an earlier step of the same structure");
  captured.boxed = known.boxed;
}

// The same kernels in the same order.
bool same_work(const Code& a, const Code& b) {
  return std::ranges::equal(a.steps, b.steps, [](const Code::Step& x, const Code::Step& y) {
    return x.name == y.name && x.run == y.run;
  });
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
  Phases phases;
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
  phases.end("recorded step");

  std::vector<Result> outputs;
  Captured captured;
  captured.has_loss = eager.loss.defined();
  if (eager.loss.defined()) {
    outputs.push_back({.kind = Output::Kind::result, .index = -1, .name = "loss", .tensor = eager.loss,
                       .after = tape.records.size()});
    eager.results.push_back(eager.loss);
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
  tape = Tape();  // its memory is free for the program's
  const auto structure = structure_of(graph, request.targets, options);
  phases.end("lift");
  std::optional<CodeCache::Place> place;
  Lowered lowered;
  auto shared = std::make_shared<SharedCode>();
  for (;;) {
    Graph own = graph;
    if (structure && !debug::dumps()) {
      place = CodeCache::instance().find(*structure);
      read_from_memory(own, structure->numbers, place->open);
      if (place->code) {
        take_shared(captured, *place->code, own, request);
        phases.end("memory");
        captured.notes.push_back(phases.to_string());
        return captured;
      }
    }
    return_free_memory();
    const Sources sources(own, request.targets);
    run_passes(own, request.targets, options, debug::observer());
    phases.end("passes");
    lowered = lower(own, {.native = options.fuse});
    phases.end("lowering");
    const auto open = place ? std::ranges::count(place->open, true) : 0;
    // Where a pass looks at a number, the same step in another process, which has met no other, would compute otherwise.
    if (open > 0 && !same_work(*place->first->code, *lowered.code)) {
      CodeCache::instance().keep_numbers(*structure);
      continue;
    }
    for (const at::Tensor& external : lowered.externals) shared->externals.push_back(sources.of(external));
    shared->code = captured.code = lowered.code;
    if (open > 0) own.note("numbers in memory, as they differ between steps: " + std::to_string(open));
    shared->notes = captured.notes = own.notes;
    shared->boxed = captured.boxed = boxed_names(*captured.code);
    break;
  }
  const auto make_program = [&] {
    captured.program.reset();
    if (captured.code->arena_bytes >= kMuchMemory) return_free_memory();
    captured.program = std::make_unique<Program>(captured.code, lowered.externals);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (i < captured.code->inputs.size() && captured.code->inputs[i] > 0) {
        captured.program->set_input(i, inputs[i].const_data_ptr());
      }
    }
  };
  make_program();
  phases.end("memory");
  debug::lowered(*captured.code);

  // The shadow step: from the same state the program has to give what eager gave.
  for (const Named& external : request.externals) eager.externals.push_back(external.tensor.detach().clone());
  const auto restore_state = [&] {
    snapshot.restore();
    if (request.targets.accumulate) {
      for (const at::Tensor& view : request.targets.views) at::Tensor(view).zero_();
    }
  };
  const auto run_program = [&] {
    restore_state();
    captured.program->run_with_captured_draws();
  };
  {
    const at::NoGradGuard no_grad;
    run_program();
    phases.end("shadow step");
    const auto refuse = [&](const std::string& what, double apart) {
      std::ostringstream text;
      text << "the program's " << what << " differs from the eager step's by " << apart
           << " of its largest element; please report this model";
      if (place) {
        auto refused = std::make_shared<SharedCode>();
        refused->refusal = text.str();
        CodeCache::instance().insert(*place, *structure, std::move(refused));
      }
      throw NotCapturable(text.str());
    };
    const auto expect_equal = [&](const std::string& what, const at::Tensor& expected, const at::Tensor& seen) {
      const double apart = difference(expected, seen, 0);
      if (!(apart <= options.tolerance)) refuse(what, apart);
    };
    for (std::size_t i = 0; i < eager.results.size(); ++i) {
      const auto& result = captured.code->results[i];
      expect_equal(result.name, eager.results[i], view_of(captured.program->result(i), result.value));
    }
    for (std::size_t i = 0; i < eager.externals.size(); ++i) {
      expect_equal(request.externals[i].name, eager.externals[i], request.externals[i].tensor);
    }
    // A gradient that cancels, of what stands before a normalisation, is nothing but rounding: beside the others it
    // does not count.
    double largest = 1e-3 * magnitude(eager.loss);
    for (const at::Tensor& gradient : eager.gradients) largest = std::max(largest, magnitude(gradient));
    const auto [apart, worst] = gradients_apart(eager.gradients, request.targets.views, largest);
    if (!(apart <= options.tolerance)) {
      const auto clones = [&] {
        Gradients copies;
        for (const at::Tensor& view : request.targets.views) copies.push_back(view.defined() ? view.clone() : view);
        return copies;
      };
      RoundingCheck check{.request = request, .batch = batch, .snapshot = snapshot, .tolerance = options.tolerance,
                          .scale = largest, .program = [&] {
                            make_program();
                            run_program();
                            captured.program.reset();
                            return clones();
                          }};
      captured.program.reset();
      if (!check.passes(eager.gradients, clones(), apart)) refuse("gradient of " + request.parameters[worst].name, apart);
      make_program();
    }
  }
  phases.end("comparison");
  at::get_num_threads();  // sets LibTorch's threads up, once
  const int threads = threads_allowed(options.threads);
  if (options.fuse && threads > 1) {
    const at::NoGradGuard no_grad;
    choose_threads(*lowered.code, threads, make_program, [&](std::vector<double>& least) {
      restore_state();
      captured.program->run_timed(least);
    });
    const auto split = std::ranges::count_if(captured.code->steps, &Code::Step::split);
    if (split > 0) {
      captured.notes.push_back(std::to_string(split) + " instructions on " + std::to_string(threads) + " threads");
    }
    phases.end("threads");
  }
  captured.program->set_generator(request.generator);
  lowered.code->forget_draws();
  if (place) CodeCache::instance().insert(*place, *structure, std::move(shared));
  captured.notes.push_back(phases.to_string());
  return captured;
}

}  // namespace levin::compile
