#include <levin/compile/kernels/gemm.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/matmul.h>

#include <array>

namespace levin::compile::lowering {
namespace {

struct Spec {
  kernels::Gemm gemm;
  kernels::GemmFn call;
};

// Operands: a, b, c, bias, mask, workspace.
void run(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec>();
  const auto [begin, end] = instruction.range(spec.gemm.rows());
  spec.call(spec.gemm,
            {.a = instruction.operand<float>(0),
             .b = instruction.operand<float>(1),
             .c = instruction.operand<float>(2),
             .bias = instruction.operand<float>(3),
             .mask = instruction.operand<float>(4)},
            instruction.operand<void>(5), begin, end);
}

std::vector<Emission> emit(const Graph& graph, const Node& node) {
  const auto gemm = gemm_of(graph, node);
  if (!gemm) return {};
  const auto optional = [&](std::size_t argument) {
    return node.arguments[argument].kind == Argument::Kind::value ? node.in(argument) : kNone;
  };
  // The last operand is always there, if only of one byte.
  return {Emission::of(&run, Spec{*gemm, kernels::select_gemm(*gemm)},
                       {node.in(0), node.in(1), node.out(), optional(2), optional(3)},
                       kernels::gemm_workspace(*gemm) + 1)
              .split(gemm->rows())};
}

constexpr std::array<Rule, 1> kRules = {{{"levin::gemm", "matrix product with bias, relu or relu's derivative", &emit,
     "either operand transposed, rows with gaps; a bias of one row; the result in rows; a right-hand operand of less than 2^20 elements (MKL is faster beyond)",
     "`mm`, `addmm`, `bmm`, `baddbmm` (alpha and beta 1), a bias added behind, `relu`, `threshold_backward`"}}};

}  // namespace

std::span<const Rule> matmul() { return kRules; }

}  // namespace levin::compile::lowering
