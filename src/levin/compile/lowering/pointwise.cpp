#include <levin/compile/kernels/pointwise.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/pointwise.h>

#include <array>

namespace levin::compile::lowering {
namespace {

struct Spec {
  kernels::PointwiseProgram program;
  std::size_t inputs, outputs;
};

// Operands: inputs, outputs, workspace.
void run(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec>();
  const auto* operands = reinterpret_cast<float* const*>(instruction.at);
  spec.program.run(operands, operands + spec.inputs, instruction.at[spec.inputs + spec.outputs], 0, spec.program.size());
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
  return {{.run = &run,
           .spec = std::make_shared<const Spec>(std::move(program), group.inputs.size(), group.outputs.size()),
           .operands = std::move(operands),
           .workspace = workspace}};
}

constexpr std::array<Rule, 1> kRules = {{{"levin::pointwise", "element-wise group", &emit,
     "operands of the result's shape, one row, one column or one element of it; any number of operators in one pass",
     "the element-wise operators of the last table"}}};

}  // namespace

std::span<const Rule> pointwise() { return kRules; }

}  // namespace levin::compile::lowering
