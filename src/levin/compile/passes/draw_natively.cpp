#include <levin/compile/passes/passes.h>

namespace levin::compile {

void draw_natively(Graph& graph) {
  std::size_t made = 0;
  for (Node& node : graph.nodes) {
    if (!node.is("aten::bernoulli_.float")) continue;
    const Value& to = graph.at(node.out());
    if (to.dtype != at::kFloat || !to.dense() || to.numel() == 0) continue;
    node.op = "levin::bernoulli";
    node.handle.reset();
    node.arguments.resize(2);  // the tensor and the probability
    ++made;
  }
  if (made > 0) graph.note("random masks from a generator of our own: " + std::to_string(made));
}

}  // namespace levin::compile
