#include <levin/compile/passes/passes.h>

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include <algorithm>
#include <optional>

namespace levin::compile {
namespace {

constexpr std::int64_t kLargest = 1 << 20;  // bytes of a result that is kept

bool is_constant(const Graph& graph, ValueId value, const std::vector<bool>& constant) {
  return constant[static_cast<std::size_t>(graph.at(value).buffer)];
}

at::Tensor tensor_of(const Graph& graph, ValueId id) {
  const Value& value = graph.at(id);
  return at::empty({0}, at::TensorOptions(value.dtype))
      .set_(graph.buffer_of(id).tensor.storage(), value.offset, value.sizes, value.strides);
}

// The value that fills the result of an operator that looks at the shape of its argument alone.
std::optional<double> fills(const Node& node) {
  if (node.is("aten::ones_like") || node.is("aten::new_ones")) return 1;
  if (node.is("aten::zeros_like") || node.is("aten::new_zeros")) return 0;
  const auto number = [](const c10::IValue& value) {
    return value.isScalar() ? std::optional(value.toScalar().toDouble()) : std::nullopt;
  };
  if (node.is("aten::full_like")) return number(node.constant(1));
  if (node.is("aten::new_full")) return number(node.constant(2));
  if (node.is("levin::fill")) return number(node.constant(0));
  return std::nullopt;
}

// One times a number in memory, as the gradient of a weighted loss begins: where that number is.
const Value* number_itself(const Graph& graph, const Node& node) {
  if (!node.is("aten::mul.Scalar") || node.arguments[1].kind != Argument::Kind::number) return nullptr;
  const Value& result = graph.at(node.out());
  if (graph.buffer_of(node.out()).bytes != static_cast<std::int64_t>(c10::elementSize(result.dtype)) ||
      graph.buffer_of(node.in(0)).uniform != 1.0) {
    return nullptr;
  }
  for (const ValueId number : node.arguments[1].values) {
    if (graph.at(number).dtype == result.dtype) return &graph.at(number);
  }
  return nullptr;
}

}  // namespace

void fold_constants(Graph& graph) {
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  const Uses uses(graph);
  std::vector<bool> constant(graph.buffers.size(), false);
  std::size_t folded = 0;
  for (Node& node : graph.nodes) {
    const auto results = node.outputs();
    if (const auto value = fills(node); value && uses.producer(graph, results[0]) != kNone && graph.at(results[0]).bytes() <= kLargest) {
      const Value& filled = graph.at(results[0]);
      Buffer& buffer = graph.buffers[static_cast<std::size_t>(filled.buffer)];
      const auto elements = buffer.bytes / static_cast<std::int64_t>(c10::elementSize(filled.dtype));
      buffer.kind = Buffer::Kind::external;
      buffer.tensor = at::full({elements}, *value, at::TensorOptions(filled.dtype));
      buffer.uniform = value;
      constant[static_cast<std::size_t>(filled.buffer)] = true;
      graph.names[{filled.buffer, 0}] = "constant";
      node.dead = true;
      ++folded;
      continue;
    }
    if (const Value* number = number_itself(graph, node); number && uses.producer(graph, results[0]) != kNone) {
      const BufferId own = graph.at(results[0]).buffer;
      const Value there = *number;
      for (Value& value : graph.values) {
        if (value.buffer == own) value.buffer = there.buffer, value.offset = there.offset;
      }
      node.dead = true;
      ++folded;
      continue;
    }
    const bool foldable =
        node.handle && !node.random && node.writes_arguments.empty() && results.size() == 1 &&
        node.results.size() == 1 && graph.at(results[0]).bytes() <= kLargest &&
        graph.is_temporary(results[0]) && uses.producer(graph, results[0]) != kNone &&
        std::ranges::all_of(node.inputs(), [&](ValueId value) { return is_constant(graph, value, constant); });
    if (!foldable) continue;

    torch::jit::Stack stack;
    for (const Argument& argument : node.arguments) {
      if (argument.kind == Argument::Kind::constant) {
        stack.push_back(argument.constant);
      } else if (argument.kind == Argument::Kind::value) {
        stack.emplace_back(argument.values[0] == kNone ? at::Tensor() : tensor_of(graph, argument.values[0]));
      } else {
        std::vector<at::Tensor> list;
        for (const ValueId value : argument.values) list.push_back(tensor_of(graph, value));
        stack.emplace_back(std::move(list));
      }
    }
    node.handle->callBoxed(&stack);
    const at::Tensor result = stack.back().toTensor();
    Buffer& buffer = graph.buffers[static_cast<std::size_t>(graph.at(results[0]).buffer)];
    if (static_cast<std::int64_t>(result.storage().nbytes()) != buffer.bytes) continue;
    buffer.kind = Buffer::Kind::external;
    buffer.tensor = result;
    if (result.numel() == 1 && !result.is_complex()) buffer.uniform = result.item().toDouble();
    graph.names[{graph.at(results[0]).buffer, 0}] = "constant";
    constant[static_cast<std::size_t>(graph.at(results[0]).buffer)] = true;
    node.dead = true;
    ++folded;
  }
  graph.sweep();
  if (folded > 0) graph.note("folded " + std::to_string(folded) + " constants");
}

}  // namespace levin::compile
