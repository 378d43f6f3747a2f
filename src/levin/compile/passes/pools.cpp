// relu and the max pooling behind it: a window without a positive element gives 0, and gets no gradient.
#include <levin/compile/lower.h>
#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace levin::compile {
namespace {

using Rewrite = std::pair<std::size_t, Node>;

// `pool` as a node that reads what relu reads.
Node fused(const Node& pool, std::size_t image, const Argument& before_relu) {
  Node node = pool;
  node.op = image == 0 ? "levin::relu_max_pool" : "levin::relu_max_pool_backward";
  node.handle.reset();
  node.arguments[image] = before_relu;
  return node;
}

bool is_zero(const c10::IValue& value) { return value.isScalar() && value.toScalar().toDouble() == 0; }

// The nodes that stand in for a pooling behind relu and its gradient; none where anybody else looks at what is between.
std::optional<std::vector<Rewrite>> rewrite(const Graph& graph, const Uses& uses, std::size_t n) {
  const Node& pool = graph.nodes[n];
  const ValueId image = pool.in(0);
  const int relu = uses.producer(graph, image);
  if (relu == kNone || !graph.nodes[static_cast<std::size_t>(relu)].is("aten::relu")) return std::nullopt;
  const Node& first = graph.nodes[static_cast<std::size_t>(relu)];
  const BufferId memory = graph.at(image).buffer;
  if (uses.is_output(memory) || !graph.is_temporary(first.in(0)) || graph.at(first.out()).sizes != graph.at(image).sizes) {
    return std::nullopt;
  }
  if (!may_move(graph, static_cast<std::size_t>(relu), n)) return std::nullopt;
  const auto node = [&](int id) -> const Node& { return graph.nodes[static_cast<std::size_t>(id)]; };
  int backward = kNone, mask = kNone;
  for (const int reader : uses.readers(memory)) {
    if (reader == static_cast<int>(n)) continue;
    if (node(reader).is("aten::max_pool2d_with_indices_backward") && backward == kNone && node(reader).in(1) == image) {
      backward = reader;
    } else if (node(reader).is("aten::threshold_backward") && mask == kNone) {
      mask = reader;
    } else {
      return std::nullopt;
    }
  }
  std::vector<Rewrite> list;
  list.emplace_back(n, fused(pool, 0, first.arguments[0]));
  if (backward != kNone || mask != kNone) {
    if (backward == kNone || mask == kNone) return std::nullopt;
    const Node &of_pool = node(backward), &of_relu = node(mask);
    const bool chained = of_relu.in(0) == of_pool.out() && of_relu.in(1) == first.out() && is_zero(of_relu.constant(2)) &&
                         uses.only_reader(graph, of_pool.out(), mask) && of_pool.in(7) == pool.out(1) &&
                         graph.at(of_relu.out()).strides == graph.at(of_pool.out()).strides;
    if (!chained) return std::nullopt;
    list.emplace_back(static_cast<std::size_t>(mask), fused(of_pool, 1, first.arguments[0]));
    list.back().second.results = of_relu.results;
    if (!may_move(graph, static_cast<std::size_t>(backward), static_cast<std::size_t>(mask))) return std::nullopt;
  }
  if (pool.out(1) != kNone) {
    const BufferId places = graph.at(pool.out(1)).buffer;
    if (uses.is_output(places)) return std::nullopt;
    for (const int reader : uses.readers(places)) {
      if (reader != backward) return std::nullopt;
    }
  }
  for (const auto& [place, one] : list) {
    if (lower_natively(graph, one).empty()) return std::nullopt;
  }
  return list;
}

}  // namespace

void fuse_pools(Graph& graph) {
  std::size_t made = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!graph.nodes[n].is("aten::max_pool2d_with_indices")) continue;
    const Uses uses(graph);
    auto list = rewrite(graph, uses, n);
    if (!list) continue;
    graph.nodes[static_cast<std::size_t>(uses.producer(graph, graph.nodes[n].in(0)))].dead = true;
    if (list->size() == 2) {
      const ValueId between = graph.nodes[(*list)[1].first].in(0);
      graph.nodes[static_cast<std::size_t>(uses.producer(graph, between))].dead = true;
    }
    for (auto& [place, node] : *list) graph.nodes[place] = std::move(node);
    ++made;
  }
  graph.sweep();
  if (made > 0) graph.note("fused " + std::to_string(made) + " times relu into the max pooling behind it");
}

}  // namespace levin::compile
