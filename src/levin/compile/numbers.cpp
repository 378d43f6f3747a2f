#include <levin/compile/numbers.h>

#include <ATen/ops/full.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>

namespace levin::compile {
namespace {

bool is_one_of(const Node& node, std::span<const std::string_view> names) {
  return std::ranges::find(names, node.op) != names.end();
}

// A constant that its operator's kernels can read from memory.
bool is_constant_number(const Graph& graph, const Node& node, std::size_t argument) {
  static constexpr std::array<std::string_view, 2> kArithmetic = {"aten::mul.Scalar", "aten::div.Scalar"};
  if (argument != 1 || !node.constant(1).isDouble()) return false;
  if (node.is("aten::bernoulli_.float")) return true;
  return is_one_of(node, kArithmetic) && c10::isFloatingType(graph.at(node.out()).dtype);
}

// A number beside a tensor, of whose type the result is.
bool is_operand(const Graph& graph, const Node& node, std::size_t argument) {
  static constexpr std::array<std::string_view, 4> kArithmetic = {"aten::mul.Tensor", "aten::div.Tensor",
                                                                  "aten::add.Tensor", "aten::sub.Tensor"};
  if (argument > 1 || !is_one_of(node, kArithmetic) || !graph.buffer_of(node.in(argument)).uniform) return false;
  const at::ScalarType type = graph.at(node.out()).dtype;
  return c10::isFloatingType(type) && graph.at(node.in(1 - argument)).dtype == type;
}

}  // namespace

std::vector<Number> numbers_of(const Graph& lifted) {
  std::vector<int> readers(lifted.buffers.size());
  for (const Node& node : lifted.nodes) {
    for (const ValueId value : node.inputs()) ++readers[static_cast<std::size_t>(lifted.at(value).buffer)];
  }
  std::vector<Number> numbers;
  for (std::size_t n = 0; n < lifted.nodes.size(); ++n) {
    const Node& node = lifted.nodes[n];
    for (std::size_t a = 0; a < node.arguments.size(); ++a) {
      if (is_constant_number(lifted, node, a)) {
        numbers.push_back({.value = node.constant(a).toDouble(), .node = n, .argument = a});
      } else if (node.arguments[a].kind == Argument::Kind::value && node.in(a) != kNone && is_operand(lifted, node, a) &&
                 readers[static_cast<std::size_t>(lifted.at(node.in(a)).buffer)] == 1) {
        numbers.push_back({.value = *lifted.buffer_of(node.in(a)).uniform, .node = n, .argument = a});
      }
    }
  }
  return numbers;
}

void read_from_memory(Graph& lifted, const std::vector<Number>& numbers, const std::vector<bool>& open) {
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    if (!open[i]) continue;
    const Number& number = numbers[i];
    Node& node = lifted.nodes[number.node];
    Argument& argument = node.arguments[number.argument];
    if (argument.kind == Argument::Kind::constant) {
      const at::Tensor tensor = at::full({2}, number.value, at::kDouble);
      static_cast<float*>(tensor.mutable_data_ptr())[2] = static_cast<float>(number.value);
      const auto buffer = static_cast<BufferId>(lifted.buffers.size());
      lifted.buffers.push_back({.kind = Buffer::Kind::external,
                                .bytes = static_cast<std::int64_t>(tensor.nbytes()),
                                .input = kNone,
                                .tensor = tensor});
      const auto element = [&](std::int64_t offset, at::ScalarType type) {
        return lifted.add_value({.buffer = buffer, .offset = offset, .sizes = {}, .strides = {}, .dtype = type});
      };
      const ValueId f64 = element(0, at::kDouble), f32 = element(2, at::kFloat);
      argument = {.kind = Argument::Kind::number, .values = {f64, f32}, .constant = {}};
    } else {
      Value& value = lifted.values[static_cast<std::size_t>(argument.values[0])];
      Buffer& buffer = lifted.buffers[static_cast<std::size_t>(value.buffer)];
      // As a tensor it has a say in the result's type, as a number it had none.
      value.dtype = lifted.at(node.out()).dtype;
      buffer.tensor = at::full({}, number.value, at::TensorOptions(value.dtype));
      buffer.bytes = static_cast<std::int64_t>(buffer.tensor.nbytes());
      buffer.uniform.reset();
    }
    lifted.names[{lifted.at(argument.values[0]).buffer, 0}] = "number";
  }
}

}  // namespace levin::compile
