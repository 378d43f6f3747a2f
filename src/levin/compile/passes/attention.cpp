#include <levin/compile/passes/attention.h>

#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <vector>

namespace levin::compile {
namespace {

constexpr std::string_view kForward = "aten::_scaled_dot_product_flash_attention_for_cpu";
constexpr std::string_view kBackward = "aten::_scaled_dot_product_flash_attention_for_cpu_backward";

// `settings` is the place of dropout, causal, mask and scale among the arguments.
std::optional<Node> native(const Graph& graph, const Node& node, std::size_t settings) {
  if (node.constant(settings).toDouble() != 0) return std::nullopt;
  const bool masked = node.arguments[settings + 2].kind == Argument::Kind::value && node.in(settings + 2) != kNone;
  auto payload = std::make_shared<AttentionPayload>();
  payload->causal = node.constant(settings + 1).toBool();
  const c10::IValue& scale = node.constant(settings + 3);
  const double depth = static_cast<double>(graph.at(node.in(1)).sizes.back());
  payload->scale = static_cast<float>(scale.isNone() ? 1 / std::sqrt(depth) : scale.toDouble());
  Node attention;
  attention.op = settings == 3 ? "levin::attention" : "levin::attention_backward";
  attention.arguments.assign(node.arguments.begin(), node.arguments.begin() + static_cast<std::ptrdiff_t>(settings));
  attention.arguments.push_back(masked ? node.arguments[settings + 2] : Argument::of(c10::IValue()));
  attention.results = node.results;
  attention.payload = std::move(payload);
  if (!attention_of(graph, attention)) return std::nullopt;
  return attention;
}

}  // namespace

std::string AttentionPayload::to_string() const {
  return "{scale " + std::to_string(scale) + (causal ? ", causal}" : "}");
}

std::optional<kernels::HeadStrides> head_strides(const Value& value) {
  if (value.dtype != at::kFloat || value.dim() != 4 || value.numel() == 0) return std::nullopt;
  if (value.sizes[3] > 1 && value.strides[3] != 1) return std::nullopt;
  const std::int64_t time = value.sizes[2] == 1 ? value.sizes[3] : value.strides[2];
  if (time < value.sizes[3]) return std::nullopt;
  return kernels::HeadStrides{.batch = value.strides[0], .head = value.strides[1], .time = time};
}

namespace {

// How a mask [queries, keys] or [batch, heads, queries, keys] lies, whose sizes may be 1 but for the last.
std::optional<kernels::HeadStrides> mask_strides(const Value& mask, const Value& q, std::int64_t keys) {
  const std::size_t dims = mask.sizes.size();
  if (mask.dtype != at::kFloat || (dims != 2 && dims != 4)) return std::nullopt;
  if (mask.sizes[dims - 1] != keys || (keys > 1 && mask.strides[dims - 1] != 1)) return std::nullopt;
  std::array<std::int64_t, 3> strides = {};  // of batch, head, query
  for (std::size_t d = 0; d + 1 < dims; ++d) {
    const std::size_t of = d + 4 - dims;
    if (mask.sizes[d] != 1 && mask.sizes[d] != q.sizes[of]) return std::nullopt;
    strides[of] = mask.sizes[d] == 1 ? 0 : mask.strides[d];
  }
  return kernels::HeadStrides{.batch = strides[0], .head = strides[1], .time = strides[2]};
}

}  // namespace

std::optional<kernels::Attention> attention_of(const Graph& graph, const Node& node) {
  const std::size_t first = node.op == "levin::attention" ? 0 : 1;
  const auto& payload = static_cast<const AttentionPayload&>(*node.payload);
  const Value &q = graph.at(node.in(first)), &k = graph.at(node.in(first + 1)), &v = graph.at(node.in(first + 2));
  const Value& o = graph.at(first == 0 ? node.out() : node.in(4));
  const auto sq = head_strides(q), sk = head_strides(k), sv = head_strides(v), so = head_strides(o);
  if (!sq || !sk || !sv || !so) return std::nullopt;
  const bool fits = q.sizes[0] == k.sizes[0] && q.sizes[1] == k.sizes[1] && q.sizes[3] == k.sizes[3] &&
                    std::equal(k.sizes.begin(), k.sizes.begin() + 3, v.sizes.begin()) && o.sizes[3] == v.sizes[3];
  if (!fits) return std::nullopt;
  if (first == 1) {
    for (const ValueId value : {node.in(0), node.out(0), node.out(1), node.out(2)}) {
      if (value == kNone || !head_strides(graph.at(value))) return std::nullopt;
    }
  }
  kernels::HeadStrides mask;
  if (const Argument& given = node.arguments[first == 0 ? 3 : 6]; given.kind == Argument::Kind::value) {
    const auto strides = mask_strides(graph.at(given.values[0]), q, k.sizes[2]);
    if (!strides) return std::nullopt;
    mask = *strides;
  }
  return kernels::Attention{.batch = q.sizes[0], .heads = q.sizes[1], .queries = q.sizes[2], .keys = k.sizes[2],
                            .depth = q.sizes[3], .value_depth = v.sizes[3], .scale = payload.scale,
                            .causal = payload.causal, .q = *sq, .k = *sk, .v = *sv, .o = *so, .mask = mask};
}

void recognise_attention(Graph& graph) {
  const Uses uses(graph);
  std::size_t made = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!graph.nodes[n].is(kForward)) continue;
    auto forward = native(graph, graph.nodes[n], 3);
    if (!forward) continue;
    // The sums of exponentials are laid out as each pair of kernels likes: both of it have to be ours.
    const ValueId sums = forward->out(1);
    const BufferId memory = graph.at(sums).buffer;
    if (uses.is_output(memory) || uses.producer(graph, sums) == kNone) continue;
    std::vector<std::pair<std::size_t, Node>> backward;
    bool all = true;
    for (const int reader : uses.readers(memory)) {
      const Node& node = graph.nodes[static_cast<std::size_t>(reader)];
      auto ours = node.is(kBackward) && node.in(5) == sums ? native(graph, node, 6) : std::nullopt;
      all = all && ours;
      if (ours) backward.emplace_back(static_cast<std::size_t>(reader), std::move(*ours));
    }
    if (!all) continue;
    const Value& q = graph.at(forward->in(0));
    Value plain{.buffer = memory, .offset = graph.at(sums).offset, .sizes = {q.sizes[0], q.sizes[1], q.sizes[2]},
                .strides = {q.sizes[1] * q.sizes[2], q.sizes[2], 1}, .dtype = at::kFloat};
    const ValueId own = backward.empty() ? kNone : graph.add_value(std::move(plain));
    forward->results[1] = {own};
    graph.nodes[n] = std::move(*forward);
    for (auto& [place, node] : backward) {
      node.arguments[5] = Argument::of(own);
      graph.nodes[place] = std::move(node);
    }
    ++made;
  }
  if (made > 0) graph.note("own attention " + std::to_string(made) + " times");
}

}  // namespace levin::compile
