#include <levin/compile/kernels/pointwise.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/pointwise.h>

#include <algorithm>
#include <array>
#include <numeric>

namespace levin::compile::lowering {
namespace {

struct Spec {
  kernels::PointwiseProgram program;
  std::size_t inputs, outputs;
};

// Where threads may cut: whole vectors and cache lines, and what the program asks for.
std::int64_t cut_of(const kernels::PointwiseProgram& program) {
  constexpr std::int64_t kElements = 64;
  return std::lcm(kElements, std::max<std::int64_t>(program.grain(), 1));
}

// Operands: inputs, outputs, workspace.
void run(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec>();
  const auto* operands = reinterpret_cast<float* const*>(instruction.at);
  const auto [begin, end] = instruction.range(spec.program.size(), cut_of(spec.program));
  spec.program.run(operands, operands + spec.inputs, instruction.at[spec.inputs + spec.outputs], begin, end);
}

std::vector<Emission> emit(const Graph&, const Node& node) {
  const auto& group = static_cast<const PointwisePayload&>(*node.payload).group;
  std::vector<ValueId> operands;
  for (const Argument& argument : node.arguments) {
    operands.push_back(argument.kind == Argument::Kind::value ? argument.values[0] : kNone);
  }
  for (const auto& result : node.results) operands.push_back(result.at(0));
  kernels::PointwiseProgram program(group);
  const std::size_t workspace = program.workspace() + 1;
  const std::int64_t pieces = (program.size() + cut_of(program) - 1) / cut_of(program);
  return {{.run = &run,
           .spec = std::make_shared<const Spec>(std::move(program), group.inputs.size(), group.outputs.size()),
           .operands = std::move(operands),
           .workspace = workspace,
           .pieces = pieces}};
}

constexpr std::array<Rule, 1> kRules = {{{"levin::pointwise", "element-wise group", &emit,
     "operands of the result's shape, one row, one column or one element of it; any number of operators in one pass",
     "the element-wise operators of the last table"}}};

}  // namespace

std::span<const Rule> pointwise() { return kRules; }

}  // namespace levin::compile::lowering
