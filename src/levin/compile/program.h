// Program: a step as a flat list of instructions over raw memory. Code is what all copies share; a Program has memory.
#pragma once

#include <levin/compile/graph.h>

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::compile {

/** Where an operand lies; an address comes of it when a program is bound to its memory. */
struct Place {
  enum class Kind { none, arena, external, input, boxed };
  Kind kind = Kind::none;
  int index = 0;            ///< of the external, the input, or the buffer that a boxed call returned
  std::int64_t offset = 0;  ///< bytes
};

/** One of the parts of an instruction that several threads share. */
struct Part {
  int index = 0, count = 1;
};

/** One call. The kernel finds its settings in `spec` and its operands in `at`. */
struct Instruction {
  using Run = void (*)(const Instruction&);
  Run run = nullptr;
  const void* spec = nullptr;
  std::byte* const* at = nullptr;
  void* state = nullptr;  ///< a boxed call's, of its program; the program where tensors are let go or numbers drawn;
                          ///< the Part of a native one that is not whole

  /** What a native instruction is to compute of so many units, cut at multiples of `step`: [begin, end). */
  std::pair<std::int64_t, std::int64_t> range(std::int64_t units, std::int64_t step = 1) const {
    if (state == nullptr) return {0, units};
    const auto& part = *static_cast<const Part*>(state);
    const std::int64_t pieces = (units + step - 1) / step;
    const auto cut = [&](std::int64_t i) { return std::min(units, pieces * i / part.count * step); };
    return {cut(part.index), cut(part.index + 1)};
  }

  template <class T>
  T* operand(std::size_t i) const {
    return reinterpret_cast<T*>(at[i]);
  }
  template <class Spec>
  const Spec& as() const {
    return *static_cast<const Spec*>(spec);
  }
};

/** A call of an ATen operator on tensors that alias the program's memory: right for every operator. */
struct BoxedCall {
  struct Operand {
    Argument::Kind kind = Argument::Kind::constant;
    std::vector<int> operands;  ///< numbers of operands of the instruction; kNone for an undefined tensor
    c10::IValue constant;
  };
  std::optional<c10::OperatorHandle> op;  ///< none: copies operand 1 into operand 0
  std::vector<Operand> arguments;
  std::vector<Value> values;          ///< what each operand of the instruction is
  std::vector<BufferId> results;      ///< the buffer that each returned tensor becomes, or kNone
  std::vector<std::int64_t> offsets;  ///< where in it the tensor begins, bytes
  int generator = kNone;              ///< of a random operator: which argument its generator is
  at::Tensor draw;                    ///< of a random operator: what it drew when it was captured, until that was checked
};

/** What all copies of a program share: nothing in it is of one step's memory. Immutable once it was checked. */
struct Code {
  /** What a native random operator fills. */
  struct Drawn {
    Value value;
    at::Tensor captured;  ///< as BoxedCall::draw
  };
  struct Step {
    std::string name;  ///< of the node, for dumps and profiles
    Instruction::Run run = nullptr;
    std::shared_ptr<const void> spec;
    std::size_t first_operand = 0, operands = 0;
    std::shared_ptr<BoxedCall> boxed;
    std::optional<Drawn> drawn;
    std::int64_t pieces = 1;     ///< that it can be cut into, for several threads
    bool has_workspace = false;  ///< its last operand; each part has its own
    bool split = false;          ///< into a part for each thread
    std::vector<BufferId> last_uses;  ///< boxed buffers to let go afterwards
  };
  std::vector<Step> steps;
  std::vector<Place> places;  ///< operands of all steps
  std::size_t arena_bytes = 0;
  std::size_t workspace_bytes = 0;  ///< of one thread, the end of the arena
  int threads = 1;                  ///< of steps that are split
  std::vector<std::int64_t> inputs;   ///< bytes of each tensor of the batch; 0 where the step does not use it
  std::size_t boxed_buffers = 0;
  struct Result {
    Place place;
    Value value;
    std::string name;
  };
  std::vector<Result> results;  ///< the loss and the values given to log, in order
  std::size_t boxed_calls = 0;

  /** Whether any step is split. */
  bool splits() const;
  /** Lets go of what random operators drew when they were captured. */
  void forget_draws();
};

/** An executable copy of a Code. One thread at a time. */
class Program {
 public:
  /** `externals`: the memory that the code's `external` places are in, in their order. */
  Program(std::shared_ptr<const Code> code, std::vector<at::Tensor> externals);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /** Sets the address of a tensor of the batch. */
  void set_input(std::size_t index, const void* data) {
    if (inputs_[index].data != data) move_input(index, data);
  }
  /** What random operators draw from, in the place of the default generator. */
  void set_generator(at::Generator generator) { generator_ = std::move(generator); }
  /** Runs all instructions; under no-grad dispatch where there are boxed calls. */
  void run();
  /** As run(), with the random numbers of the capture. */
  void run_with_captured_draws();
  /** As above, and keeps how long each step of the code took, nanoseconds, where that is less than in `least`. */
  void run_timed(std::vector<double>& least);

  /** The key of a stream of random numbers, drawn from the program's generator. */
  std::uint64_t draw_key();

  const Code& code() const { return *code_; }
  /** The address of a result after run(). */
  const std::byte* result(std::size_t index) const { return *result_addresses_[index]; }
  std::size_t memory_bytes() const;

 private:
  friend struct BoxedState;
  struct Input {
    const void* data = nullptr;
    std::vector<std::size_t> operands;
  };
  static void let_go(const Instruction& instruction);
  static void draw(const Instruction& instruction);
  void move_input(std::size_t index, const void* data);
  std::int64_t place_offset(std::size_t operand) const;
  static void run_split(const Instruction& instruction);
  Instruction split(const Instruction& whole, const Code::Step& step);
  std::byte* bind(const Place& place);
  void run_all() {
    if (times_ != nullptr) return time_all();
    for (const Instruction& instruction : instructions_) instruction.run(instruction);
  }
  void time_all();

  std::shared_ptr<const Code> code_;
  std::unique_ptr<std::byte[], void (*)(std::byte*)> arena_;
  std::vector<std::byte*> addresses_;  // of all operands, then of the results, then of split steps' further parts
  std::vector<Place> part_places_;     // of these
  std::vector<Instruction> instructions_;
  std::vector<std::byte* const*> result_addresses_;
  std::vector<Input> inputs_;
  std::vector<at::Tensor> externals_;
  std::vector<std::unique_ptr<struct BoxedState>> boxed_states_;
  std::vector<std::unique_ptr<struct SplitState>> split_states_;
  std::vector<double>* times_ = nullptr;
  at::Generator generator_;
  bool captured_draws_ = false;
  std::vector<at::Tensor> boxed_;                          // tensors that boxed calls returned
  std::vector<std::vector<std::size_t>> boxed_operands_;   // addresses to set when one returns
};

}  // namespace levin::compile
