#include <levin/compile/lower.h>
#include <levin/compile/passes/passes.h>

namespace levin::compile {
namespace {

bool is_zero(const c10::IValue& value) { return value.isScalar() && value.toScalar().toDouble() == 0; }

// The batch norm that alone makes `value`, for `reader` alone.
int norm_before(const Graph& graph, const Uses& uses, ValueId value, std::size_t reader) {
  const int producer = uses.producer(graph, value);
  if (producer == kNone || !uses.only_reader(graph, value, static_cast<int>(reader))) return kNone;
  const Node& norm = graph.nodes[static_cast<std::size_t>(producer)];
  return norm.is("aten::native_batch_norm") && norm.out(0) == value ? producer : kNone;
}

// batch norm -> relu.
bool fuse_relu(Graph& graph, const Uses& uses, std::size_t n) {
  const Node& relu = graph.nodes[n];
  const int before = norm_before(graph, uses, relu.in(0), n);
  if (before == kNone || uses.producer(graph, relu.out()) == kNone) return false;
  Node& norm = graph.nodes[static_cast<std::size_t>(before)];
  Node merged = norm;
  merged.op = "levin::batch_norm_relu";
  merged.handle.reset();
  merged.results[0] = relu.results[0];
  if (lower_natively(graph, merged).empty()) return false;
  norm = std::move(merged);
  graph.nodes[n].dead = true;
  return true;
}

// batch norm -> addition -> relu, as residual networks have it.
bool fuse_residual(Graph& graph, const Uses& uses, std::size_t n) {
  const Node& relu = graph.nodes[n];
  const int added = uses.producer(graph, relu.in(0));
  if (added == kNone || !uses.only_reader(graph, relu.in(0), static_cast<int>(n)) || uses.producer(graph, relu.out()) == kNone) {
    return false;
  }
  const auto place = static_cast<std::size_t>(added);
  const Node& sum = graph.nodes[place];
  if (!sum.is("aten::add.Tensor") || sum.constant(2).toScalar().toDouble() != 1) return false;
  if (sum.arguments[0].values == sum.arguments[1].values) return false;  // added to itself
  for (const std::size_t side : {0, 1}) {
    if (sum.arguments[side].kind != Argument::Kind::value || sum.arguments[1 - side].kind != Argument::Kind::value) return false;
    const int before = norm_before(graph, uses, sum.in(side), place);
    if (before == kNone || !may_move(graph, static_cast<std::size_t>(before), n, place) || !may_move(graph, place, n)) continue;
    Node merged = graph.nodes[static_cast<std::size_t>(before)];
    merged.op = "levin::batch_norm_add_relu";
    merged.handle.reset();
    merged.arguments.push_back(sum.arguments[1 - side]);
    merged.results[0] = relu.results[0];
    if (lower_natively(graph, merged).empty()) continue;
    graph.nodes[static_cast<std::size_t>(before)].dead = graph.nodes[place].dead = true;
    graph.nodes[n] = std::move(merged);
    return true;
  }
  return false;
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
  merged.arguments.push_back(Argument::of(c10::IValue()));
  // What relu was applied to is quicker computed again from x than read.
  const int forward = uses.producer(graph, mask.in(1));
  if (forward != kNone && graph.nodes[static_cast<std::size_t>(forward)].is("levin::batch_norm_relu") &&
      graph.nodes[static_cast<std::size_t>(forward)].in(0) == norm.in(1)) {
    merged.arguments[10] = Argument::of(c10::IValue());
    merged.arguments[11] = graph.nodes[static_cast<std::size_t>(forward)].arguments[2];
  }
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
    if (relu ? fuse_relu(graph, uses, n) || fuse_residual(graph, uses, n) : fuse_backward(graph, uses, n)) ++fused;
  }
  graph.sweep();
  if (fused > 0) graph.note("fused " + std::to_string(fused) + " activations into batch norms");
}

}  // namespace levin::compile
