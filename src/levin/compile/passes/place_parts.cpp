#include <levin/compile/lower.h>
#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace levin::compile {
namespace {

/** Where the elements of a part [rows, width] lie in the whole [rows, whole]. */
struct Column {
  BufferId buffer;
  std::int64_t first, width, whole;
};

// A view of the part as a view of the whole; nothing where it crosses from row to row.
std::optional<Value> in_whole(const Value& view, const Column& column) {
  Value moved = view;
  std::int64_t reach = view.offset % column.width;
  for (std::size_t d = 0; d < view.sizes.size(); ++d) {
    if (view.sizes[d] == 1) continue;
    if (view.strides[d] % column.width == 0) {
      moved.strides[d] = view.strides[d] / column.width * column.whole;
    } else {
      reach += (view.sizes[d] - 1) * view.strides[d];
    }
  }
  if (reach >= column.width) return std::nullopt;
  moved.buffer = column.buffer;
  moved.offset = view.offset / column.width * column.whole + view.offset % column.width + column.first;
  return moved;
}

// The nodes that make the parts then write them where they are joined, if they have kernels that can.
bool place(Graph& graph, const Uses& uses, std::size_t n) {
  const Node& cat = graph.nodes[n];
  const Value to = graph.at(cat.out());
  if (to.dtype != at::kFloat || !to.contiguous() || to.offset != 0 || uses.producer(graph, cat.out()) == kNone) return false;
  const std::int64_t given = cat.constant(1).toInt();
  const auto dim = static_cast<std::size_t>(given < 0 ? given + to.dim() : given);
  std::int64_t inner = 1, first = 0;
  for (std::size_t d = dim + 1; d < to.sizes.size(); ++d) inner *= to.sizes[d];
  std::vector<std::pair<std::size_t, Value>> before;
  std::vector<int> producers;
  const auto undo = [&] {
    for (auto& [id, value] : before) graph.values[id] = std::move(value);
    return false;
  };
  for (const ValueId part : cat.arguments[0].values) {
    const Value from = graph.at(part);
    const int producer = uses.producer(graph, part);
    if (from.dim() != to.dim() || from.numel() == 0 || !from.contiguous() || from.offset != 0 || producer == kNone ||
        !uses.only_reader(graph, part, static_cast<int>(n)) || from.bytes() != graph.buffer_of(part).bytes ||
        std::ranges::count(cat.arguments[0].values, part) > 1) {
      return undo();
    }
    const Column column{.buffer = to.buffer, .first = first, .width = from.sizes[dim] * inner, .whole = to.sizes[dim] * inner};
    for (std::size_t id = 0; id < graph.values.size(); ++id) {
      if (graph.values[id].buffer != from.buffer) continue;
      auto moved = graph.values[id].dtype == at::kFloat ? in_whole(graph.values[id], column) : std::nullopt;
      if (!moved) return undo();
      before.emplace_back(id, std::exchange(graph.values[id], std::move(*moved)));
    }
    producers.push_back(producer);
    first += column.width;
  }
  for (const int producer : producers) {
    if (lower_natively(graph, graph.nodes[static_cast<std::size_t>(producer)]).empty()) return undo();
  }
  graph.nodes[n].dead = true;
  return true;
}

}  // namespace

void place_parts(Graph& graph) {
  std::size_t placed = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (graph.nodes[n].is("aten::cat") && place(graph, Uses(graph), n)) ++placed;
  }
  graph.sweep();
  if (placed > 0) graph.note("parts written where they are joined: " + std::to_string(placed));
}

}  // namespace levin::compile
