#include <levin/compile/lower.h>
#include <levin/compile/passes/passes.h>

namespace levin::compile {
namespace {

bool is_zero(const c10::IValue& value) { return value.isScalar() && value.toScalar().toDouble() == 0; }

// batch norm -> relu, which alone reads it.
bool fuse_forward(Graph& graph, const Uses& uses, std::size_t n) {
  const Node& relu = graph.nodes[n];
  const int producer = uses.producer(graph, relu.in(0));
  if (producer == kNone || !uses.only_reader(graph, relu.in(0), static_cast<int>(n))) return false;
  Node& norm = graph.nodes[static_cast<std::size_t>(producer)];
  if (!norm.is("aten::native_batch_norm") || norm.out(0) != relu.in(0) || uses.producer(graph, relu.out()) == kNone ||
      graph.at(relu.out()).sizes != graph.at(relu.in(0)).sizes) {
    return false;
  }
  Node merged = norm;
  merged.op = "levin::batch_norm_relu";
  merged.handle.reset();
  merged.results[0] = relu.results[0];
  if (lower_natively(graph, merged).empty()) return false;
  norm = std::move(merged);
  graph.nodes[n].dead = true;
  return true;
}

// relu's derivative -> batch norm's gradients, which alone read it.
bool fuse_backward(Graph& graph, const Uses& uses, std::size_t n) {
  const Node& mask = graph.nodes[n];
  if (!is_zero(mask.constant(2)) || uses.producer(graph, mask.out()) == kNone) return false;
  const auto& readers = uses.readers(graph.at(mask.out()).buffer);
  if (readers.size() != 1 || uses.is_output(graph.at(mask.out()).buffer)) return false;
  const auto reader = static_cast<std::size_t>(readers[0]);
  Node& norm = graph.nodes[reader];
  if (!norm.is("aten::native_batch_norm_backward") || norm.in(0) != mask.out() || !may_move(graph, n, reader)) return false;
  Node merged = norm;
  merged.op = "levin::batch_norm_relu_backward";
  merged.handle.reset();
  merged.arguments[0] = mask.arguments[0];
  merged.arguments.push_back(mask.arguments[1]);
  if (lower_natively(graph, merged).empty()) return false;
  norm = std::move(merged);
  graph.nodes[n].dead = true;
  return true;
}

}  // namespace

void fuse_norms(Graph& graph) {
  std::size_t fused = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const bool relu = graph.nodes[n].is("aten::relu"), mask = graph.nodes[n].is("aten::threshold_backward");
    if (!relu && !mask) continue;
    const Uses uses(graph);
    if (relu ? fuse_forward(graph, uses, n) : fuse_backward(graph, uses, n)) ++fused;
  }
  graph.sweep();
  if (fused > 0) graph.note("fused " + std::to_string(fused) + " activations into batch norms");
}

}  // namespace levin::compile
