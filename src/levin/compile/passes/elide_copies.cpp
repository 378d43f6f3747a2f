#include <levin/compile/passes/passes.h>

namespace levin::compile {
namespace {

bool copies(const Node& node) { return node.is("levin::copy") || node.is("aten::clone"); }

}  // namespace

void elide_copies(Graph& graph) {
  std::size_t elided = 0;
  const Uses uses(graph);  // stays true: what is elided has one writer and is not written afterwards
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& node = graph.nodes[n];
    if (!copies(node)) continue;
    const ValueId from = node.in(0), to = node.out();
    const Value& source = graph.at(from);
    const Value& target = graph.at(to);
    // The same bytes in the same order, each buffer written by one node: readers of the copy may read the source.
    const bool same = source.dtype == target.dtype && source.sizes == target.sizes && source.strides == target.strides &&
                      target.offset == 0 && target.bytes() == graph.buffer_of(to).bytes;
    if (!same || uses.producer(graph, from) == kNone || uses.producer(graph, to) == kNone) continue;
    const BufferId old = target.buffer, now = source.buffer;
    const std::int64_t offset = source.offset;
    const auto size = c10::elementSize(target.dtype);
    bool aligned = true;  // views of the copy under another element size
    for (const Value& value : graph.values) {
      if (value.buffer == old) aligned &= c10::elementSize(value.dtype) == size;
    }
    if (!aligned) continue;
    node.dead = true;
    for (Value& value : graph.values) {
      if (value.buffer != old) continue;
      value.buffer = now;
      value.offset += offset;
    }
    ++elided;
  }
  graph.sweep();
  if (elided > 0) graph.note("elided " + std::to_string(elided) + " copies");
}

}  // namespace levin::compile
