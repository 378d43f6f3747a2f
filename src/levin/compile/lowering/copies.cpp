#include <levin/compile/kernels/copy.h>
#include <levin/compile/lowering/families.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace levin::compile::lowering {
namespace {

struct CopySpec {
  std::size_t bytes;
};

void run_copy(const Instruction& instruction) {
  std::memcpy(instruction.at[1], instruction.at[0], instruction.as<CopySpec>().bytes);
}

struct StridedSpec {
  kernels::StridedCopy settings;
  kernels::StridedCopyFn call;
  std::int64_t from, to;  // where the views begin in their operands
};

void run_strided(const Instruction& instruction) {
  const auto& spec = instruction.as<StridedSpec>();
  spec.call(spec.settings, instruction.operand<float>(0) + spec.from, instruction.operand<float>(1) + spec.to);
}

/** A piece of a value, of its own sizes. */
struct Piece {
  ValueId value;
  std::vector<std::int64_t> sizes, strides;
  std::int64_t offset = 0;  ///< behind the value's beginning

  static Piece whole(const Graph& graph, ValueId value) { return {value, graph.at(value).sizes, graph.at(value).strides}; }
};

std::optional<Emission> strided(const Graph& graph, const Piece& from, const Piece& to) {
  if (graph.at(from.value).dtype != at::kFloat || graph.at(to.value).dtype != at::kFloat || from.sizes != to.sizes) return std::nullopt;
  kernels::StridedCopy settings;
  std::size_t dims = 0;
  for (std::size_t d = 0; d < from.sizes.size(); ++d) {
    if (from.sizes[d] == 0) return std::nullopt;
    if (from.sizes[d] == 1) continue;
    if (dims == kernels::kMaxCopyDims) return std::nullopt;
    settings.sizes[dims] = from.sizes[d];
    settings.from_strides[dims] = from.strides[d];
    settings.to_strides[dims] = to.strides[d];
    ++dims;
  }
  settings.dims = static_cast<int>(dims);
  settings = kernels::simplify(settings);
  return Emission::of(&run_strided,
                      StridedSpec{settings, kernels::select_strided_copy(settings), from.offset, to.offset}, {from.value, to.value});
}

std::vector<Emission> copy(const Graph& graph, const Node& node) {
  const Value &from = graph.at(node.in(0)), &to = graph.at(node.out());
  if (from.dtype != to.dtype || from.sizes != to.sizes) return {};
  if ((from.contiguous() && to.contiguous()) || (from.strides == to.strides && from.dense())) {
    return {Emission::of(&run_copy, CopySpec{static_cast<std::size_t>(to.bytes())}, {node.in(0), node.out()})};
  }
  if (from.buffer == to.buffer || !to.dense()) return {};
  const auto emission = strided(graph, Piece::whole(graph, node.in(0)), Piece::whole(graph, node.out()));
  return emission ? std::vector{*emission} : std::vector<Emission>();
}

std::vector<Emission> cat(const Graph& graph, const Node& node) {
  const Value& to = graph.at(node.out());
  if (to.dtype != at::kFloat || !to.dense() || to.dim() == 0) return {};
  const std::int64_t given = node.constant(1).toInt();
  const auto dim = static_cast<std::size_t>(given < 0 ? given + to.dim() : given);
  std::vector<Emission> list;
  std::int64_t offset = 0;
  for (const ValueId part : node.arguments[0].values) {
    const Value& from = graph.at(part);
    if (from.dim() != to.dim()) return {};  // an empty list of old times
    const auto emission = strided(graph, Piece::whole(graph, part), {node.out(), from.sizes, to.strides, offset});
    if (!emission) return {};
    list.push_back(*emission);
    offset += from.sizes[dim] * to.strides[dim];
  }
  return list;
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

// The gradient of a slice: zeros but for its place.
std::vector<Emission> into_zeros(const Graph& graph, const Node& node, const Piece& place) {
  const Value& to = graph.at(node.out());
  if (to.dtype != at::kFloat || !to.dense()) return {};
  const auto emission = strided(graph, Piece::whole(graph, node.in(0)), place);
  if (!emission) return {};
  return {Emission::of(&run_fill, FillSpec{0, static_cast<std::size_t>(to.numel())}, {node.out()}), *emission};
}

std::vector<Emission> select_backward(const Graph& graph, const Node& node) {
  Piece place = Piece::whole(graph, node.out());
  const std::int64_t given = node.constant(2).toInt(), index = node.constant(3).toInt();
  const auto dim = static_cast<std::size_t>(given < 0 ? given + graph.at(node.out()).dim() : given);
  place.offset = (index < 0 ? index + place.sizes[dim] : index) * place.strides[dim];
  place.sizes.erase(place.sizes.begin() + static_cast<std::ptrdiff_t>(dim));
  place.strides.erase(place.strides.begin() + static_cast<std::ptrdiff_t>(dim));
  return into_zeros(graph, node, place);
}

std::vector<Emission> slice_backward(const Graph& graph, const Node& node) {
  Piece place = Piece::whole(graph, node.out());
  const std::int64_t given = node.constant(2).toInt(), start = node.constant(3).toInt(), step = node.constant(5).toInt();
  const auto dim = static_cast<std::size_t>(given < 0 ? given + graph.at(node.out()).dim() : given);
  const std::int64_t first = std::clamp<std::int64_t>(start < 0 ? start + place.sizes[dim] : start, 0, place.sizes[dim]);
  place.offset = first * place.strides[dim];
  place.strides[dim] *= step;
  place.sizes = graph.at(node.in(0)).sizes;
  return into_zeros(graph, node, place);
}

// The counter of a batch norm.
struct CountSpec {
  std::int64_t by;
  std::int64_t elements;
};

void run_count(const Instruction& instruction) {
  const auto& spec = instruction.as<CountSpec>();
  auto* counter = instruction.operand<std::int64_t>(0);
  for (std::int64_t i = 0; i < spec.elements; ++i) counter[i] += spec.by;
}

std::vector<Emission> count(const Graph& graph, const Node& node) {
  const Value& counter = graph.at(node.in(0));
  if (counter.dtype != at::kLong || !counter.dense() || !node.constant(1).isInt() || !node.constant(2).isInt()) return {};
  return {Emission::of(&run_count, CountSpec{node.constant(1).toInt() * node.constant(2).toInt(), counter.numel()}, {node.in(0)})};
}

constexpr std::array<Rule, 7> kRules = {{
    {"levin::copy", "copy, of other strides, too", &copy,
     "of any strides up to six dimensions; types other than float32 where both lie alike",
     "copies that lifting makes: `copy_`, `contiguous`, `expand` into new memory"},
    {"aten::clone", "copy, of other strides, too", &copy,
     "of any strides up to six dimensions; types other than float32 where both lie alike"},
    {"aten::cat", "copies side by side", &cat,
     "parts of any strides up to six dimensions; left out where its parts can be written in place"},
    {"aten::select_backward", "copy into zeros", &select_backward,
     "of any strides up to six dimensions"},
    {"aten::slice_backward", "copy into zeros", &slice_backward,
     "of any strides up to six dimensions"},
    {"levin::fill", "fill", &fill,
     "",
     "`zeros`, `ones`, `full`, `zeros_like`, `fill_`, `zero_`"},
    {"aten::add_.Scalar", "counters of int64", &count,
     "int64, by an integer: the counter of a batch norm"},
}};

}  // namespace

std::span<const Rule> copies() { return kRules; }

}  // namespace levin::compile::lowering
