// What each element-wise ATen operator is in the kernels' terms.
#include <levin/compile/passes/pointwise.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <unordered_map>

namespace levin::compile {
namespace {

using kernels::Layout;
using kernels::Opcode;
using kernels::PointwiseOp;

/** Writes the group of one operator; `fail` where this node is not served. */
class Writer {
 public:
  Writer(const Graph& graph, const Node& node) : graph_(graph), node_(node) {}

  // --- what the table's entries use ---

  /** The register of a tensor argument. */
  int in(std::size_t argument) {
    const Argument& given = node_.arguments[argument];
    if (given.kind != Argument::Kind::value || given.values[0] == kNone) {
      fail();
      return 0;
    }
    if (const auto& same = graph_.buffer_of(given.values[0]).uniform) return constant(*same);
    return add_input(given, {});
  }
  /** The register of a number. */
  int constant(double value) { return add_input(Argument::of(c10::IValue(value)), static_cast<float>(value)); }
  double number(std::size_t argument) {
    const c10::IValue& value = node_.constant(argument);
    if (!value.isScalar()) {
      fail();
      return 0;
    }
    return value.toScalar().toDouble();
  }
  double number_or(std::size_t argument, double otherwise) {
    return node_.constant(argument).isNone() ? otherwise : number(argument);
  }
  /** The register of an argument that is a number, in the graph or in memory. */
  int number_in(std::size_t argument) {
    const Argument& given = node_.arguments[argument];
    return given.kind == Argument::Kind::number ? add_input(Argument::of(given.values[1]), {}) : constant(number(argument));
  }
  bool flag(std::size_t argument) const { return node_.constant(argument).toBool(); }
  std::string text(std::size_t argument) const { return node_.constant(argument).toStringRef(); }
  std::int64_t integer(std::size_t argument) const { return node_.constant(argument).toInt(); }

  int op(Opcode code, int a, double p = 0, double q = 0, double r = 0) { return op3(code, a, -1, -1, p, q, r); }
  int op2(Opcode code, int a, int b, double p = 0, double q = 0, double r = 0) { return op3(code, a, b, -1, p, q, r); }
  int op3(Opcode code, int a, int b, int c, double p = 0, double q = 0, double r = 0) {
    ops_.push_back({code, a, b, c, static_cast<float>(p), static_cast<float>(q), static_cast<float>(r)});
    return kOps + static_cast<int>(ops_.size()) - 1;
  }
  /** The result, element by element. */
  void out(int from) { result_ = from; }
  /** The result is the sum of all elements of the operand's shape, times a scale. */
  void out_sum(int from, double scale) { result_ = from, sum_ = true, scale_ = scale; }
  /** A loss of `from` by at::Reduction: 0 none, 1 mean, 2 sum. */
  void out_loss(int from, std::int64_t reduction) {
    if (reduction == 0) return out(from);
    out_sum(from, reduction == 2 ? 1.0 : 1.0 / static_cast<double>(elements_of_largest()));
  }
  /** Fails when the result is asked for in a type of its own. */
  void node_has_no_type(std::size_t argument) { failed_ = failed_ || !node_.constant(argument).isNone(); }
  void fail() { failed_ = true; }

  std::optional<Node> finish() {
    if (failed_ || node_.outputs().size() != 1 || result_ < 0) return std::nullopt;
    const Value& result = graph_.at(node_.out());
    if (result.dtype != at::kFloat || (sum_ && result.numel() != 1)) return std::nullopt;
    auto payload = std::make_shared<PointwisePayload>();
    kernels::Pointwise& group = payload->group;
    if (!lay_out(group, sum_ ? largest() : result)) return std::nullopt;
    const int shift = static_cast<int>(group.inputs.size()) - kOps;
    const auto renumber = [&](int& number) {
      if (number >= kOps) number += shift;
    };
    for (PointwiseOp one : ops_) {
      renumber(one.a), renumber(one.b), renumber(one.c);
      group.ops.push_back(one);
    }
    renumber(result_);
    group.outputs = {{.from = result_, .sum = sum_, .scale = static_cast<float>(scale_)}};
    Node node;
    node.op = "levin::pointwise";
    node.arguments = arguments_;
    node.results = {{node_.out()}};
    node.payload = std::move(payload);
    return node;
  }

 private:
  static constexpr int kOps = 1000;  // registers of results are renumbered once the inputs are known

  int add_input(const Argument& argument, std::optional<float> value) {
    for (std::size_t i = 0; i < arguments_.size(); ++i) {
      if (!value && !constants_[i] && arguments_[i].values == argument.values) return static_cast<int>(i);
    }
    arguments_.push_back(argument);
    constants_.push_back(value);
    return static_cast<int>(arguments_.size()) - 1;
  }

  const Value& largest() const {
    const Value* found = &graph_.at(node_.out());
    for (std::size_t i = 0; i < arguments_.size(); ++i) {
      if (!constants_[i] && graph_.at(arguments_[i].values[0]).numel() > found->numel()) {
        found = &graph_.at(arguments_[i].values[0]);
      }
    }
    return *found;
  }
  std::int64_t elements_of_largest() const { return largest().numel(); }

  // Splits the shape into [outer, inner] such that every operand is whole, a row, a column, or one element.
  bool lay_out(kernels::Pointwise& group, const Value& shape) {
    if (shape.numel() == 0 || !shape.dense()) return false;
    std::int64_t inner = 0;  // 0: no operand asks for a split
    for (std::size_t i = 0; i < arguments_.size(); ++i) {
      if (constants_[i]) {
        group.inputs.push_back({Layout::constant, *constants_[i]});
        continue;
      }
      const Value& operand = graph_.at(arguments_[i].values[0]);
      if (operand.dtype != at::kFloat) return false;
      if (operand.sizes == shape.sizes && operand.strides == shape.strides) {
        group.inputs.push_back({Layout::full, 0});
      } else if (one_element(operand)) {
        group.inputs.push_back({Layout::scalar, 0});
      } else if (operand.sizes == shape.sizes && operand.contiguous() && shape.contiguous()) {
        group.inputs.push_back({Layout::full, 0});  // strides of dimensions of one element differ
      } else if (const auto split = row_or_column(operand, shape)) {
        if (inner != 0 && inner != split->first) return false;
        inner = split->first;
        group.inputs.push_back({split->second, 0});
      } else {
        return false;
      }
    }
    group.inner = inner == 0 ? shape.numel() : inner;
    group.outer = shape.numel() / group.inner;
    return true;
  }

  static bool one_element(const Value& operand) {
    for (std::size_t i = 0; i < operand.sizes.size(); ++i) {
      if (operand.sizes[i] != 1 && operand.strides[i] != 0) return false;
    }
    return true;
  }

  // `inner` and whether the operand is a row [inner] or a column [outer] of the contiguous shape.
  static std::optional<std::pair<std::int64_t, Layout>> row_or_column(const Value& operand, const Value& shape) {
    if (!shape.contiguous()) return std::nullopt;
    const std::size_t dims = shape.sizes.size(), missing = dims - std::min(dims, operand.sizes.size());
    // The operand's size and stride along each dimension of the shape; 0 where it repeats.
    std::vector<std::int64_t> strides(dims, 0);
    for (std::size_t d = missing; d < dims; ++d) {
      const std::size_t own = d - missing;
      if (operand.sizes[own] == shape.sizes[d]) {
        strides[d] = operand.strides[own];
      } else if (operand.sizes[own] != 1) {
        return std::nullopt;
      }
      if (shape.sizes[d] == 1) strides[d] = 0;
    }
    const auto tries = [&](std::size_t split) -> std::optional<Layout> {
      std::int64_t expected = 1, inner = 1;
      bool row = true, column = true;
      for (std::size_t d = dims; d-- > split;) {
        if (shape.sizes[d] == 1) continue;
        row = row && strides[d] == expected;
        column = column && strides[d] == 0;
        expected *= shape.sizes[d];
        inner *= shape.sizes[d];
      }
      expected = 1;
      for (std::size_t d = split; d-- > 0;) {
        if (shape.sizes[d] == 1) continue;
        row = row && strides[d] == 0;
        column = column && strides[d] == expected;
        expected *= shape.sizes[d];
      }
      if (inner == 1 || expected == 1) return std::nullopt;
      if (row) return Layout::row;
      if (column) return Layout::column;
      return std::nullopt;
    };
    std::int64_t inner = 1;
    for (std::size_t split = dims; split-- > 0;) {
      inner *= shape.sizes[split];
      if (const auto layout = tries(split)) return std::pair(inner, *layout);
    }
    return std::nullopt;
  }

  const Graph& graph_;
  const Node& node_;
  std::vector<Argument> arguments_;
  std::vector<std::optional<float>> constants_;
  std::vector<PointwiseOp> ops_;
  int result_ = -1;
  bool sum_ = false, failed_ = false;
  double scale_ = 1;
};

using Entry = std::function<void(Writer&)>;

Entry unary(Opcode code) {
  return [code](Writer& w) { w.out(w.op(code, w.in(0))); };
}
Entry binary(Opcode code) {
  return [code](Writer& w) { w.out(w.op2(code, w.in(0), w.in(1))); };
}

void power(Writer& w) {
  const double exponent = w.number(1);
  const int x = w.in(0);
  if (exponent == 2) return w.out(w.op(Opcode::square, x));
  if (exponent == 1) return w.out(w.op(Opcode::copy, x));
  if (exponent == 3) return w.out(w.op2(Opcode::mul, w.op(Opcode::square, x), x));
  if (exponent == 0.5) return w.out(w.op(Opcode::sqrt, x));
  if (exponent == -1) return w.out(w.op(Opcode::reciprocal, x));
  if (exponent == -0.5) return w.out(w.op(Opcode::rsqrt, x));
  w.out(w.op(Opcode::pow_scalar, x, exponent));
}

// a + alpha b, where either may be a number.
void add(Writer& w, double sign) {
  const double alpha = sign * w.number(2);
  const int a = w.in(0), b = w.in(1);
  if (alpha == 1) return w.out(w.op2(Opcode::add, a, b));
  if (alpha == -1) return w.out(w.op2(Opcode::sub, a, b));
  w.out(w.op2(Opcode::add_scaled, a, b, alpha));
}

constexpr double kInfinity = std::numeric_limits<double>::infinity();

const std::unordered_map<std::string_view, Entry>& table() {
  static const std::unordered_map<std::string_view, Entry> entries = {
      // Arithmetic.
      {"aten::add.Tensor", [](Writer& w) { add(w, 1); }},
      {"aten::sub.Tensor", [](Writer& w) { add(w, -1); }},
      {"aten::mul.Tensor", binary(Opcode::mul)},
      {"aten::div.Tensor", binary(Opcode::div)},
      {"aten::minimum", binary(Opcode::minimum)},
      {"aten::maximum", binary(Opcode::maximum)},
      {"aten::add.Scalar", [](Writer& w) { w.out(w.op(Opcode::scale_shift, w.in(0), 1, w.number(1) * w.number(2))); }},
      {"aten::sub.Scalar", [](Writer& w) { w.out(w.op(Opcode::scale_shift, w.in(0), 1, -w.number(1) * w.number(2))); }},
      {"aten::rsub.Scalar", [](Writer& w) { w.out(w.op(Opcode::scale_shift, w.in(0), -w.number(2), w.number(1))); }},
      {"aten::mul.Scalar", [](Writer& w) { w.out(w.op2(Opcode::mul, w.in(0), w.number_in(1))); }},
      {"aten::div.Scalar", [](Writer& w) { w.out(w.op2(Opcode::div, w.in(0), w.number_in(1))); }},
      {"aten::addcmul", [](Writer& w) { w.out(w.op3(Opcode::add_product, w.in(0), w.in(1), w.in(2), w.number(3))); }},
      {"aten::addcdiv", [](Writer& w) { w.out(w.op3(Opcode::add_quotient, w.in(0), w.in(1), w.in(2), w.number(3))); }},
      {"aten::lerp.Scalar", [](Writer& w) { w.out(w.op2(Opcode::lerp, w.in(0), w.in(1), w.number(2))); }},
      {"aten::neg", unary(Opcode::neg)},
      {"aten::abs", unary(Opcode::abs)},
      {"aten::sgn", unary(Opcode::sign)},
      {"aten::sign", unary(Opcode::sign)},
      {"aten::square", unary(Opcode::square)},
      {"aten::reciprocal", unary(Opcode::reciprocal)},
      {"aten::sqrt", unary(Opcode::sqrt)},
      {"aten::rsqrt", unary(Opcode::rsqrt)},
      {"aten::pow.Tensor_Scalar", power},
      {"aten::pow.Tensor_Tensor", binary(Opcode::pow)},
      {"aten::clamp", [](Writer& w) { w.out(w.op(Opcode::clamp, w.in(0), w.number_or(1, -kInfinity), w.number_or(2, kInfinity))); }},
      {"aten::clamp_min", [](Writer& w) { w.out(w.op(Opcode::clamp, w.in(0), w.number(1), kInfinity)); }},
      {"aten::clamp_max", [](Writer& w) { w.out(w.op(Opcode::clamp, w.in(0), -kInfinity, w.number(1))); }},
      {"aten::floor", unary(Opcode::floor)},
      {"aten::ceil", unary(Opcode::ceil)},
      {"aten::round", unary(Opcode::round)},
      {"aten::trunc", unary(Opcode::trunc)},
      {"aten::frac", unary(Opcode::frac)},
      // Elementary functions.
      {"aten::exp", unary(Opcode::exp)},
      {"aten::exp2", unary(Opcode::exp2)},
      {"aten::expm1", unary(Opcode::expm1)},
      {"aten::log", unary(Opcode::log)},
      {"aten::log2", unary(Opcode::log2)},
      {"aten::log10", unary(Opcode::log10)},
      {"aten::log1p", unary(Opcode::log1p)},
      {"aten::sin", unary(Opcode::sin)},
      {"aten::cos", unary(Opcode::cos)},
      {"aten::tan", unary(Opcode::tan)},
      {"aten::sinh", unary(Opcode::sinh)},
      {"aten::cosh", unary(Opcode::cosh)},
      {"aten::atan", unary(Opcode::atan)},
      {"aten::erf", unary(Opcode::erf)},
      // Activations and their derivatives.
      {"aten::relu", unary(Opcode::relu)},
      {"aten::threshold", [](Writer& w) { w.out(w.op(Opcode::threshold, w.in(0), w.number(1), w.number(2))); }},
      {"aten::threshold_backward", [](Writer& w) { w.out(w.op2(Opcode::threshold_backward, w.in(0), w.in(1), w.number(2))); }},
      {"aten::tanh", unary(Opcode::tanh)},
      {"aten::tanh_backward", binary(Opcode::tanh_backward)},
      {"aten::sigmoid", unary(Opcode::sigmoid)},
      {"aten::sigmoid_backward", binary(Opcode::sigmoid_backward)},
      {"aten::leaky_relu", [](Writer& w) { w.out(w.op(Opcode::leaky_relu, w.in(0), w.number(1))); }},
      {"aten::leaky_relu_backward", [](Writer& w) { w.out(w.op2(Opcode::leaky_relu_backward, w.in(0), w.in(1), w.number(2))); }},
      {"aten::elu", [](Writer& w) {
         w.out(w.op(Opcode::elu, w.in(0), w.number(1) * w.number(2), w.number(2), w.number(3)));
       }},
      {"aten::celu", [](Writer& w) { w.out(w.op(Opcode::elu, w.in(0), w.number(1), 1, 1 / w.number(1))); }},
      {"aten::elu_backward", [](Writer& w) {
         const auto code = w.flag(4) ? Opcode::elu_backward_result : Opcode::elu_backward;
         w.out(w.op2(code, w.in(0), w.in(5), w.number(1) * w.number(2), w.number(2), w.number(3)));
       }},
      {"aten::gelu", [](Writer& w) { w.out(w.op(w.text(1) == "tanh" ? Opcode::gelu_tanh : Opcode::gelu, w.in(0))); }},
      {"aten::gelu_backward", [](Writer& w) {
         w.out(w.op2(w.text(2) == "tanh" ? Opcode::gelu_tanh_backward : Opcode::gelu_backward, w.in(0), w.in(1)));
       }},
      {"aten::silu", unary(Opcode::silu)},
      {"aten::silu_backward", binary(Opcode::silu_backward)},
      {"aten::mish", unary(Opcode::mish)},
      {"aten::mish_backward", binary(Opcode::mish_backward)},
      {"aten::softplus", [](Writer& w) { w.out(w.op(Opcode::softplus, w.in(0), w.number(1), w.number(2))); }},
      {"aten::softplus_backward", [](Writer& w) { w.out(w.op2(Opcode::softplus_backward, w.in(0), w.in(1), w.number(2), w.number(3))); }},
      {"aten::hardtanh", [](Writer& w) { w.out(w.op(Opcode::clamp, w.in(0), w.number(1), w.number(2))); }},
      {"aten::hardtanh_backward", [](Writer& w) { w.out(w.op2(Opcode::hardtanh_backward, w.in(0), w.in(1), w.number(2), w.number(3))); }},
      {"aten::hardswish", unary(Opcode::hardswish)},
      {"aten::hardswish_backward", binary(Opcode::hardswish_backward)},
      {"aten::hardsigmoid", unary(Opcode::hardsigmoid)},
      {"aten::hardsigmoid_backward", binary(Opcode::hardsigmoid_backward)},
      {"aten::hardshrink", [](Writer& w) { w.out(w.op(Opcode::hardshrink, w.in(0), w.number(1))); }},
      {"aten::softshrink", [](Writer& w) { w.out(w.op(Opcode::softshrink, w.in(0), w.number(1))); }},
      {"aten::hardshrink_backward", [](Writer& w) { w.out(w.op2(Opcode::shrink_backward, w.in(0), w.in(1), w.number(2))); }},
      {"aten::softshrink_backward", [](Writer& w) { w.out(w.op2(Opcode::shrink_backward, w.in(0), w.in(1), w.number(2))); }},
      // Losses.
      {"aten::huber_loss", [](Writer& w) { w.out_loss(w.op2(Opcode::huber, w.in(0), w.in(1), w.number(3)), w.integer(2)); }},
      {"aten::smooth_l1_loss", [](Writer& w) { w.out_loss(w.op2(Opcode::smooth_l1, w.in(0), w.in(1), w.number(3)), w.integer(2)); }},
      {"aten::mse_loss", [](Writer& w) { w.out_loss(w.op2(Opcode::squared_error, w.in(0), w.in(1)), w.integer(2)); }},
      {"aten::sum", [](Writer& w) { w.node_has_no_type(1), w.out_sum(w.op(Opcode::copy, w.in(0)), 1); }},
      {"aten::mean", [](Writer& w) { w.node_has_no_type(1), w.out_loss(w.op(Opcode::copy, w.in(0)), 1); }},
  };
  return entries;
}

}  // namespace

std::optional<Node> pointwise_of(const Graph& graph, const Node& node) {
  const auto entry = table().find(node.op);
  if (entry == table().end() || node.dead || !node.writes_arguments.empty()) return std::nullopt;
  Writer writer(graph, node);
  entry->second(writer);
  return writer.finish();
}

std::vector<std::string_view> pointwise_operators() {
  std::vector<std::string_view> names;
  for (const auto& [name, entry] : table()) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

}  // namespace levin::compile
