#include <levin/compile/kernels/conv.h>
#include <levin/compile/kernels/pool.h>
#include <levin/compile/lowering/families.h>

#include <algorithm>
#include <array>
#include <optional>

namespace levin::compile::lowering {
namespace {

std::vector<std::int64_t> pair_of(const c10::IValue& value) {
  auto list = value.toIntVector();
  if (list.size() == 1) list.push_back(list[0]);
  return list;
}

bool all_are(const std::vector<std::int64_t>& list, std::int64_t value) {
  return std::ranges::all_of(list, [&](std::int64_t one) { return one == value; });
}

// --- convolution ---

// The direct kernels beat oneDNN for few channels (benchmarks/compile/own_or_aten.cpp). The choice hangs on the shape
// alone: the bits of a run must not depend on what was measured when it began.
bool are_few(std::int64_t in_channels, std::int64_t out_channels) {
  return in_channels <= 4 ? out_channels <= 64 : in_channels <= 8 && out_channels <= 32;
}

// Settings of a 2-D convolution of stride 1 without dilation and groups; `stride` is the number of that argument.
std::optional<kernels::Conv> conv_of(const Graph& graph, const Node& node, ValueId input, ValueId weight,
                                     std::size_t stride) {
  if (!is_plain(graph, input) || !is_plain(graph, weight)) return std::nullopt;
  const Value &x = graph.at(input), &w = graph.at(weight);
  if (x.dim() != 4 || w.dim() != 4 || x.numel() == 0) return std::nullopt;
  const bool plain = all_are(node.constant(stride).toIntVector(), 1) &&
                     all_are(node.constant(stride + 2).toIntVector(), 1) && !node.constant(stride + 3).toBool() &&
                     node.constant(stride + 5).toInt() == 1;
  const auto padding = pair_of(node.constant(stride + 1));
  if (!plain || !are_few(x.sizes[1], w.sizes[0])) return std::nullopt;
  const kernels::Conv conv{.batch = x.sizes[0], .in_channels = x.sizes[1], .out_channels = w.sizes[0],
                           .height = x.sizes[2], .width = x.sizes[3], .kernel_h = w.sizes[2], .kernel_w = w.sizes[3],
                           .padding_h = padding[0], .padding_w = padding[1]};
  if (!kernels::conv_is_served(conv)) return std::nullopt;
  return conv;
}

template <class Fn>
struct Spec {
  kernels::Conv settings;
  Fn call;
};

// Operands: x, weight, bias, y, workspace.
void run_forward(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<kernels::ConvForwardFn>>();
  const auto [begin, end] = instruction.range(spec.settings.batch);
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1), instruction.operand<float>(2),
            instruction.operand<float>(3), instruction.operand<void>(4), begin, end);
}

std::vector<Emission> convolution(const Graph& graph, const Node& node) {
  const auto conv = conv_of(graph, node, node.in(0), node.in(1), 3);
  if (!conv || !is_plain(graph, node.out())) return {};
  const ValueId bias = node.arguments[2].kind == Argument::Kind::value ? node.in(2) : kNone;
  if (bias != kNone && !is_plain(graph, bias)) return {};
  return {Emission::of(&run_forward, Spec<kernels::ConvForwardFn>{*conv, kernels::select_conv_forward(*conv)},
                       {node.in(0), node.in(1), bias, node.out()}, kernels::conv_workspace(*conv) + 1)
              .split(conv->batch)};
}

// Operands: dy, weight, dx, workspace.
void run_input_gradient(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<kernels::ConvInputFn>>();
  const auto [begin, end] = instruction.range(spec.settings.batch);
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1), instruction.operand<float>(2),
            instruction.operand<void>(3), begin, end);
}

// Operands: x, dy, dweight, dbias, workspace.
void run_weight_gradient(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<kernels::ConvWeightFn>>();
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1), instruction.operand<float>(2),
            instruction.operand<float>(3), instruction.operand<void>(4));
}

std::vector<Emission> convolution_backward(const Graph& graph, const Node& node) {
  const ValueId dy = node.in(0), x = node.in(1), weight = node.in(2);
  const auto conv = conv_of(graph, node, x, weight, 4);
  if (!conv || !is_plain(graph, dy)) return {};
  const ValueId dx = node.out(0), dweight = node.out(1), dbias = node.out(2);
  for (const ValueId result : {dx, dweight, dbias}) {
    if (result != kNone && !is_plain(graph, result)) return {};
  }
  if (dweight == kNone && dbias != kNone) return {};
  const std::size_t workspace = kernels::conv_workspace(*conv) + 1;
  std::vector<Emission> list;
  if (dx != kNone) {
    list.push_back(Emission::of(&run_input_gradient,
                                Spec<kernels::ConvInputFn>{*conv, kernels::select_conv_input(*conv)}, {dy, weight, dx},
                                workspace)
                       .split(conv->batch));
  }
  if (dweight != kNone) {
    list.push_back(Emission::of(&run_weight_gradient,
                                Spec<kernels::ConvWeightFn>{*conv, kernels::select_conv_weight(*conv)},
                                {x, dy, dweight, dbias}, workspace));
  }
  return list;
}

// --- max pooling ---

std::optional<kernels::Pool> pool_of(const Graph& graph, const Node& node, ValueId input, std::size_t kernel) {
  const Value& x = graph.at(input);
  if (!is_plain(graph, input) || x.dim() < 3 || x.numel() == 0) return std::nullopt;
  const auto size = pair_of(node.constant(kernel));
  auto stride = node.constant(kernel + 1).toIntVector();
  if (stride.empty()) stride = size;
  if (stride.size() == 1) stride.push_back(stride[0]);
  const auto padding = pair_of(node.constant(kernel + 2)), dilation = pair_of(node.constant(kernel + 3));
  const std::size_t h = x.sizes.size() - 2;
  return kernels::Pool{.planes = x.numel() / (x.sizes[h] * x.sizes[h + 1]), .height = x.sizes[h],
                       .width = x.sizes[h + 1], .kernel_h = size[0], .kernel_w = size[1], .stride_h = stride[0],
                       .stride_w = stride[1], .padding_h = padding[0], .padding_w = padding[1],
                       .dilation_h = dilation[0], .dilation_w = dilation[1],
                       .ceil_mode = node.constant(kernel + 4).toBool()};
}

template <class Fn>
struct PoolSpec {
  kernels::Pool settings;
  Fn call;
};

// Operands: x, y, places.
void run_max_pool(const Instruction& instruction) {
  const auto& spec = instruction.as<PoolSpec<kernels::MaxPoolForwardFn>>();
  const auto [begin, end] = instruction.range(spec.settings.planes);
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1),
            instruction.operand<std::int64_t>(2), begin, end);
}

std::vector<Emission> emit_max_pool(const Graph& graph, const Node& node, const std::optional<kernels::Pool>& pool) {
  if (!pool || !is_plain(graph, node.in(0)) || !is_plain(graph, node.out(0)) || (node.out(1) != kNone && !graph.at(node.out(1)).contiguous())) return {};
  return {Emission::of(&run_max_pool,
                       PoolSpec<kernels::MaxPoolForwardFn>{*pool, kernels::select_max_pool_forward(*pool)},
                       {node.in(0), node.out(0), node.out(1)})
              .split(pool->planes)};
}

std::vector<Emission> max_pool(const Graph& graph, const Node& node) {
  auto pool = pool_of(graph, node, node.in(0), 1);
  if (pool) pool->relu = node.op == "levin::relu_max_pool";
  return emit_max_pool(graph, node, pool);
}

// Operands: dy, places, dx.
void run_max_pool_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<PoolSpec<kernels::MaxPoolBackwardFn>>();
  const auto [begin, end] = instruction.range(spec.settings.planes);
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<std::int64_t>(1),
            instruction.operand<float>(2), begin, end);
}

std::vector<Emission> emit_max_pool_backward(const Graph& graph, const Node& node, const std::optional<kernels::Pool>& pool,
                                             ValueId places) {
  if (!pool || !is_plain(graph, node.in(0)) || !is_plain(graph, node.out()) || !graph.at(places).contiguous()) return {};
  return {Emission::of(&run_max_pool_backward,
                       PoolSpec<kernels::MaxPoolBackwardFn>{*pool, kernels::select_max_pool_backward(*pool)},
                       {node.in(0), places, node.out()})
              .split(pool->planes)};
}

std::vector<Emission> max_pool_backward(const Graph& graph, const Node& node) {
  return emit_max_pool_backward(graph, node, pool_of(graph, node, node.in(1), 2), node.in(7));
}

// --- average pooling ---

using AvgSpec = PoolSpec<kernels::AvgPoolFn>;

// Operands: from, to.
void run_avg_pool(const Instruction& instruction) {
  const auto& spec = instruction.as<AvgSpec>();
  const auto [begin, end] = instruction.range(spec.settings.planes);
  spec.call(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1), begin, end);
}

std::vector<Emission> emit_avg_pool(const Graph& graph, const Node& node, const std::optional<kernels::Pool>& pool, bool forward) {
  if (!pool || !is_plain(graph, node.in(0)) || !is_plain(graph, node.out())) return {};
  return {Emission::of(&run_avg_pool,
                       AvgSpec{*pool, forward ? kernels::select_avg_pool_forward(*pool) : kernels::select_avg_pool_backward(*pool)},
                       {node.in(0), node.out()})
              .split(pool->planes)};
}

// `kernel` is the place of the window's size among the arguments.
std::optional<kernels::Pool> avg_pool_of(const Graph& graph, const Node& node, ValueId image, std::size_t kernel) {
  const Value& x = graph.at(image);
  if (x.dtype != at::kFloat || x.dim() < 3 || x.numel() == 0) return std::nullopt;
  const auto size = pair_of(node.constant(kernel)), padding = pair_of(node.constant(kernel + 2));
  auto stride = node.constant(kernel + 1).toIntVector();
  if (stride.empty()) stride = size;
  if (stride.size() == 1) stride.push_back(stride[0]);
  const std::size_t h = x.sizes.size() - 2;
  const c10::IValue& divisor = node.constant(kernel + 5);
  return kernels::Pool{.planes = x.numel() / (x.sizes[h] * x.sizes[h + 1]), .height = x.sizes[h], .width = x.sizes[h + 1],
                       .kernel_h = size[0], .kernel_w = size[1], .stride_h = stride[0], .stride_w = stride[1],
                       .padding_h = padding[0], .padding_w = padding[1], .ceil_mode = node.constant(kernel + 3).toBool(),
                       .count_include_pad = node.constant(kernel + 4).toBool(),
                       .divisor_override = divisor.isNone() ? 0 : divisor.toInt()};
}

std::optional<kernels::Pool> adaptive_pool_of(const Value& x, const Value& y) {
  if (x.dtype != at::kFloat || x.dim() < 3 || x.numel() == 0 || y.dim() != x.dim() || y.numel() == 0) return std::nullopt;
  const std::size_t h = x.sizes.size() - 2;
  kernels::Pool pool{.planes = x.numel() / (x.sizes[h] * x.sizes[h + 1]), .height = x.sizes[h], .width = x.sizes[h + 1]};
  if (x.sizes[h] % y.sizes[h] != 0 || x.sizes[h + 1] % y.sizes[h + 1] != 0) {
    pool.adaptive_h = y.sizes[h], pool.adaptive_w = y.sizes[h + 1];
  } else {  // windows side by side
    pool.kernel_h = pool.stride_h = x.sizes[h] / y.sizes[h];
    pool.kernel_w = pool.stride_w = x.sizes[h + 1] / y.sizes[h + 1];
  }
  return pool;
}

std::vector<Emission> avg_pool(const Graph& graph, const Node& node) {
  return emit_avg_pool(graph, node, avg_pool_of(graph, node, node.in(0), 1), true);
}
std::vector<Emission> avg_pool_backward(const Graph& graph, const Node& node) {
  return emit_avg_pool(graph, node, avg_pool_of(graph, node, node.in(1), 2), false);
}
std::vector<Emission> adaptive_avg_pool(const Graph& graph, const Node& node) {
  return emit_avg_pool(graph, node, adaptive_pool_of(graph.at(node.in(0)), graph.at(node.out())), true);
}
std::vector<Emission> adaptive_avg_pool_backward(const Graph& graph, const Node& node) {
  return emit_avg_pool(graph, node, adaptive_pool_of(graph.at(node.out()), graph.at(node.in(0))), false);
}

std::vector<Emission> adaptive_max_pool(const Graph& graph, const Node& node) {
  return emit_max_pool(graph, node, adaptive_pool_of(graph.at(node.in(0)), graph.at(node.out(0))));
}
std::vector<Emission> adaptive_max_pool_backward(const Graph& graph, const Node& node) {
  return emit_max_pool_backward(graph, node, adaptive_pool_of(graph.at(node.out()), graph.at(node.in(0))), node.in(2));
}

constexpr std::array<Rule, 12> kRules = {{
    {"aten::convolution", "direct convolution of few channels", &convolution,
     "2-D, stride 1, no dilation, one group, not transposed; at most 8 input and 32 output channels, or 4 and 64; kernels up to 7 x 7, padding below the kernel's size"},
    {"aten::convolution_backward", "its gradients", &convolution_backward,
     "as forward; a gradient of the bias only beside that of the weight"},
    {"aten::max_pool2d_with_indices", "max pooling", &max_pool,
     "any window, stride, padding, dilation, ceil_mode"},
    {"aten::max_pool2d_with_indices_backward", "its gradient", &max_pool_backward,
     "as forward"},
    {"aten::avg_pool2d", "average pooling", &avg_pool,
     "any window, stride, padding, ceil_mode, count_include_pad, divisor_override"},
    {"aten::avg_pool2d_backward", "its gradient", &avg_pool_backward,
     "as forward"},
    {"aten::_adaptive_avg_pool2d", "average pooling into a given size", &adaptive_avg_pool,
     "even and uneven windows"},
    {"aten::_adaptive_avg_pool2d_backward", "its gradient", &adaptive_avg_pool_backward,
     "as forward"},
    {"aten::adaptive_max_pool2d", "max pooling into a given size", &adaptive_max_pool,
     "even and uneven windows"},
    {"aten::adaptive_max_pool2d_backward", "its gradient", &adaptive_max_pool_backward,
     "as forward"},
    {"levin::relu_max_pool", "max pooling of relu", &max_pool,
     "as max pooling; where nobody else reads relu's result", "`relu`, `max_pool2d_with_indices`"},
    {"levin::relu_max_pool_backward", "its gradient", &max_pool_backward,
     "as forward", "`max_pool2d_with_indices_backward`, `threshold_backward`"},
}};

}  // namespace

std::span<const Rule> images() { return kRules; }

}  // namespace levin::compile::lowering
