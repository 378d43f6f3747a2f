#include <levin/compile/kernels/embedding.h>
#include <levin/compile/kernels/lstm_layer.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/attention.h>
#include <levin/compile/passes/lstm.h>
#include <levin/core/error.h>

#include <array>

namespace levin::compile::lowering {
namespace {

// --- embedding ---

[[noreturn]] void refuse_id(const kernels::Embedding& table, const std::int64_t* ids, std::int64_t at) {
  throw Error({.what = "embedding: an id is out of range",
               .value = std::to_string(ids[at]) + " at position " + std::to_string(at),
               .where = {},
               .hint = "ids are 0 to " + std::to_string(table.rows - 1)});
}

bool is_plain_ids(const Graph& graph, ValueId ids) {
  return ids != kNone && graph.at(ids).dtype == at::kLong && graph.at(ids).contiguous();
}

struct LookupSpec {
  kernels::Embedding settings;
};

// Operands: table, ids, y.
void run_embedding(const Instruction& instruction) {
  const auto& settings = instruction.as<LookupSpec>().settings;
  const auto* ids = instruction.operand<std::int64_t>(1);
  const std::int64_t bad = kernels::embedding_forward(settings, instruction.operand<float>(0), ids, instruction.operand<float>(2));
  if (bad >= 0) refuse_id(settings, ids, bad);
}

std::vector<Emission> embedding(const Graph& graph, const Node& node) {
  const Value& table = graph.at(node.in(0));
  if (!is_plain(graph, node.in(0)) || !is_plain(graph, node.out()) || !is_plain_ids(graph, node.in(1)) || table.dim() != 2) {
    return {};
  }
  return {Emission::of(&run_embedding,
                       LookupSpec{{.rows = table.sizes[0], .columns = table.sizes[1], .count = graph.at(node.in(1)).numel()}},
                       {node.in(0), node.in(1), node.out()})};
}

struct LookupGradientSpec {
  kernels::Embedding settings;
  kernels::EmbeddingBackwardFn call;
};

// Operands: dy, ids, dtable.
void run_embedding_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<LookupGradientSpec>();
  const auto* ids = instruction.operand<std::int64_t>(1);
  const std::int64_t bad = spec.call(spec.settings, instruction.operand<float>(0), ids, instruction.operand<float>(2), false);
  if (bad >= 0) refuse_id(spec.settings, ids, bad);
}

std::vector<Emission> embedding_backward(const Graph& graph, const Node& node) {
  const Value& table = graph.at(node.out());
  if (!is_plain(graph, node.in(0)) || !is_plain(graph, node.out()) || !is_plain_ids(graph, node.in(1)) || table.dim() != 2) {
    return {};
  }
  const kernels::Embedding settings{.rows = table.sizes[0], .columns = table.sizes[1],
                                    .count = graph.at(node.in(1)).numel(), .padding_idx = node.constant(3).toInt(),
                                    .scale_by_frequency = node.constant(4).toBool()};
  return {Emission::of(&run_embedding_backward,
                       LookupGradientSpec{settings, kernels::select_embedding_backward(settings)},
                       {node.in(0), node.in(1), node.out()})};
}

// --- attention ---

struct AttentionSpec {
  kernels::Attention settings;
  kernels::AttentionForwardFn call;
};

ValueId mask_of(const Node& node, std::size_t argument) {
  return node.arguments[argument].kind == Argument::Kind::value ? node.in(argument) : kNone;
}

// Operands: q, k, v, o, log sums, mask, workspace.
void run_attention(const Instruction& instruction) {
  const auto& spec = instruction.as<AttentionSpec>();
  const auto [begin, end] = instruction.range(spec.settings.units());
  spec.call(spec.settings,
            {.q = instruction.operand<float>(0), .k = instruction.operand<float>(1), .v = instruction.operand<float>(2),
             .mask = instruction.operand<float>(5), .o = instruction.operand<float>(3),
             .log_sum_exp = instruction.operand<float>(4)},
            instruction.operand<void>(6), begin, end);
}

std::vector<Emission> attention(const Graph& graph, const Node& node) {
  const auto settings = attention_of(graph, node);
  if (!settings) return {};
  return {Emission::of(&run_attention, AttentionSpec{*settings, kernels::select_attention_forward(*settings)},
                       {node.in(0), node.in(1), node.in(2), node.out(0), node.out(1), mask_of(node, 3)},
                       kernels::attention_workspace(*settings) + 1)
              .split(settings->units())};
}

struct AttentionGradientSpec {
  kernels::Attention settings;
  kernels::AttentionBackwardFn call;
  kernels::HeadStrides d_o, d_q, d_k, d_v;
};

// Operands: do, q, k, v, o, log sums, dq, dk, dv, mask, workspace.
void run_attention_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<AttentionGradientSpec>();
  const auto [begin, end] = instruction.range(spec.settings.units());
  spec.call(spec.settings,
            {.d_o = instruction.operand<float>(0), .q = instruction.operand<float>(1), .k = instruction.operand<float>(2),
             .v = instruction.operand<float>(3), .mask = instruction.operand<float>(9), .o = instruction.operand<float>(4),
             .log_sum_exp = instruction.operand<float>(5), .d_q = instruction.operand<float>(6),
             .d_k = instruction.operand<float>(7), .d_v = instruction.operand<float>(8), .d_o_strides = spec.d_o,
             .d_q_strides = spec.d_q, .d_k_strides = spec.d_k, .d_v_strides = spec.d_v},
            instruction.operand<void>(10), begin, end);
}

std::vector<Emission> attention_backward(const Graph& graph, const Node& node) {
  const auto settings = attention_of(graph, node);
  if (!settings) return {};
  const auto strides = [&](ValueId value) { return *head_strides(graph.at(value)); };
  return {Emission::of(&run_attention_backward,
                       AttentionGradientSpec{.settings = *settings,
                                             .call = kernels::select_attention_backward(*settings),
                                             .d_o = strides(node.in(0)), .d_q = strides(node.out(0)),
                                             .d_k = strides(node.out(1)), .d_v = strides(node.out(2))},
                       {node.in(0), node.in(1), node.in(2), node.in(3), node.in(4), node.in(5), node.out(0),
                        node.out(1), node.out(2), mask_of(node, 6)},
                       kernels::attention_workspace(*settings) + 1)
              .split(settings->units())};
}

// --- LSTM ---

// Operands: x, w_ih, w_hh, b_ih, b_hh, h0, c0, out, hy, cy, cells, gates, workspace.
void run_lstm(const Instruction& instruction) {
  const auto& spec = instruction.as<kernels::LstmLayer>();
  spec.forward({.x = instruction.operand<float>(0), .w_ih = instruction.operand<float>(1),
                .w_hh = instruction.operand<float>(2), .b_ih = instruction.operand<float>(3),
                .b_hh = instruction.operand<float>(4), .h0 = instruction.operand<float>(5),
                .c0 = instruction.operand<float>(6), .out = instruction.operand<float>(7),
                .hy = instruction.operand<float>(8), .cy = instruction.operand<float>(9),
                .cells = instruction.operand<float>(10), .gates = instruction.operand<float>(11)},
               instruction.operand<void>(12));
}

std::vector<Emission> lstm(const Graph&, const Node& node) {
  const kernels::LstmLayer layer(static_cast<const LstmPayload&>(*node.payload).shape);
  std::vector<ValueId> operands;
  for (std::size_t a = 0; a < 7; ++a) operands.push_back(node.in(a));
  for (std::size_t r = 0; r < 5; ++r) operands.push_back(node.out(r));
  return {Emission::of(&run_lstm, layer, std::move(operands), layer.workspace() + 1)};
}

struct LstmGradientSpec {
  kernels::LstmLayer layer;
  std::int64_t d_out_time, d_out_row;
};

// Operands: dout, dhy, dcy, x, w_ih, w_hh, h0, c0, out, cells, gates, dx, dw_ih, dw_hh, db_ih, db_hh, dh0, dc0, workspace.
void run_lstm_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<LstmGradientSpec>();
  spec.layer.backward({.d_out = instruction.operand<float>(0), .d_out_time = spec.d_out_time, .d_out_row = spec.d_out_row, .d_hy = instruction.operand<float>(1),
                 .d_cy = instruction.operand<float>(2), .x = instruction.operand<float>(3),
                 .w_ih = instruction.operand<float>(4), .w_hh = instruction.operand<float>(5),
                 .h0 = instruction.operand<float>(6), .c0 = instruction.operand<float>(7),
                 .out = instruction.operand<float>(8), .cells = instruction.operand<float>(9),
                 .gates = instruction.operand<float>(10), .d_x = instruction.operand<float>(11),
                 .d_w_ih = instruction.operand<float>(12), .d_w_hh = instruction.operand<float>(13),
                 .d_b_ih = instruction.operand<float>(14), .d_b_hh = instruction.operand<float>(15),
                 .d_h0 = instruction.operand<float>(16), .d_c0 = instruction.operand<float>(17)},
                instruction.operand<void>(18));
}

std::vector<Emission> lstm_backward(const Graph&, const Node& node) {
  const auto& payload = static_cast<const LstmPayload&>(*node.payload);
  const kernels::LstmLayer layer(payload.shape);
  std::vector<ValueId> operands;
  for (std::size_t a = 0; a < 11; ++a) {
    operands.push_back(node.arguments[a].kind == Argument::Kind::value ? node.in(a) : kNone);
  }
  for (std::size_t r = 0; r < 7; ++r) operands.push_back(node.out(r));
  return {Emission::of(&run_lstm_backward, LstmGradientSpec{layer, payload.d_out_time, payload.d_out_row}, std::move(operands), layer.workspace() + 1)};
}

constexpr std::array<Rule, 6> kRules = {{
    {"aten::embedding", "rows of a table by number", &embedding,
     "a [rows, columns] table and int64 ids"},
    {"aten::embedding_dense_backward", "its gradient", &embedding_backward,
     "as forward; padding_idx, scale_grad_by_freq"},
    {"levin::attention", "scaled dot product attention, causal or not", &attention,
     "[batch, heads, time, depth] of any strides whose rows lie together; a float mask of any broadcast but along the keys; no dropout (`bmm`, `_softmax` and so on then)",
     "`_scaled_dot_product_flash_attention_for_cpu`"},
    {"levin::attention_backward", "its gradients", &attention_backward,
     "as forward",
     "`_scaled_dot_product_flash_attention_for_cpu_backward`"},
    {"levin::lstm", "one direction of one layer of an LSTM over a whole sequence", &lstm,
     "each layer and direction by itself, with biases, without projection",
     "`mkldnn_rnn_layer`"},
    {"levin::lstm_backward", "its gradients", &lstm_backward,
     "as forward",
     "`mkldnn_rnn_layer_backward`"},
}};

}  // namespace

std::span<const Rule> sequences() { return kRules; }

}  // namespace levin::compile::lowering
