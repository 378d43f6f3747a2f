#include <levin/compile/kernels/mlp.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/small_mlp.h>

#include <array>

namespace levin::compile::lowering {
namespace {

template <class Fn>
struct Spec {
  kernels::Mlp settings;
  Fn call;
};

ValueId optional(const Node& node, std::size_t argument) {
  return node.arguments[argument].kind == Argument::Kind::value ? node.in(argument) : kNone;
}

// Operands: x, w1, b1, w2, b2, y.
void run_forward(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<kernels::MlpForwardFn>>();
  spec.call(spec.settings, {.x = instruction.operand<float>(0), .w1 = instruction.operand<float>(1),
                            .b1 = instruction.operand<float>(2), .w2 = instruction.operand<float>(3),
                            .b2 = instruction.operand<float>(4), .y = instruction.operand<float>(5)});
}

std::vector<Emission> forward(const Graph&, const Node& node) {
  const auto& settings = static_cast<const MlpPayload&>(*node.payload).settings;
  return {Emission::of(&run_forward, Spec<kernels::MlpForwardFn>{settings, kernels::select_mlp_forward(settings)},
                       {node.in(0), node.in(1), optional(node, 2), node.in(3), optional(node, 4), node.out()})};
}

// Operands: x, w1, b1, w2, dy, dw1, db1, dw2.
void run_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<kernels::MlpBackwardFn>>();
  spec.call(spec.settings, {.x = instruction.operand<float>(0), .w1 = instruction.operand<float>(1),
                            .b1 = instruction.operand<float>(2), .w2 = instruction.operand<float>(3),
                            .dy = instruction.operand<float>(4), .dw1 = instruction.operand<float>(5),
                            .db1 = instruction.operand<float>(6), .dw2 = instruction.operand<float>(7)});
}

std::vector<Emission> backward(const Graph&, const Node& node) {
  const auto& settings = static_cast<const MlpPayload&>(*node.payload).settings;
  return {Emission::of(&run_backward, Spec<kernels::MlpBackwardFn>{settings, kernels::select_mlp_backward(settings)},
                       {node.in(0), node.in(1), optional(node, 2), node.in(3), node.in(4), node.out(0), node.out(1),
                        node.out(2)})};
}

constexpr std::array<Rule, 2> kRules = {{
    {"levin::mlp", "network of one hidden layer and one output", &forward,
     "few inputs, one hidden layer with relu, one output",
     "two `levin::gemm`, the first with relu"},
    {"levin::mlp_backward", "its gradients", &backward,
     "as forward",
     "the products and sums of its gradient"},
}};

}  // namespace

std::span<const Rule> small_mlp() { return kRules; }

}  // namespace levin::compile::lowering
