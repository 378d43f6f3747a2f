#include <levin/compile/operators_page.h>

#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/pointwise.h>

#include <ATen/core/dispatch/Dispatcher.h>

#include <sstream>

namespace levin::compile {
namespace {

constexpr std::string_view kIntroduction = R"(# Operators that have kernels

Written by the compiler from its own rules; a test holds the page to them.

A [compiled step](compiled-step.md) runs each ATen operator as a kernel of Levin's where a rule serves its shapes, strides
and types, and else through ATen's own kernel, called without autograd: every operator that can be captured is right,
those below are fast. Kernels compute in float32, on rows without gaps where nothing else is said; float64 is ATen's.
Views (`view`, `transpose`, `slice`, `expand`, ...) are no operators of a program: they cost nothing. `levin::` operators
are made by a pass of what the column "of" says. `step.explain()` tells which calls of a step are left to ATen.

`relu`'s derivative is `threshold_backward`; dropout is `bernoulli_` and products.
)";

// Name and overload of "aten::add.Tensor".
c10::OperatorHandle find(std::string_view op) {
  const std::size_t dot = op.find('.');
  return c10::Dispatcher::singleton().findSchemaOrThrow(
      std::string(op.substr(0, dot)).c_str(), dot == op.npos ? "" : std::string(op.substr(dot + 1)).c_str());
}

// A call of an operator on matrices, with defaults, and numbers for what has none.
struct Example {
  Graph graph;
  Node node;

  explicit Example(std::string_view op) {
    node.op = op;
    node.handle = find(op);
    for (const c10::Argument& argument : node.handle->schema().arguments()) node.arguments.push_back(given(argument));
    node.results = {{matrix()}};
  }

 private:
  ValueId matrix() {
    return graph.add_value({.buffer = graph.add_temporary(24), .offset = 0, .sizes = {2, 3}, .strides = {3, 1}, .dtype = at::kFloat});
  }
  Argument given(const c10::Argument& argument) {
    const auto kind = argument.type()->kind();
    if (kind == c10::TypeKind::TensorType) return Argument::of(matrix());
    if (argument.default_value()) return Argument::of(*argument.default_value());
    if (kind == c10::TypeKind::BoolType) return Argument::of(c10::IValue(false));
    if (kind == c10::TypeKind::IntType) return Argument::of(c10::IValue(0));
    return Argument::of(c10::IValue(1.5));
  }
};

std::string instructions(std::string_view op) {
  const Example example(op);
  auto node = pointwise_of(example.graph, example.node);
  if (!node) {  // it computes the sum of what it is given
    Example whole(op);
    Value& result = whole.graph.values[static_cast<std::size_t>(whole.node.out())];
    result.sizes.clear();
    result.strides.clear();
    node = pointwise_of(whole.graph, whole.node);
  }
  if (!node) throw std::logic_error("operators_page: no example of " + std::string(op));
  std::string text;
  for (const auto& one : static_cast<const PointwisePayload&>(*node->payload).group.ops) {
    text += (text.empty() ? "" : ", ") + std::string(kernels::name_of(one.code));
  }
  return text;
}

}  // namespace

std::string operators_page() {
  std::ostringstream out;
  out << kIntroduction;
  for (const auto& family : lowering::families()) {
    out << "\n## " << family.title << "\n\n| operator | of | kernel | serves |\n|---|---|---|---|\n";
    for (const Rule& rule : family.rules) {
      out << "| `" << rule.op << "` | " << rule.made_of << " | " << rule.kernel << " | " << rule.limits << " |\n";
    }
  }
  out << "\n## Element-wise operators\n\nThe instructions of `levin::pointwise` that each becomes; for some numbers "
         "(`pow` by 2, `add` of 0.5 times) it is others.\n\n| operator | instructions |\n|---|---|\n";
  for (const std::string_view op : pointwise_operators()) out << "| `" << op << "` | " << instructions(op) << " |\n";
  return out.str();
}

}  // namespace levin::compile
