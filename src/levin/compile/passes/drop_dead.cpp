#include <levin/compile/passes/passes.h>

#include <algorithm>

namespace levin::compile {

void drop_dead(Graph& graph) {
  // From the end to the start: a node is needed when it draws random numbers, writes memory that outlives the step, or
  // writes what a needed node reads.
  std::vector<bool> needed(graph.buffers.size(), false);
  for (const Output& output : graph.outputs) {
    if (output.value != kNone) needed[static_cast<std::size_t>(graph.at(output.value).buffer)] = true;
  }
  std::size_t dropped = 0;
  for (auto node = graph.nodes.rbegin(); node != graph.nodes.rend(); ++node) {
    const auto outputs = node->outputs();
    const bool alive = node->random || std::ranges::any_of(outputs, [&](ValueId value) {
      return !graph.is_temporary(value) || needed[static_cast<std::size_t>(graph.at(value).buffer)];
    });
    if (!alive) {
      node->dead = true;
      ++dropped;
      continue;
    }
    for (const ValueId value : node->inputs()) needed[static_cast<std::size_t>(graph.at(value).buffer)] = true;
  }
  graph.sweep();
  if (dropped > 0) graph.note("dropped " + std::to_string(dropped) + " dead nodes");
}

}  // namespace levin::compile
