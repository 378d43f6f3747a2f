#include <levin/compile/kernels/reduce.h>
#include <levin/compile/lowering/families.h>

#include <algorithm>
#include <array>
#include <optional>

namespace levin::compile::lowering {
namespace {

using kernels::Reduce;

struct Spec {
  Reduce settings;
  kernels::ReduceFn call;
};

constexpr std::int64_t kResults = 16;  // a cache line

void run(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec>();
  const auto [begin, end] = instruction.range(spec.settings.results(), kResults);
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1), begin, end);
}

// The reduced dimensions as one block [outer, reduced, inner] of a contiguous tensor.
std::optional<Reduce> block_of(const Value& x, const c10::IValue& dims, Reduce::Kind kind) {
  std::vector<bool> reduced(x.sizes.size(), dims.isNone());
  if (!dims.isNone()) {
    const auto list = dims.toIntVector();
    if (list.empty()) reduced.assign(reduced.size(), true);
    for (const std::int64_t dim : list) reduced[static_cast<std::size_t>(dim < 0 ? dim + x.dim() : dim)] = true;
  }
  Reduce settings{.kind = kind};
  int part = 0;  // 0 outer, 1 reduced, 2 inner
  for (std::size_t d = 0; d < x.sizes.size(); ++d) {
    if (x.sizes[d] == 1) continue;
    if (reduced[d]) {
      if (part == 2) return std::nullopt;
      part = 1;
      settings.reduced *= x.sizes[d];
    } else {
      if (part == 1) part = 2;
      (part == 0 ? settings.outer : settings.inner) *= x.sizes[d];
    }
  }
  return settings;
}

// A column of a transposed matrix is a row of the matrix: reduces in the order of memory.
std::optional<Reduce> transposed_block(const Value& x, const c10::IValue& dims, Reduce::Kind kind) {
  if (x.dim() != 2 || x.strides[0] != 1 || x.strides[1] != x.sizes[0] || !dims.isIntList()) return std::nullopt;
  const auto list = dims.toIntVector();
  if (list.size() != 1) return std::nullopt;
  const bool columns = (list[0] + 2) % 2 == 0;
  return Reduce{.kind = kind, .outer = columns ? x.sizes[1] : 1, .reduced = columns ? x.sizes[0] : x.sizes[1],
                .inner = columns ? 1 : x.sizes[0]};
}

template <Reduce::Kind kind, int type_argument>
std::vector<Emission> emit(const Graph& graph, const Node& node) {
  const Value &x = graph.at(node.in(0)), &y = graph.at(node.out());
  if (x.dtype != at::kFloat || y.dtype != at::kFloat || !y.contiguous() || x.numel() == 0) return {};
  if (type_argument > 0 && !node.constant(static_cast<std::size_t>(type_argument)).isNone()) return {};
  const auto settings = x.contiguous() ? block_of(x, node.constant(1), kind) : transposed_block(x, node.constant(1), kind);
  if (!settings) return {};
  return {Emission::of(&run, Spec{*settings, kernels::select_reduce(*settings)}, {node.in(0), node.out()}).split(settings->results(), kResults)};
}

constexpr std::array<Rule, 4> kRules = {{
    {"aten::sum.dim_IntList", "sums over dimensions that lie together", &emit<Reduce::Kind::sum, 3>,
     "reduced dimensions beside each other, or a column of a transposed matrix"},
    {"aten::mean.dim", "means over dimensions that lie together", &emit<Reduce::Kind::mean, 3>,
     "reduced dimensions beside each other, or a column of a transposed matrix"},
    {"aten::amax", "largest elements", &emit<Reduce::Kind::maximum, 0>,
     "reduced dimensions beside each other, or a column of a transposed matrix"},
    {"aten::amin", "smallest elements", &emit<Reduce::Kind::minimum, 0>,
     "reduced dimensions beside each other, or a column of a transposed matrix"},
}};

}  // namespace

std::span<const Rule> reductions() { return kRules; }

}  // namespace levin::compile::lowering
