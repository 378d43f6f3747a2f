#include <levin/compile/program.h>

#include <levin/compile/flush_denormals.h>
#include <levin/compile/team.h>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <limits>

namespace levin::compile {
namespace {

constexpr std::size_t kAlignment = 64;

// Zeroed; large memory comes from the system as zeros that are made when they are met first. What calloc gave stands
// before it.
std::unique_ptr<std::byte[], void (*)(std::byte*)> allocate(std::size_t bytes) {
  constexpr std::size_t before = kAlignment + sizeof(void*);
  void* const whole = std::calloc(1, bytes + before);
  if (whole == nullptr) throw std::bad_alloc();
  const auto address = (reinterpret_cast<std::uintptr_t>(whole) + before) / kAlignment * kAlignment;
  auto* const memory = reinterpret_cast<std::byte*>(address);
  std::memcpy(memory - sizeof(void*), &whole, sizeof(void*));
  return {memory, [](std::byte* pointer) {
            void* given = nullptr;
            std::memcpy(&given, pointer - sizeof(void*), sizeof(void*));
            std::free(given);
          }};
}

// Each further thread needs a workspace of its own.
std::size_t arena_bytes(const Code& code) {
  const std::size_t further = code.splits() ? static_cast<std::size_t>(code.threads - 1) : 0;
  return code.arena_bytes + further * code.workspace_bytes;
}

}  // namespace

/** The tensors over a program's memory that one boxed call takes. */
struct BoxedState {
  Program* program;
  const Code::Step* step;
  std::vector<at::Tensor> tensors;     // one an operand; made anew where the memory moves
  std::vector<std::byte*> data;        // where the tensor points
  torch::jit::Stack stack;

  const at::Tensor& tensor(int operand) {
    const auto i = static_cast<std::size_t>(operand);
    const Place& place = program->code_->places[step->first_operand + i];
    std::byte* address = program->addresses_[step->first_operand + i];
    const Value& value = step->boxed->values[i];
    if (place.kind == Place::Kind::boxed) {
      // A view of the tensor that the earlier call returned.
      const at::Tensor& whole = program->boxed_[static_cast<std::size_t>(place.index)];
      if (whole.sizes() == at::IntArrayRef(value.sizes) && whole.strides() == at::IntArrayRef(value.strides) &&
          whole.scalar_type() == value.dtype && whole.const_data_ptr() == address) {
        return whole;
      }
      tensors[i] = view(address, value);
      return tensors[i];
    }
    if (!tensors[i].defined() || data[i] != address) {
      tensors[i] = view(address, value);
      data[i] = address;
    }
    return tensors[i];
  }

  double number(int operand) const {
    return *reinterpret_cast<const double*>(program->addresses_[step->first_operand + static_cast<std::size_t>(operand)]);
  }

  static at::Tensor view(std::byte* address, const Value& value) {
    return at::from_blob(address, value.sizes, value.strides, at::TensorOptions(value.dtype));
  }

  static void run(const Instruction& instruction) { static_cast<BoxedState*>(instruction.state)->call(); }

  void call() {
    const BoxedCall& boxed = *step->boxed;
    if (!boxed.op) {
      tensor(0).copy_(tensor(1));
    } else {
      stack.clear();
      for (const BoxedCall::Operand& argument : boxed.arguments) {
        if (static_cast<int>(stack.size()) == boxed.generator && program->generator_.defined()) {
          stack.emplace_back(program->generator_);
          continue;
        }
        switch (argument.kind) {
          case Argument::Kind::constant: stack.push_back(argument.constant); break;
          case Argument::Kind::value:
            stack.emplace_back(argument.operands[0] == kNone ? at::Tensor() : tensor(argument.operands[0]));
            break;
          case Argument::Kind::values: push_list(argument); break;
          case Argument::Kind::number: stack.emplace_back(number(argument.operands[0])); break;
        }
      }
      boxed.op->callBoxed(&stack);
      if (program->captured_draws_ && boxed.draw.defined()) stack.front().toTensor().copy_(boxed.draw);
      take_results(boxed);
      stack.clear();
    }
  }

  void push_list(const BoxedCall::Operand& argument) {
    if (argument.constant.isNone()) {
      std::vector<at::Tensor> list;
      for (const int operand : argument.operands) list.push_back(operand == kNone ? at::Tensor() : tensor(operand));
      stack.emplace_back(std::move(list));
    } else {
      c10::List<std::optional<at::Tensor>> list;
      for (const int operand : argument.operands) {
        list.push_back(operand == kNone ? std::optional<at::Tensor>() : std::optional<at::Tensor>(tensor(operand)));
      }
      stack.emplace_back(std::move(list));
    }
  }

  void take_results(const BoxedCall& boxed) {
    std::size_t r = 0;
    const auto take = [&](const at::Tensor& tensor) {
      const BufferId buffer = boxed.results[r];
      const std::int64_t offset = boxed.offsets[r];
      ++r;
      if (buffer == kNone || !tensor.defined()) return;
      auto* base = static_cast<std::byte*>(tensor.data_ptr()) - offset;
      for (const std::size_t operand : program->boxed_operands_[static_cast<std::size_t>(buffer)]) {
        program->addresses_[operand] = base + program->place_offset(operand);
      }
      program->boxed_[static_cast<std::size_t>(buffer)] = tensor;
    };
    for (const c10::IValue& value : stack) {
      if (value.isTensor()) {
        take(value.toTensor());
      } else if (value.isTensorList()) {
        for (const at::Tensor& tensor : value.toTensorVector()) take(tensor);
      }
    }
  }
};

/** An instruction that several threads share. */
struct SplitState {
  bool flush;  ///< denormals, as the program's own thread does
  std::vector<Part> parts;
  std::vector<Instruction> instructions;
};

void Program::run_split(const Instruction& instruction) {
  const auto& split = *static_cast<const SplitState*>(instruction.state);
  const auto work = [&](int part) {
    std::optional<FlushDenormals> flush;
    if (split.flush) flush.emplace();
    const Instruction& own = split.instructions[static_cast<std::size_t>(part)];
    own.run(own);
  };
  run_parts(static_cast<int>(split.parts.size()), work);
}

Instruction Program::split(const Instruction& whole, const Code::Step& step) {
  const auto count = static_cast<int>(std::min<std::int64_t>(code_->threads, step.pieces));
  auto state = std::make_unique<SplitState>();
  state->flush = code_->boxed_calls == 0;
  for (int p = 0; p < count; ++p) state->parts.push_back({.index = p, .count = count});
  for (int p = 0; p < count; ++p) {
    Instruction own = whole;
    own.state = &state->parts[static_cast<std::size_t>(p)];
    if (p > 0 && step.has_workspace) {
      own.at = addresses_.data() + addresses_.size();
      for (std::size_t i = 0; i < step.operands; ++i) {
        Place place = code_->places[step.first_operand + i];
        if (i + 1 == step.operands) place.offset += p * static_cast<std::int64_t>(code_->workspace_bytes);
        addresses_.push_back(bind(place));
        part_places_.push_back(place);
      }
    }
    state->instructions.push_back(own);
  }
  split_states_.push_back(std::move(state));
  return {.run = &run_split, .spec = nullptr, .at = nullptr, .state = split_states_.back().get()};
}

bool Code::splits() const { return std::ranges::any_of(steps, &Step::split); }

void Code::forget_draws() {
  for (Step& step : steps) {
    if (step.boxed) step.boxed->draw.reset();
    if (step.drawn) step.drawn->captured.reset();
  }
}

Program::Program(std::shared_ptr<const Code> code, std::vector<at::Tensor> externals)
    : code_(std::move(code)), arena_(allocate(arena_bytes(*code_))), externals_(std::move(externals)),
      boxed_(code_->boxed_buffers), boxed_operands_(code_->boxed_buffers) {
  inputs_.resize(code_->inputs.size());
  std::size_t further = 0;
  for (const Code::Step& step : code_->steps) {
    if (step.split && step.has_workspace) further += step.operands * static_cast<std::size_t>(code_->threads - 1);
  }
  addresses_.reserve(code_->places.size() + code_->results.size() + further);
  for (const Place& place : code_->places) addresses_.push_back(bind(place));
  for (const Code::Result& result : code_->results) {
    addresses_.push_back(bind(result.place));
    result_addresses_.push_back(&addresses_.back());
  }
  instructions_.reserve(code_->steps.size());
  for (const Code::Step& step : code_->steps) {
    Instruction instruction{
        .run = step.run, .spec = step.spec.get(), .at = addresses_.data() + step.first_operand, .state = nullptr};
    if (step.boxed) {
      boxed_states_.push_back(std::make_unique<BoxedState>(BoxedState{
          .program = this, .step = &step, .tensors = std::vector<at::Tensor>(step.operands),
          .data = std::vector<std::byte*>(step.operands), .stack = {}}));
      instruction.run = &BoxedState::run;
      instruction.state = boxed_states_.back().get();
    }
    if (step.drawn) {
      instruction.run = &draw;
      instruction.spec = &step;
      instruction.state = this;
    }
    instructions_.push_back(step.split ? split(instruction, step) : instruction);
    if (!step.last_uses.empty()) {
      instructions_.push_back({.run = &let_go, .spec = &step.last_uses, .at = nullptr, .state = this});
    }
  }
}

Program::~Program() = default;

// The address of the next operand.
std::byte* Program::bind(const Place& place) {
  switch (place.kind) {
    case Place::Kind::arena: return arena_.get() + place.offset;
    case Place::Kind::external: {
      const at::Tensor& owner = externals_[static_cast<std::size_t>(place.index)];
      return static_cast<std::byte*>(owner.storage().mutable_data()) + place.offset;
    }
    case Place::Kind::input: inputs_[static_cast<std::size_t>(place.index)].operands.push_back(addresses_.size()); break;
    case Place::Kind::boxed: boxed_operands_[static_cast<std::size_t>(place.index)].push_back(addresses_.size()); break;
    case Place::Kind::none: break;
  }
  return nullptr;
}

void Program::draw(const Instruction& instruction) {
  const auto& step = instruction.as<Code::Step>();
  auto* const program = static_cast<Program*>(instruction.state);
  step.run({.run = step.run, .spec = step.spec.get(), .at = instruction.at, .state = program});
  const Code::Drawn& drawn = *step.drawn;
  if (program->captured_draws_ && drawn.captured.defined()) {
    BoxedState::view(instruction.at[0], drawn.value).copy_(drawn.captured);
  }
}

std::uint64_t Program::draw_key() {
  const at::Generator& generator = generator_.defined() ? generator_ : at::detail::getDefaultCPUGenerator();
  auto* const random = at::check_generator<at::CPUGeneratorImpl>(generator);
  const std::lock_guard lock(random->mutex_);
  return random->random64();
}

// What boxed calls returned and nobody reads any more.
void Program::let_go(const Instruction& instruction) {
  auto& boxed = static_cast<Program*>(instruction.state)->boxed_;
  for (const BufferId buffer : instruction.as<std::vector<BufferId>>()) boxed[static_cast<std::size_t>(buffer)].reset();
}

std::int64_t Program::place_offset(std::size_t operand) const {
  const auto count = code_->places.size(), with_results = count + code_->results.size();
  if (operand >= with_results) return part_places_[operand - with_results].offset;
  return operand < count ? code_->places[operand].offset : code_->results[operand - count].place.offset;
}

void Program::move_input(std::size_t index, const void* data) {
  Input& input = inputs_[index];
  input.data = data;
  auto* base = static_cast<std::byte*>(const_cast<void*>(data));
  for (const std::size_t operand : input.operands) addresses_[operand] = base + place_offset(operand);
}

void Program::run() {
  if (code_->boxed_calls == 0) {
    const FlushDenormals flush;
    return run_all();
  }
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  // Some kernels look whether gradients are wanted, and keep for backward what the recorded ones kept.
  const at::AutoGradMode grad_mode(true);
  run_all();
}

void Program::run_with_captured_draws() {
  captured_draws_ = true;
  run();
  captured_draws_ = false;
}

void Program::run_timed(std::vector<double>& least) {
  least.resize(code_->steps.size(), std::numeric_limits<double>::infinity());
  times_ = &least;
  run_with_captured_draws();
  times_ = nullptr;
}

void Program::time_all() {
  std::size_t step = 0;
  for (const Instruction& instruction : instructions_) {
    const auto begin = std::chrono::steady_clock::now();
    instruction.run(instruction);
    if (instruction.run == &let_go) continue;
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    double& least = (*times_)[step++];
    least = std::min(least, took.count());
  }
}

std::size_t Program::memory_bytes() const {
  return arena_bytes(*code_) + addresses_.capacity() * sizeof(std::byte*) +
         instructions_.capacity() * sizeof(Instruction);
}

}  // namespace levin::compile
