#include <levin/compile/passes/losses.h>

#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace levin::compile {
namespace {

using kernels::Reduction;

// at::Reduction's numbers.
Reduction reduction_of(const c10::IValue& value) {
  switch (value.toInt()) {
    case 1: return Reduction::mean;
    case 2: return Reduction::sum;
    default: return Reduction::none;
  }
}

const char* name_of(Reduction reduction) {
  return reduction == Reduction::mean ? "mean" : reduction == Reduction::sum ? "sum" : "none";
}

bool plain(const Graph& graph, ValueId value, at::ScalarType dtype = at::kFloat) {
  return value != kNone && graph.at(value).dtype == dtype && graph.at(value).contiguous();
}

// The gradient that arrives at a loss; None where it is known to be 1.
Argument upstream_of(const Graph& graph, ValueId value) {
  return graph.buffer_of(value).uniform == 1.0 ? Argument::of(c10::IValue()) : Argument::of(value);
}

bool is_given(const Argument& argument) { return argument.kind == Argument::Kind::value && argument.values[0] != kNone; }

void recognise_mse(Graph& graph) {
  for (Node& node : graph.nodes) {
    const bool forward = node.is("aten::mse_loss"), backward = node.is("aten::mse_loss_backward");
    if (!forward && !backward) continue;
    const std::size_t first = backward ? 1 : 0;
    const ValueId input = node.in(first), target = node.in(first + 1);
    const Reduction reduction = reduction_of(node.constant(first + 2));
    const auto& shape = graph.at(input);
    if (reduction == Reduction::none || !plain(graph, input) || !plain(graph, target) || !plain(graph, node.out()) ||
        shape.sizes != graph.at(target).sizes) {
      continue;
    }
    auto payload = std::make_shared<MsePayload>();
    payload->settings.columns = shape.sizes.empty() ? 1 : shape.sizes.back();
    payload->settings.rows = payload->settings.columns == 0 ? 0 : shape.numel() / payload->settings.columns;
    payload->settings.reduction = reduction;
    if (payload->settings.rows == 0) continue;
    Node loss;
    loss.op = "levin::mse";
    loss.payload = std::move(payload);
    loss.arguments = {Argument::of(input), Argument::of(target),
                      backward ? upstream_of(graph, node.in(0)) : Argument::of(c10::IValue())};
    loss.results = {{forward ? node.out() : kNone}, {backward ? node.out() : kNone}, {kNone}};
    node = std::move(loss);
  }
}

std::size_t fuse_mse(Graph& graph) {
  std::size_t fused = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    Node& backward = graph.nodes[n];
    if (!backward.is("levin::mse") || backward.out(1) == kNone || is_given(backward.arguments[2])) continue;
    for (std::size_t f = 0; f < n; ++f) {
      Node& forward = graph.nodes[f];
      if (!forward.is("levin::mse") || forward.out(0) == kNone || forward.out(1) != kNone) continue;
      if (forward.in(0) != backward.in(0) || forward.in(1) != backward.in(1) || !may_move(graph, n, f)) continue;
      forward.results[1] = backward.results[1];
      backward.dead = true;
      ++fused;
      break;
    }
  }
  graph.sweep();
  // The gradient of a bias that was added just before the loss.
  for (Node& sum : graph.nodes) {
    if (!sum.is("aten::sum.dim_IntList") || !plain(graph, sum.in(0))) continue;
    const Value &from = graph.at(sum.in(0)), &to = graph.at(sum.out());
    const auto dims = sum.constant(1).isIntList() ? sum.constant(1).toIntVector() : std::vector<std::int64_t>{};
    if (dims != std::vector<std::int64_t>{0} || from.dim() != 2 || to.dtype != at::kFloat || !to.contiguous()) continue;
    const Uses uses(graph);
    const int producer = uses.producer(graph, sum.in(0));
    if (producer == kNone) continue;
    Node& loss = graph.nodes[static_cast<std::size_t>(producer)];
    if (!loss.is("levin::mse") || loss.out(1) != sum.in(0) || loss.out(2) != kNone) continue;
    loss.results[2] = {sum.out()};
    sum.dead = true;
    ++fused;
  }
  graph.sweep();
  return fused;
}

struct Pieces {
  std::size_t log_softmax, nll, nll_backward, backward;
};

// log_softmax -> nll_loss_forward, nll_loss_backward -> log_softmax_backward, with nobody else looking at what is between.
std::optional<Pieces> cross_entropy_at(const Graph& graph, const Uses& uses, std::size_t n) {
  const Node& backward = graph.nodes[n];
  const int nll_backward = uses.producer(graph, backward.in(0)), log_softmax = uses.producer(graph, backward.in(1));
  if (nll_backward == kNone || log_softmax == kNone) return std::nullopt;
  const Node& between = graph.nodes[static_cast<std::size_t>(nll_backward)];
  const Node& first = graph.nodes[static_cast<std::size_t>(log_softmax)];
  if (!between.is("aten::nll_loss_backward") || !first.is("aten::_log_softmax")) return std::nullopt;
  if (!uses.only_reader(graph, backward.in(0), static_cast<int>(n))) return std::nullopt;
  const BufferId probabilities = graph.at(backward.in(1)).buffer;
  if (uses.is_output(probabilities) || uses.readers(probabilities).size() != 3) return std::nullopt;
  for (const int reader : uses.readers(probabilities)) {
    const Node& nll = graph.nodes[static_cast<std::size_t>(reader)];
    if (!nll.is("aten::nll_loss_forward")) continue;
    const BufferId total_weight = graph.at(nll.out(1)).buffer;
    for (const int user : uses.readers(total_weight)) {
      if (user != nll_backward) return std::nullopt;
    }
    return Pieces{static_cast<std::size_t>(log_softmax), static_cast<std::size_t>(reader),
                  static_cast<std::size_t>(nll_backward), n};
  }
  return std::nullopt;
}

std::size_t fuse_cross_entropy(Graph& graph) {
  std::size_t fused = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!graph.nodes[n].is("aten::_log_softmax_backward_data")) continue;
    const Uses uses(graph);
    const auto pieces = cross_entropy_at(graph, uses, n);
    if (!pieces) continue;
    const Node& first = graph.nodes[pieces->log_softmax];
    const Node& nll = graph.nodes[pieces->nll];
    const Node& nll_backward = graph.nodes[pieces->nll_backward];
    const Value& logits = graph.at(first.in(0));
    const bool last = logits.dim() == 2 && (first.constant(1).toInt() == 1 || first.constant(1).toInt() == -1);
    const Argument upstream = upstream_of(graph, nll_backward.in(0));
    // One pass gives loss and gradient, so the gradient must not wait for anything.
    if (!last || is_given(upstream) || !plain(graph, first.in(0)) || !plain(graph, nll.in(1), at::kLong) ||
        graph.at(nll.in(1)).dim() != 1 || is_given(nll.arguments[2]) || !plain(graph, graph.nodes[n].out())) {
      continue;
    }
    const Reduction reduction = reduction_of(nll.constant(3));
    if (reduction == Reduction::none || logits.numel() == 0) continue;
    auto payload = std::make_shared<CrossEntropyPayload>();
    payload->settings = {.rows = logits.sizes[0], .classes = logits.sizes[1], .ignore_index = nll.constant(4).toInt(),
                         .reduction = reduction, .label_smoothing = 0};
    Node loss;
    loss.op = "levin::cross_entropy";
    loss.payload = std::move(payload);
    loss.arguments = {first.arguments[0], nll.arguments[1], Argument::of(c10::IValue()), Argument::of(c10::IValue())};
    loss.results = {{nll.out(0)}, {graph.nodes[n].out()}};
    graph.nodes[pieces->log_softmax].dead = graph.nodes[pieces->nll_backward].dead = graph.nodes[n].dead = true;
    graph.nodes[pieces->nll] = std::move(loss);
    ++fused;
  }
  graph.sweep();
  return fused;
}

}  // namespace

std::string CrossEntropyPayload::to_string() const {
  return "{" + std::to_string(settings.rows) + " rows, " + std::to_string(settings.classes) + " classes, " +
         name_of(settings.reduction) + "}";
}

std::string MsePayload::to_string() const {
  return "{" + std::to_string(settings.rows) + " x " + std::to_string(settings.columns) + ", " +
         name_of(settings.reduction) + "}";
}

void fuse_losses(Graph& graph) {
  recognise_mse(graph);
  const std::size_t mse = fuse_mse(graph);
  const std::size_t cross_entropy = fuse_cross_entropy(graph);
  if (mse + cross_entropy > 0) graph.note("fused losses with their gradients");
}

}  // namespace levin::compile
