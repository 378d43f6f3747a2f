#include <levin/compile/lowering/families.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace levin::compile::lowering {
namespace {

struct CopySpec {
  std::size_t bytes;
};

void run_copy(const Instruction& instruction) {
  std::memcpy(instruction.at[1], instruction.at[0], instruction.as<CopySpec>().bytes);
}

std::vector<Emission> copy(const Graph& graph, const Node& node) {
  const Value &from = graph.at(node.in(0)), &to = graph.at(node.out());
  const bool same = from.dtype == to.dtype && from.sizes == to.sizes &&
                    ((from.contiguous() && to.contiguous()) || (from.strides == to.strides && from.dense()));
  if (!same) return {};
  return {Emission::of(&run_copy, CopySpec{static_cast<std::size_t>(to.bytes())}, {node.in(0), node.out()})};
}

struct FillSpec {
  float value;
  std::size_t elements;
};

void run_fill(const Instruction& instruction) {
  const auto& spec = instruction.as<FillSpec>();
  std::fill_n(instruction.operand<float>(0), spec.elements, spec.value);
}

std::vector<Emission> fill(const Graph& graph, const Node& node) {
  const Value& to = graph.at(node.out());
  if (to.dtype != at::kFloat || !to.dense() || !node.constant(0).isScalar()) return {};
  return {Emission::of(&run_fill,
                       FillSpec{node.constant(0).toScalar().toFloat(), static_cast<std::size_t>(to.numel())}, {node.out()})};
}

constexpr std::array<Rule, 3> kRules = {{
    {"levin::copy", "copy of dense memory", &copy},
    {"aten::clone", "copy of dense memory", &copy},
    {"levin::fill", "fill", &fill},
}};

}  // namespace

std::span<const Rule> copies() { return kRules; }

}  // namespace levin::compile::lowering
