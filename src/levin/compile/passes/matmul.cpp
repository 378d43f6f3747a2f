#include <levin/compile/passes/matmul.h>

#include <levin/compile/passes/passes.h>

#include <memory>

namespace levin::compile {
namespace {

using kernels::Gemm;

/** How a matrix lies in memory. */
struct MatrixLayout {
  bool transposed = false;
  std::int64_t ld = 0;
};

std::optional<MatrixLayout> layout_of(std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                                      std::int64_t column_stride) {
  if (columns == 1 || column_stride == 1) {
    // A column of a wider matrix lies transposed in its row.
    if (columns == 1 && row_stride == 1 && rows > 1) return MatrixLayout{.transposed = false, .ld = 1};
    return MatrixLayout{.transposed = false, .ld = rows == 1 ? columns : row_stride};
  }
  if (rows == 1 || row_stride == 1) return MatrixLayout{.transposed = true, .ld = column_stride};
  return std::nullopt;
}

bool scalar_is(const c10::IValue& value, double expected) {
  return value.isScalar() && value.toScalar().toDouble() == expected;
}

bool is_float(const Graph& graph, std::initializer_list<ValueId> values) {
  for (const ValueId value : values) {
    if (value == kNone || graph.at(value).dtype != at::kFloat) return false;
  }
  return true;
}

std::shared_ptr<GemmPayload> payload_of(const Node& node) {
  return std::make_shared<GemmPayload>(static_cast<const GemmPayload&>(*node.payload));
}

// A bias that the kernel adds to each row.
bool is_row_bias(const Graph& graph, ValueId bias, ValueId result) {
  const Value& b = graph.at(bias);
  const std::int64_t n = graph.at(result).sizes.back();
  return b.dtype == at::kFloat && b.numel() == n && b.contiguous() && (b.dim() == 1 || b.sizes.back() == n);
}

Node gemm_node(const Node& from, ValueId a, ValueId b, Argument bias, float alpha) {
  auto payload = std::make_shared<GemmPayload>();
  payload->alpha = alpha;
  Node node;
  node.op = "levin::gemm";
  node.arguments = {Argument::of(a), Argument::of(b), std::move(bias), Argument::of(c10::IValue())};
  node.results = from.results;
  node.payload = std::move(payload);
  return node;
}

}  // namespace

std::string GemmPayload::to_string() const {
  std::string text = "{";
  if (alpha != 1) text += "alpha " + std::to_string(alpha);
  if (epilogue == Gemm::Epilogue::relu) text += text.size() > 1 ? ", relu" : "relu";
  if (epilogue == Gemm::Epilogue::relu_mask) text += text.size() > 1 ? ", relu mask" : "relu mask";
  return text + "}";
}

std::optional<Gemm> gemm_of(const Graph& graph, const Node& node) {
  const auto& payload = static_cast<const GemmPayload&>(*node.payload);
  const Value &a = graph.at(node.in(0)), &b = graph.at(node.in(1)), &c = graph.at(node.out());
  const std::size_t first = c.sizes.size() - 2;  // 0, or 1 with a batch dimension
  Gemm gemm;
  gemm.m = c.sizes[first];
  gemm.n = c.sizes[first + 1];
  gemm.k = a.sizes[first + 1];
  const auto la = layout_of(gemm.m, gemm.k, a.strides[first], a.strides[first + 1]);
  const auto lb = layout_of(gemm.k, gemm.n, b.strides[first], b.strides[first + 1]);
  const auto lc = layout_of(gemm.m, gemm.n, c.strides[first], c.strides[first + 1]);
  if (!la || !lb || !lc || lc->transposed || gemm.m == 0 || gemm.n == 0) return std::nullopt;
  gemm.transpose_a = la->transposed, gemm.lda = la->ld;
  gemm.transpose_b = lb->transposed, gemm.ldb = lb->ld;
  gemm.ldc = lc->ld;
  gemm.alpha = payload.alpha;
  gemm.bias = node.arguments[2].kind == Argument::Kind::value;
  gemm.epilogue = payload.epilogue;
  if (gemm.epilogue == Gemm::Epilogue::relu_mask) {
    const Value& mask = graph.at(node.in(3));
    const auto lm = layout_of(gemm.m, gemm.n, mask.strides[first], mask.strides[first + 1]);
    if (!lm || lm->transposed) return std::nullopt;
    gemm.ld_mask = lm->ld;
    if (first == 1) gemm.stride_mask = mask.strides[0];
  }
  if (first == 1) {
    gemm.batch = c.sizes[0];
    gemm.stride_a = a.strides[0], gemm.stride_b = b.strides[0], gemm.stride_c = c.strides[0];
  }
  return gemm;
}

namespace {

// From 4 MB of right-hand operand on MKL is faster, by up to two times for few rows (benchmarks/compile/own_or_aten.cpp).
// The choice hangs on the shape alone: the bits of a run must not depend on what was measured when it began.
bool is_for_aten(const Gemm& gemm) { return gemm.n * gemm.k >= (1 << 20); }

}  // namespace

void recognise_matmul(Graph& graph) {
  std::size_t left = 0;
  const auto is_ours = [&](const Node& node) {
    const auto gemm = gemm_of(graph, node);
    if (!gemm || !is_for_aten(*gemm)) return gemm.has_value();
    ++left;
    return false;
  };
  for (Node& node : graph.nodes) {
    if (node.is("aten::mm") || node.is("aten::bmm")) {
      if (!is_float(graph, {node.in(0), node.in(1), node.out()})) continue;
      Node gemm = gemm_node(node, node.in(0), node.in(1), Argument::of(c10::IValue()), 1);
      if (is_ours(gemm)) node = std::move(gemm);
    } else if (node.is("aten::addmm") || node.is("aten::baddbmm")) {
      const ValueId bias = node.in(0);
      if (!is_float(graph, {bias, node.in(1), node.in(2), node.out()})) continue;
      if (!scalar_is(node.constant(3), 1) || !scalar_is(node.constant(4), 1)) continue;
      if (!is_row_bias(graph, bias, node.out())) continue;
      Node gemm = gemm_node(node, node.in(1), node.in(2), Argument::of(bias), 1);
      if (is_ours(gemm)) node = std::move(gemm);
    }
  }
  if (left > 0) graph.note("left " + std::to_string(left) + " large matrix products to ATen");
}

namespace {

// The product that alone makes `value`, the whole of its result seen in some shape, for one reader: `node`.
int product_before(const Graph& graph, const Uses& uses, ValueId value, std::size_t node) {
  const int producer = uses.producer(graph, value);
  if (producer == kNone || !uses.only_reader(graph, value, static_cast<int>(node))) return kNone;
  const Node& product = graph.nodes[static_cast<std::size_t>(producer)];
  if (!product.is("levin::gemm")) return kNone;
  const Value &seen = graph.at(value), &made = graph.at(product.out());
  const bool whole = seen.contiguous() && made.contiguous() && seen.offset == made.offset &&
                     seen.numel() == made.numel() && seen.dtype == made.dtype;
  return whole && may_move(graph, static_cast<std::size_t>(producer), node) ? producer : kNone;
}

// `value` in the shape of a product's result.
ValueId in_shape_of(Graph& graph, ValueId value, ValueId result) {
  if (graph.at(value).sizes == graph.at(result).sizes) return value;
  Value seen = graph.at(value);
  seen.sizes = graph.at(result).sizes;
  seen.strides = graph.at(result).strides;
  return graph.add_value(std::move(seen));
}

// Rows of a product to which the same bias is added, as Linear does for a batch of sequences.
std::size_t fuse_biases(Graph& graph) {
  std::size_t fused = 0;
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& add = graph.nodes[n];
    if (!add.is("aten::add.Tensor") || !scalar_is(add.constant(2), 1)) continue;
    const Uses uses(graph);
    for (const std::size_t side : {0, 1}) {
      if (add.arguments[side].kind != Argument::Kind::value || add.arguments[1 - side].kind != Argument::Kind::value) break;
      const ValueId sum = add.out(), bias = add.in(1 - side);
      if (graph.at(bias).buffer == graph.at(add.in(side)).buffer) break;  // added to itself
      const int producer = product_before(graph, uses, add.in(side), n);
      if (producer == kNone || !graph.at(sum).contiguous() || graph.at(sum).sizes != graph.at(add.in(side)).sizes) continue;
      const Node& product = graph.nodes[static_cast<std::size_t>(producer)];
      const auto& before = static_cast<const GemmPayload&>(*product.payload);
      const bool plain = before.epilogue == Gemm::Epilogue::none && product.arguments[2].kind == Argument::Kind::constant;
      if (!plain || !is_row_bias(graph, bias, product.out()) || graph.at(product.out()).sizes.back() != graph.at(sum).sizes.back()) {
        continue;
      }
      Node merged = product;
      merged.arguments[2] = Argument::of(bias);
      merged.results = {{in_shape_of(graph, sum, product.out())}};
      if (!gemm_of(graph, merged)) continue;
      graph.nodes[static_cast<std::size_t>(producer)].dead = true;
      graph.nodes[n] = std::move(merged);
      ++fused;
      break;
    }
  }
  return fused;
}

}  // namespace

void fuse_epilogues(Graph& graph) {
  if (const std::size_t biases = fuse_biases(graph)) {
    graph.note("fused " + std::to_string(biases) + " biases into matrix products");
  }
  std::size_t fused = 0;
  std::optional<Uses> uses;  // none after a change
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const bool relu = node.is("aten::relu");
    const bool mask = node.is("aten::threshold_backward") && scalar_is(node.constant(2), 0);
    if (!relu && !mask) continue;
    if (!uses) uses.emplace(graph);
    const int producer = product_before(graph, *uses, node.in(0), n);
    if (producer == kNone) continue;
    const Node& product = graph.nodes[static_cast<std::size_t>(producer)];
    const auto& before = static_cast<const GemmPayload&>(*product.payload);
    const Value& to = graph.at(node.out());
    if (before.epilogue != Gemm::Epilogue::none || !to.contiguous()) continue;
    if (mask && (graph.at(node.in(1)).sizes != to.sizes || !graph.at(node.in(1)).contiguous())) continue;
    Node merged = product;
    auto payload = payload_of(product);
    payload->epilogue = relu ? Gemm::Epilogue::relu : Gemm::Epilogue::relu_mask;
    merged.payload = std::move(payload);
    const ValueId mask_value = mask ? node.in(1) : kNone, result = node.out();
    if (mask) merged.arguments[3] = Argument::of(in_shape_of(graph, mask_value, product.out()));
    merged.results = {{in_shape_of(graph, result, product.out())}};
    if (!gemm_of(graph, merged)) continue;
    graph.nodes[static_cast<std::size_t>(producer)].dead = true;
    graph.nodes[n] = std::move(merged);
    uses.reset();
    ++fused;
  }
  graph.sweep();
  if (fused > 0) graph.note("fused " + std::to_string(fused) + " activations into matrix products");
}

}  // namespace levin::compile
