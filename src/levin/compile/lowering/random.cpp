#include <levin/compile/kernels/random.h>
#include <levin/compile/lowering/families.h>

#include <array>

namespace levin::compile::lowering {
namespace {

struct Spec {
  float probability;
  std::int64_t elements;
  kernels::BernoulliFn call;
};

// Operands: the tensor, the probability where that is no constant. A key of its own at each call makes one stream of it.
void run(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec>();
  const double* const probability = instruction.operand<double>(1);
  spec.call({.seed = static_cast<Program*>(instruction.state)->draw_key(), .offset = 0},
            probability != nullptr ? static_cast<float>(*probability) : spec.probability, instruction.operand<float>(0), 0,
            spec.elements);
}

std::vector<Emission> bernoulli(const Graph& graph, const Node& node) {
  const bool constant = node.arguments[1].kind == Argument::Kind::constant;
  auto emission = Emission::of(&run,
                               Spec{.probability = constant ? static_cast<float>(node.constant(1).toDouble()) : 0,
                                    .elements = graph.at(node.out()).numel(),
                                    .call = kernels::select_bernoulli()},
                               {node.out(), constant ? kNone : node.in(1)});
  emission.draws = true;
  return {std::move(emission)};
}

constexpr std::array<Rule, 1> kRules = {{
    {"levin::bernoulli", "ones and zeros of Philox 4x32-10", &bernoulli,
     "with CompileOptions::fast_dropout, any dense layout; else ATen draws", "`bernoulli_.float`, as dropout has it"},
}};

}  // namespace

std::span<const Rule> random() { return kRules; }

}  // namespace levin::compile::lowering
