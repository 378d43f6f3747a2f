#include <levin/compile/passes/small_mlp.h>

#include <levin/compile/passes/matmul.h>
#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace levin::compile {
namespace {

using Epilogue = kernels::Gemm::Epilogue;

Epilogue epilogue_of(const Node& node) { return static_cast<const GemmPayload&>(*node.payload).epilogue; }

// Two values over the same elements of memory, whatever shape they have.
bool same_elements(const Graph& graph, ValueId a, ValueId b) {
  const Value &x = graph.at(a), &y = graph.at(b);
  return x.buffer == y.buffer && x.offset == y.offset && x.numel() == y.numel();
}

/** The nodes of one network, and what they compute. */
struct Network {
  int first, second, masked, dw2, dw1, db1 = kNone;
  kernels::Mlp settings;
};

// The network whose hidden layer `first` computes.
std::optional<Network> network_at(const Graph& graph, const Uses& uses, int first) {
  const auto node = [&](int id) -> const Node& { return graph.nodes[static_cast<std::size_t>(id)]; };
  const Node& hidden = node(first);
  if (!hidden.is("levin::gemm") || epilogue_of(hidden) != Epilogue::relu) return std::nullopt;
  const Value &x = graph.at(hidden.in(0)), &h = graph.at(hidden.out()), &w1 = graph.at(hidden.in(1));
  if (!x.contiguous() || x.dim() != 2 || !h.contiguous() || w1.strides[0] != 1) return std::nullopt;
  Network net{.first = first, .second = kNone, .masked = kNone, .dw2 = kNone, .dw1 = kNone,
              .settings = {.rows = x.sizes[0], .inputs = x.sizes[1], .width = h.sizes[1]}};
  if (!kernels::mlp_is_fused(net.settings) || (net.settings.inputs > 1 && w1.strides[1] != net.settings.inputs)) {
    return std::nullopt;
  }
  // Who reads the hidden layer: the output layer, relu's derivative, and the output layer's gradient.
  const auto readers = uses.readers(h.buffer);
  if (uses.is_output(h.buffer) || uses.producer(graph, hidden.out()) != first || readers.size() != 3) return std::nullopt;
  for (const int reader : readers) {
    const Node& one = node(reader);
    if (!one.is("levin::gemm")) return std::nullopt;
    if (epilogue_of(one) == Epilogue::relu_mask && graph.at(one.in(3)).buffer == h.buffer) {
      net.masked = reader;
    } else if (graph.at(one.in(0)).buffer == h.buffer) {
      net.second = reader;
    } else if (graph.at(one.in(1)).buffer == h.buffer) {
      net.dw2 = reader;
    }
  }
  if (net.masked == kNone || net.second == kNone || net.dw2 == kNone) return std::nullopt;
  const Node &second = node(net.second), &masked = node(net.masked), &dw2 = node(net.dw2);
  const Value& y = graph.at(second.out());
  if (y.sizes != std::vector<std::int64_t>{net.settings.rows, 1} || epilogue_of(second) != Epilogue::none ||
      !same_elements(graph, second.in(0), hidden.out()) || !same_elements(graph, second.in(1), masked.in(1)) ||
      !same_elements(graph, masked.in(0), dw2.in(0)) || !y.contiguous()) {
    return std::nullopt;
  }
  // Who reads the hidden layer's gradient: the first layer's weight and bias.
  const Value& dz = graph.at(masked.out());
  if (uses.is_output(dz.buffer)) return std::nullopt;
  for (const int reader : uses.readers(dz.buffer)) {
    const Node& one = node(reader);
    if (one.is("levin::gemm") && same_elements(graph, one.in(0), masked.out()) && same_elements(graph, one.in(1), hidden.in(0)) &&
        epilogue_of(one) == Epilogue::none && graph.at(one.out()).contiguous() &&
        graph.at(one.out()).sizes == std::vector<std::int64_t>{net.settings.width, net.settings.inputs}) {
      net.dw1 = reader;
    } else if (one.is("aten::sum.dim_IntList") && graph.at(one.out()).numel() == net.settings.width) {
      net.db1 = reader;
    } else {
      return std::nullopt;
    }
  }
  if (net.dw1 == kNone) return std::nullopt;
  return net;
}

Argument bias_of(const Node& gemm) { return gemm.arguments[2]; }

}  // namespace

std::string MlpPayload::to_string() const {
  return "{" + std::to_string(settings.rows) + " rows, " + std::to_string(settings.inputs) + "-" +
         std::to_string(settings.width) + "-1}";
}

void fuse_small_mlp(Graph& graph) {
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!graph.nodes[n].is("levin::gemm")) continue;
    const Uses uses(graph);
    const auto net = network_at(graph, uses, static_cast<int>(n));
    if (!net) continue;
    const auto node = [&](int id) -> Node& { return graph.nodes[static_cast<std::size_t>(id)]; };
    // The backward node stands where the last of its parts stood; parameters are not written within a step.
    const int last = std::max({net->masked, net->dw2, net->dw1, net->db1});
    const Node hidden = node(net->first), second = node(net->second), masked = node(net->masked);
    bool read_between = false;
    for (int k = std::min({net->masked, net->dw2, net->dw1}); k < last; ++k) {
      if (k == net->masked || k == net->dw2 || k == net->dw1 || k == net->db1) continue;
      for (const ValueId value : node(k).inputs()) {
        read_between |= graph.at(value).buffer == graph.at(node(net->dw1).out()).buffer ||
                        graph.at(value).buffer == graph.at(node(net->dw2).out()).buffer;
      }
    }
    if (read_between) continue;
    auto payload = std::make_shared<MlpPayload>();
    payload->settings = net->settings;
    Node forward;
    forward.op = "levin::mlp";
    forward.arguments = {hidden.arguments[0], hidden.arguments[1], bias_of(hidden), second.arguments[1], bias_of(second)};
    forward.results = second.results;
    forward.payload = payload;
    Node backward;
    backward.op = "levin::mlp_backward";
    backward.arguments = {hidden.arguments[0], hidden.arguments[1], bias_of(hidden), second.arguments[1], masked.arguments[0]};
    backward.results = {node(net->dw1).results[0],
                        {net->db1 == kNone ? kNone : node(net->db1).out()},
                        node(net->dw2).results[0]};
    backward.payload = std::move(payload);
    for (const int part : {net->first, net->masked, net->dw2, net->dw1}) node(part).dead = true;
    if (net->db1 != kNone) node(net->db1).dead = true;
    node(net->second) = std::move(forward);
    node(last) = std::move(backward);
    graph.note("fused a network of one hidden layer");
  }
  graph.sweep();
}

}  // namespace levin::compile
