#include <levin/compile/passes/lstm.h>

#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

namespace levin::compile {
namespace {

using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t kLstm = 2;  // at::native's number of the mode

bool plain(const Graph& graph, ValueId value, const Sizes& sizes) {
  return value != kNone && graph.at(value).dtype == at::kFloat && graph.at(value).contiguous() && graph.at(value).sizes == sizes;
}

// The shape of a layer, by the places of some settings among the arguments; width, layers and biases follow the mode.
// Each direction of a bidirectional layer is a call of its own.
std::optional<kernels::LstmShape> shape_of(const Graph& graph, const Node& node, std::size_t mode, std::size_t reverse) {
  const Value& x = graph.at(node.in(0));
  if (x.dim() != 3 || x.numel() == 0 || node.constant(mode).toInt() != kLstm || !node.constant(mode + 3).toBool()) {
    return std::nullopt;
  }
  const kernels::LstmShape s{.time = x.sizes[0], .batch = x.sizes[1], .inputs = x.sizes[2], .width = node.constant(mode + 1).toInt(),
                               .reverse = node.constant(reverse).toBool()};
  const bool fits = plain(graph, node.in(0), x.sizes) && plain(graph, node.in(1), {4 * s.width, s.inputs}) &&
                    plain(graph, node.in(2), {4 * s.width, s.width}) && plain(graph, node.in(3), {4 * s.width}) &&
                    plain(graph, node.in(4), {4 * s.width});
  return fits ? std::optional(s) : std::nullopt;
}

// [time, batch, width] in rows without gaps, whatever their order.
bool is_sequence(const Graph& graph, ValueId value, const Sizes& sizes) {
  const Value& v = graph.at(value);
  return v.dtype == at::kFloat && v.sizes == sizes && (v.sizes[2] == 1 || v.strides[2] == 1);
}

// The initial states come as [batch, width] or [1, batch, width].
bool is_state(const Graph& graph, ValueId value, const kernels::LstmShape& s) {
  return plain(graph, value, {s.batch, s.width}) || plain(graph, value, {1, s.batch, s.width});
}

ValueId temporary(Graph& graph, Sizes sizes) {
  Value value{.buffer = kNone, .offset = 0, .sizes = std::move(sizes), .strides = {}, .dtype = at::kFloat};
  value.strides.assign(value.sizes.size(), 1);
  for (std::size_t d = value.sizes.size(); d-- > 1;) value.strides[d - 1] = value.strides[d] * value.sizes[d];
  value.buffer = graph.add_temporary(value.bytes());
  return graph.add_value(std::move(value));
}

Argument optional(const Node& node, std::size_t argument) {
  const Argument& given = node.arguments[argument];
  return given.kind == Argument::Kind::value && given.values[0] != kNone ? given : Argument::of(c10::IValue());
}

}  // namespace

std::string LstmPayload::to_string() const {
  return "{" + std::to_string(shape.time) + " steps, " + std::to_string(shape.batch) + " rows, " +
         std::to_string(shape.inputs) + "-" + std::to_string(shape.width) + (shape.reverse ? ", reversed}" : "}");
}

void recognise_lstm(Graph& graph) {
  std::size_t made = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!graph.nodes[n].is("aten::mkldnn_rnn_layer")) continue;
    const Uses uses(graph);
    const Node node = graph.nodes[n];
    const auto shape = shape_of(graph, node, 9, 7);
    if (!shape || !graph.nodes[n].constant(8).toIntVector().empty()) continue;  // packed sequences
    const kernels::LstmShape& s = *shape;
    const Sizes state = {s.batch, s.width}, sequence = {s.time, s.batch, s.width};
    if (!is_state(graph, node.in(5), s) || !is_state(graph, node.in(6), s) || !plain(graph, node.out(0), sequence)) continue;
    const auto wanted = [&](ValueId value) {
      return value != kNone && (uses.is_output(graph.at(value).buffer) || !uses.readers(graph.at(value).buffer).empty());
    };
    // oneDNN's own memory between the passes is closed to others: the backward pass has to be ours, too.
    int backward = kNone;
    bool fits = true;
    if (wanted(node.out(3))) {
      const auto& readers = uses.readers(graph.at(node.out(3)).buffer);
      fits = readers.size() == 1 && !uses.is_output(graph.at(node.out(3)).buffer);
      if (fits) {
        backward = readers[0];
        const Node& other = graph.nodes[static_cast<std::size_t>(backward)];
        fits = other.is("aten::mkldnn_rnn_layer_backward") && shape_of(graph, other, 14, 13).has_value() &&
               other.in(0) == node.in(0) && other.in(7) == node.out(0) && is_state(graph, other.in(5), s) && is_state(graph, other.in(6), s);
        const auto given = [&](std::size_t a, bool whole) {
          const Argument argument = optional(other, a);
          if (argument.kind != Argument::Kind::value) return true;
          return whole ? is_sequence(graph, argument.values[0], sequence) : is_state(graph, argument.values[0], s);
        };
        fits = fits && given(10, true) && given(11, false) && given(12, false);
        const std::vector<Sizes> results = {{s.time, s.batch, s.inputs}, {4 * s.width, s.inputs}, {4 * s.width, s.width},
                                            {4 * s.width}, {4 * s.width}, state, state};
        for (std::size_t r = 0; r < results.size() && fits; ++r) {
          const ValueId result = other.out(r);
          fits = !wanted(result) || plain(graph, result, results[r]) || (r >= 5 && is_state(graph, result, s));
        }
      }
    }
    const auto read_apart = [&](ValueId value) {  // by others than the backward pass, which does not need it
      return wanted(value) && (uses.is_output(graph.at(value).buffer) ||
                               std::ranges::any_of(uses.readers(graph.at(value).buffer), [&](int reader) { return reader != backward; }));
    };
    for (const std::size_t r : {1, 2}) fits = fits && (!read_apart(node.out(r)) || is_state(graph, node.out(r), s));
    if (!fits) continue;

    auto payload = std::make_shared<LstmPayload>();
    payload->shape = s;
    const ValueId cells = temporary(graph, sequence), gates = temporary(graph, {s.time, s.batch, 4 * s.width});
    Node forward;
    forward.op = "levin::lstm";
    forward.payload = payload;
    forward.arguments.assign(node.arguments.begin(), node.arguments.begin() + 7);
    forward.results = {{node.out(0)}, {kNone}, {kNone}, {cells}, {gates}};
    for (const std::size_t r : {1, 2}) {
      if (read_apart(node.out(r))) forward.results[r] = {node.out(r)};
    }
    graph.nodes[n] = std::move(forward);
    if (backward != kNone) {
      Node& other = graph.nodes[static_cast<std::size_t>(backward)];
      Node ours;
      ours.op = "levin::lstm_backward";
      if (optional(other, 10).kind == Argument::Kind::value) {
        payload->d_out_time = graph.at(other.in(10)).strides[0], payload->d_out_row = graph.at(other.in(10)).strides[1];
      }
      ours.payload = std::move(payload);
      ours.arguments = {optional(other, 10), optional(other, 11), optional(other, 12), other.arguments[0], other.arguments[1],
                        other.arguments[2], other.arguments[5], other.arguments[6], other.arguments[7],
                        Argument::of(cells), Argument::of(gates)};
      for (std::size_t r = 0; r < 7; ++r) ours.results.push_back({wanted(other.out(r)) ? other.out(r) : kNone});
      other = std::move(ours);
    }
    ++made;
  }
  if (made > 0) graph.note("own LSTM layers: " + std::to_string(made));
}

}  // namespace levin::compile
