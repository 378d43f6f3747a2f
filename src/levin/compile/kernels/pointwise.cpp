#include <levin/compile/kernels/pointwise.h>

#include <levin/compile/kernels/pointwise_ops_impl.h>
#include <levin/compile/kernels/refuse_impl.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace levin::compile::kernels {
namespace {

struct Description {
  std::string_view name;
  int arity;
};

constexpr Description kDescriptions[] = {
    {"copy", 1},
    {"add", 2},
    {"sub", 2},
    {"mul", 2},
    {"div", 2},
    {"add_scaled", 2},
    {"sub_scaled", 2},
    {"scale_shift", 1},
    {"add_product", 3},
    {"add_quotient", 3},
    {"lerp", 2},
    {"neg", 1},
    {"abs", 1},
    {"sign", 1},
    {"square", 1},
    {"reciprocal", 1},
    {"sqrt", 1},
    {"rsqrt", 1},
    {"minimum", 2},
    {"maximum", 2},
    {"clamp", 1},
    {"floor", 1},
    {"ceil", 1},
    {"round", 1},
    {"trunc", 1},
    {"frac", 1},
    {"equal", 2},
    {"not_equal", 2},
    {"less", 2},
    {"less_equal", 2},
    {"greater", 2},
    {"greater_equal", 2},
    {"is_nan", 1},
    {"logical_not", 1},
    {"logical_and", 2},
    {"logical_or", 2},
    {"where", 3},
    {"exp", 1},
    {"exp2", 1},
    {"expm1", 1},
    {"log", 1},
    {"log2", 1},
    {"log10", 1},
    {"log1p", 1},
    {"sin", 1},
    {"cos", 1},
    {"tan", 1},
    {"sinh", 1},
    {"cosh", 1},
    {"atan", 1},
    {"erf", 1},
    {"pow", 2},
    {"pow_scalar", 1},
    {"relu", 1},
    {"threshold", 1},
    {"threshold_backward", 2},
    {"tanh", 1},
    {"tanh_backward", 2},
    {"sigmoid", 1},
    {"sigmoid_backward", 2},
    {"log_sigmoid", 1},
    {"log_sigmoid_backward", 2},
    {"leaky_relu", 1},
    {"leaky_relu_backward", 2},
    {"elu", 1},
    {"elu_backward", 2},
    {"elu_backward_result", 2},
    {"gelu", 1},
    {"gelu_backward", 2},
    {"gelu_tanh", 1},
    {"gelu_tanh_backward", 2},
    {"silu", 1},
    {"silu_backward", 2},
    {"mish", 1},
    {"mish_backward", 2},
    {"softplus", 1},
    {"softplus_backward", 2},
    {"hardtanh_backward", 2},
    {"clamp_backward", 2},
    {"hardswish", 1},
    {"hardswish_backward", 2},
    {"hardsigmoid", 1},
    {"hardsigmoid_backward", 2},
    {"softsign", 1},
    {"hardshrink", 1},
    {"softshrink", 1},
    {"shrink_backward", 2},
    {"squared_error", 2},
    {"absolute_error", 2},
    {"huber", 2},
    {"smooth_l1", 2},
    {"bce", 2},
    {"bce_logits", 2},
    {"huber_backward", 3},
    {"smooth_l1_backward", 3},
    {"bce_backward", 3},
    {"bce_logits_backward", 3},
};
static_assert(std::size(kDescriptions) == static_cast<std::size_t>(Opcode::count_));

const Description& describe(Opcode code) { return kDescriptions[static_cast<std::size_t>(code)]; }

[[noreturn]] void refuse(std::string what, std::string value) {
  kernels::refuse(std::move(what), std::move(value), "a pointwise group");
}

PointwiseLoop loop_of(const PointwiseOp& op) {
  if (const PointwiseLoop loop = basic_loop(op)) return loop;
  if (const PointwiseLoop loop = function_loop(op)) return loop;
  if (const PointwiseLoop loop = activation_loop(op)) return loop;
  refuse("no loop for a pointwise operation", std::string(name_of(op.code)));
}

constexpr int kNone = -1;

}  // namespace

std::string_view name_of(Opcode code) { return describe(code).name; }
int arity(Opcode code) { return describe(code).arity; }

void Pointwise::check() const {
  if (outer < 0 || inner < 0) refuse("a size is below zero", std::to_string(outer) + " x " + std::to_string(inner));
  const auto operand = [&](const PointwiseOp& op, int index, int reg, std::size_t place, std::size_t known) {
    if (index < arity(op.code) && (reg < 0 || static_cast<std::size_t>(reg) >= known)) {
      refuse("an operation reads a register that is not there yet", "register " + std::to_string(reg) +
                                                                        " in operation " + std::to_string(place) +
                                                                        ", " + std::string(name_of(op.code)));
    }
  };
  std::size_t known = inputs.size();
  for (std::size_t i = 0; i < ops.size(); i++, known++) {
    if (ops[i].code >= Opcode::count_) refuse("an unknown operation", std::to_string(static_cast<int>(ops[i].code)));
    operand(ops[i], 0, ops[i].a, i, known);
    operand(ops[i], 1, ops[i].b, i, known);
    operand(ops[i], 2, ops[i].c, i, known);
  }
  if (outputs.empty()) refuse("a group without outputs", "");
  for (const PointwiseOutput& output : outputs) {
    if (output.from < 0 || static_cast<std::size_t>(output.from) >= known) {
      refuse("an output of a register that is not there", std::to_string(output.from));
    }
  }
}

/**
 * How a group runs: tile by tile, each operation over the whole tile. A register is where its elements lie: an input's
 * or output's own memory where it can be, else a slot of the workspace.
 */
struct PointwiseProgram::Plan {
  struct Step {
    PointwiseLoop loop;
    PointwiseParameters parameters;
    int a, b, c, result;            // registers
    int output;                     // a full output that the result may be written to directly, or kNone
    std::vector<int> later_inputs;  // full inputs read afterwards: they must not be that output's memory
  };
  struct Register {
    Layout layout = Layout::full;
    bool input = false;
    float value = 0;
    int slot = kNone;
  };

  std::int64_t inner = 1, tile = 0;
  bool rows_in_tile = false;  // a tile is whole rows, else a part of one
  bool broadcasts = false;
  std::vector<Register> registers;
  std::vector<Step> steps;
  std::vector<PointwiseOutput> outputs;
  SumLoop sum = nullptr;
  std::size_t pointer_bytes = 0;
};

namespace {

using Plan = PointwiseProgram::Plan;

/** Runs elements [begin, end). */
void run_tiles(const Plan& plan, const float* const* inputs, float* const* outputs, void* workspace, std::int64_t begin,
               std::int64_t end) {
  auto** const at = static_cast<const float**>(workspace);  // of each register in this tile
  auto* const slots = reinterpret_cast<float*>(static_cast<std::byte*>(workspace) + plan.pointer_bytes);
  const auto slot = [&](int index) { return slots + index * plan.tile; };
  const std::int64_t inner = plan.inner;
  const auto longest = static_cast<std::size_t>(std::min(plan.tile, end - begin));

  // What is the same for all tiles.
  for (std::size_t r = 0; r < plan.registers.size(); r++) {
    const Plan::Register& reg = plan.registers[r];
    if (reg.slot != kNone) at[r] = slot(reg.slot);
    if (!reg.input || reg.slot == kNone) continue;
    if (reg.layout == Layout::scalar || reg.layout == Layout::constant) {
      std::fill_n(slot(reg.slot), longest, reg.layout == Layout::constant ? reg.value : *inputs[r]);
    } else if (reg.layout == Layout::row) {
      for (std::int64_t i = 0; i + inner <= static_cast<std::int64_t>(longest); i += inner) {
        std::memcpy(slot(reg.slot) + i, inputs[r], static_cast<std::size_t>(inner) * sizeof(float));
      }
    }
  }
  std::uint64_t direct = 0;  // steps that write into an output
  for (std::size_t s = 0; s < plan.steps.size(); s++) {
    const Plan::Step& step = plan.steps[s];
    if (step.output == kNone || s >= 64) continue;
    const bool aliased = std::any_of(step.later_inputs.begin(), step.later_inputs.end(),
                                     [&](int i) { return inputs[i] == outputs[step.output]; });
    if (!aliased) direct |= std::uint64_t{1} << s;
  }
  double sums[8] = {};
  for (std::int64_t i = begin; i < end;) {
    std::int64_t count = std::min(plan.tile, end - i), row = 0, column = 0;
    if (plan.broadcasts) {
      row = i / inner;
      column = i - row * inner;
      if (!plan.rows_in_tile) count = std::min(count, inner - column);
    }
    const auto n = static_cast<std::size_t>(count);
    for (std::size_t r = 0; r < plan.registers.size(); r++) {
      const Plan::Register& reg = plan.registers[r];
      if (!reg.input) continue;
      if (reg.layout == Layout::full) {
        at[r] = inputs[r] + i;
      } else if (reg.layout == Layout::row && reg.slot == kNone) {
        at[r] = inputs[r] + column;
      } else if (reg.layout == Layout::column) {
        float* to = slot(reg.slot);
        for (std::int64_t done = 0; done < count; row++, column = 0) {
          const std::int64_t length = std::min(count - done, inner - column);
          std::fill_n(to + done, length, inputs[r][row]);
          done += length;
        }
        row = i / inner;
        column = i - row * inner;
      }
    }
    for (std::size_t s = 0; s < plan.steps.size(); s++) {
      const Plan::Step& step = plan.steps[s];
      float* result;
      if (s < 64 && (direct >> s & 1) != 0) {
        result = outputs[step.output] + i;
        at[step.result] = result;
      } else {
        result = slot(plan.registers[static_cast<std::size_t>(step.result)].slot);
        at[step.result] = result;
      }
      step.loop(at[step.a], at[step.b], at[step.c], result, n, step.parameters);
    }
    for (std::size_t o = 0; o < plan.outputs.size(); o++) {
      const PointwiseOutput& output = plan.outputs[o];
      if (output.sum) {
        sums[o] += static_cast<double>(plan.sum(at[output.from], n));
      } else if (at[output.from] != outputs[o] + i) {
        std::memcpy(outputs[o] + i, at[output.from], n * sizeof(float));
      }
    }
    i += count;
  }
  for (std::size_t o = 0; o < plan.outputs.size(); o++) {
    if (plan.outputs[o].sum) *outputs[o] = static_cast<float>(sums[o] * static_cast<double>(plan.outputs[o].scale));
  }
}

/** One operation on full operands: nothing but its loop. */
void run_single(const Plan& plan, const float* const* inputs, float* const* outputs, void*, std::int64_t begin,
                std::int64_t end) {
  const Plan::Step& step = plan.steps.front();
  step.loop(inputs[step.a] + begin, inputs[step.b] + begin, inputs[step.c] + begin, outputs[0] + begin,
            static_cast<std::size_t>(end - begin), step.parameters);
}

}  // namespace

PointwiseProgram::PointwiseProgram(const Pointwise& group) : plan_(std::make_unique<Plan>()) {
  group.check();
  Plan& plan = *plan_;
  size_ = group.outer * group.inner;
  plan.inner = std::max<std::int64_t>(1, group.inner);
  plan.outputs = group.outputs;
  if (plan.outputs.size() > 8) refuse("a group of more than 8 outputs", std::to_string(plan.outputs.size()));
  const std::size_t inputs = group.inputs.size();

  // Which registers anybody needs.
  std::vector<bool> needed(inputs + group.ops.size(), false);
  bool any_sum = false;
  for (const PointwiseOutput& output : group.outputs) {
    needed[static_cast<std::size_t>(output.from)] = true;
    any_sum = any_sum || output.sum;
  }
  for (std::size_t i = group.ops.size(); i-- > 0;) {
    if (!needed[inputs + i]) continue;
    const PointwiseOp& op = group.ops[i];
    const int operands[] = {op.a, op.b, op.c};
    for (int k = 0; k < arity(op.code); k++) needed[static_cast<std::size_t>(operands[k])] = true;
  }

  plan.registers.resize(inputs + group.ops.size());
  bool row_or_column = false;
  for (std::size_t i = 0; i < inputs; i++) {
    Plan::Register& reg = plan.registers[i];
    reg.input = needed[i];
    reg.value = group.inputs[i].value;
    reg.layout = group.inputs[i].layout;
    // A row or a column of one is something simpler.
    if (reg.layout == Layout::row)
      reg.layout = group.inner == 1 ? Layout::scalar : group.outer == 1 ? Layout::full : Layout::row;
    if (reg.layout == Layout::column) {
      reg.layout = group.outer == 1 ? Layout::scalar : group.inner == 1 ? Layout::full : Layout::column;
    }
    row_or_column = row_or_column || (reg.input && (reg.layout == Layout::row || reg.layout == Layout::column));
  }
  plan.broadcasts = row_or_column;

  std::vector<std::size_t> last_read(plan.registers.size(), 0);  // by the step after which a register is free
  for (std::size_t i = 0; i < group.ops.size(); i++) {
    if (!needed[inputs + i]) continue;
    const PointwiseOp& op = group.ops[i];
    const int operands[] = {op.a, op.b, op.c};
    for (int k = 0; k < arity(op.code); k++) last_read[static_cast<std::size_t>(operands[k])] = i;
  }
  for (const PointwiseOutput& output : group.outputs)
    last_read[static_cast<std::size_t>(output.from)] = group.ops.size();

  // Slots. A tile keeps within half of a first cache of 32 KiB.
  int slots = 0;
  std::vector<int> free;
  const auto take = [&] {
    if (free.empty()) return slots++;
    const int slot = free.back();
    free.pop_back();
    return slot;
  };
  std::size_t full_inputs = 0;
  for (std::size_t i = 0; i < inputs; i++) {
    full_inputs += plan.registers[i].input && plan.registers[i].layout == Layout::full ? 1 : 0;
  }
  for (std::size_t i = 0; i < group.ops.size(); i++) {
    if (!needed[inputs + i]) continue;
    const PointwiseOp& op = group.ops[i];
    Plan::Step step{.loop = loop_of(op),
                    .parameters = {op.p, op.q, op.r},
                    .a = op.a,
                    .b = arity(op.code) >= 2 ? op.b : op.a,
                    .c = arity(op.code) >= 3 ? op.c : op.a,
                    .result = static_cast<int>(inputs + i),
                    .output = kNone,
                    .later_inputs = {}};
    for (std::size_t o = 0; o < group.outputs.size() && step.output == kNone; o++) {
      if (!group.outputs[o].sum && group.outputs[o].from == step.result) step.output = static_cast<int>(o);
    }
    if (step.output != kNone) {
      for (std::size_t r = 0; r < inputs; r++) {
        const bool later = last_read[r] > i;
        if (plan.registers[r].input && plan.registers[r].layout != Layout::constant && later) {
          step.later_inputs.push_back(static_cast<int>(r));
        }
      }
    }
    plan.registers[inputs + i].slot = take();
    // A result may be written over an operand that ends here: loops read before they write.
    plan.steps.push_back(std::move(step));
    for (std::size_t r = inputs; r <= inputs + i; r++) {
      if (plan.registers[r].slot != kNone && last_read[r] == i && r != inputs + i) {
        free.push_back(plan.registers[r].slot);
        last_read[r] = group.ops.size() + 1;
      }
    }
  }

  const std::size_t streams = full_inputs + static_cast<std::size_t>(slots) + 2;
  std::int64_t tile = streams <= 8 ? 512 : streams <= 16 ? 256 : 128;
  const bool single = plan.steps.size() == 1 && !any_sum && group.outputs.size() == 1 && full_inputs == inputs &&
                      inputs > 0 && plan.steps.front().output == 0;
  plan.rows_in_tile = row_or_column && plan.inner <= tile;
  if (plan.rows_in_tile) tile = tile / plan.inner * plan.inner;
  for (std::size_t i = 0; i < inputs; i++) {
    Plan::Register& reg = plan.registers[i];
    if (!reg.input) continue;
    const bool in_slot = reg.layout == Layout::scalar || reg.layout == Layout::constant ||
                         reg.layout == Layout::column || (reg.layout == Layout::row && plan.rows_in_tile);
    if (in_slot) reg.slot = slots++;
  }
  plan.tile = std::min(tile, std::max<std::int64_t>(size_, 1));
  plan.sum = sum_loop();
  plan.pointer_bytes = (plan.registers.size() * sizeof(const float*) + 63) / 64 * 64;
  grain_ = any_sum ? std::max<std::int64_t>(size_, 1) : row_or_column ? plan.inner : 1;
  workspace_ = single ? 0 : plan.pointer_bytes + static_cast<std::size_t>(slots * plan.tile) * sizeof(float);
  run_ = single ? run_single : run_tiles;
}

PointwiseProgram::~PointwiseProgram() = default;
PointwiseProgram::PointwiseProgram(PointwiseProgram&&) noexcept = default;
PointwiseProgram& PointwiseProgram::operator=(PointwiseProgram&&) noexcept = default;

}  // namespace levin::compile::kernels
