#include <levin/compile/kernels/norm.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/rms_norm.h>

#include <array>
#include <initializer_list>
#include <optional>

namespace levin::compile::lowering {
namespace {

template <class Settings, class Fn>
struct Spec {
  Settings settings;
  Fn call;
};

// A tensor argument that may be left out.
ValueId optional(const Node& node, std::size_t argument) {
  const Argument& given = node.arguments[argument];
  return given.kind == Argument::Kind::value ? given.values[0] : kNone;
}

// All that are there are plain and have so many elements (-1: any number).
bool all_plain(const Graph& graph, std::initializer_list<ValueId> values, std::int64_t elements = -1) {
  for (const ValueId value : values) {
    if (value == kNone) continue;
    if (!is_plain(graph, value) || (elements >= 0 && graph.at(value).numel() != elements)) return false;
  }
  return true;
}

// --- batch norm ---

using kernels::BatchNorm;
using BatchForward = Spec<BatchNorm, kernels::BatchNormForwardFn>;
using BatchBackward = Spec<BatchNorm, kernels::BatchNormBackwardFn>;

// Whether the values lie alike: row-major all, or channels last all.
bool lie_alike(const Graph& graph, std::initializer_list<ValueId> values) {
  const Value& first = graph.at(*values.begin());
  for (const ValueId value : values) {
    if (value == kNone) continue;
    const Value& other = graph.at(value);
    if (other.dtype != at::kFloat || other.sizes != first.sizes) return false;
    if (!(first.contiguous() ? other.contiguous() : first.channels_last() && other.channels_last())) return false;
  }
  return true;
}

std::optional<BatchNorm> batch_norm_of(const Value& x) {
  if (x.dim() < 2 || x.numel() == 0) return std::nullopt;
  // With channels last each pixel is a row of [batch, channels].
  if (!x.contiguous()) return BatchNorm{.batch = x.numel() / x.sizes[1], .channels = x.sizes[1]};
  return BatchNorm{.batch = x.sizes[0], .channels = x.sizes[1], .area = x.numel() / (x.sizes[0] * x.sizes[1])};
}

constexpr std::int64_t kChannels = 8;  // whole vectors of them, where they lie last

// Operands: x, weight, bias, running mean, running variance, y, saved mean, saved inverse deviation, residual.
void run_batch_norm(const Instruction& instruction) {
  const auto& spec = instruction.as<BatchForward>();
  const auto [begin, end] = instruction.range(spec.settings.channels, kChannels);
  spec.call(spec.settings,
            {.x = instruction.operand<float>(0), .weight = instruction.operand<float>(1),
             .bias = instruction.operand<float>(2), .running_mean = instruction.operand<float>(3),
             .running_var = instruction.operand<float>(4), .y = instruction.operand<float>(5),
             .save_mean = instruction.operand<float>(6), .save_invstd = instruction.operand<float>(7),
             .residual = instruction.operand<float>(8)},
            begin, end);
}

std::vector<Emission> batch_norm(const Graph& graph, const Node& node) {
  const ValueId x = node.in(0), y = node.out(0);
  auto settings = batch_norm_of(graph.at(x));
  if (!settings) return {};
  const bool adds = node.op == "levin::batch_norm_add_relu";
  settings->relu = adds || node.op == "levin::batch_norm_relu";
  const ValueId residual = adds ? node.in(8) : kNone;  // behind the recorded arguments
  if (!lie_alike(graph, {x, y, residual})) return {};
  settings->training = node.constant(5).toBool();
  settings->momentum = node.constant(6).toDouble();
  settings->eps = node.constant(7).toDouble();
  const ValueId weight = optional(node, 1), bias = optional(node, 2), mean = optional(node, 3), var = optional(node, 4);
  ValueId save_mean = node.out(1), save_invstd = node.out(2);
  if (!settings->training) save_mean = save_invstd = kNone;
  if (!all_plain(graph, {weight, bias, mean, var, save_mean, save_invstd}, settings->channels)) return {};
  if (settings->training ? save_mean == kNone || save_invstd == kNone : mean == kNone || var == kNone) return {};
  return {Emission::of(&run_batch_norm, BatchForward{*settings, kernels::select_batch_norm_forward(*settings)},
                       {x, weight, bias, mean, var, y, save_mean, save_invstd, residual})
              .split(settings->channels, kChannels)};
}

// Operands: dy, x, weight, running mean and variance, saved mean and inverse deviation, dx, dweight, dbias, y, bias.
void run_batch_norm_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<BatchBackward>();
  const auto [begin, end] = instruction.range(spec.settings.channels, kChannels);
  spec.call(spec.settings,
            {.dy = instruction.operand<float>(0), .x = instruction.operand<float>(1), .y = instruction.operand<float>(10),
             .weight = instruction.operand<float>(2), .bias = instruction.operand<float>(11), .running_mean = instruction.operand<float>(3),
             .running_var = instruction.operand<float>(4), .save_mean = instruction.operand<float>(5),
             .save_invstd = instruction.operand<float>(6), .dx = instruction.operand<float>(7),
             .dweight = instruction.operand<float>(8), .dbias = instruction.operand<float>(9)},
            begin, end);
}

std::vector<Emission> batch_norm_backward(const Graph& graph, const Node& node) {
  const ValueId dy = node.in(0), x = node.in(1), dx = node.out(0);
  auto settings = batch_norm_of(graph.at(x));
  if (!settings) return {};
  settings->relu = node.op == "levin::batch_norm_relu_backward";
  // Behind the recorded arguments.
  const ValueId y = settings->relu ? optional(node, 10) : kNone, bias = settings->relu ? optional(node, 11) : kNone;
  if (!lie_alike(graph, {x, dy, y, dx})) return {};
  settings->training = node.constant(7).toBool();
  settings->eps = node.constant(8).toDouble();
  const ValueId weight = optional(node, 2), mean = optional(node, 3), var = optional(node, 4);
  ValueId save_mean = optional(node, 5), save_invstd = optional(node, 6);
  if (!settings->training) save_mean = save_invstd = kNone;
  const ValueId dweight = node.out(1), dbias = node.out(2);
  if (!all_plain(graph, {weight, bias, mean, var, save_mean, save_invstd, dweight, dbias}, settings->channels)) return {};
  if (settings->training ? save_mean == kNone || save_invstd == kNone : mean == kNone || var == kNone) return {};
  return {Emission::of(&run_batch_norm_backward,
                       BatchBackward{*settings, kernels::select_batch_norm_backward(*settings)},
                       {dy, x, weight, mean, var, save_mean, save_invstd, dx, dweight, dbias, y, bias})
              .split(settings->channels, kChannels)};
}

// --- layer norm ---

using kernels::LayerNorm;
using LayerForward = Spec<LayerNorm, kernels::LayerNormForwardFn>;
using LayerBackward = Spec<LayerNorm, kernels::LayerNormBackwardFn>;

std::optional<LayerNorm> layer_norm_of(const Value& x, const c10::IValue& shape) {
  std::int64_t columns = 1;
  for (const std::int64_t size : shape.toIntVector()) columns *= size;
  if (columns == 0 || x.numel() == 0) return std::nullopt;
  return LayerNorm{.rows = x.numel() / columns, .columns = columns};
}

// Operands: x, weight, bias, y, mean, inverse deviation.
void run_layer_norm(const Instruction& instruction) {
  const auto& spec = instruction.as<LayerForward>();
  const auto [begin, end] = instruction.range(spec.settings.rows);
  spec.call(spec.settings,
            {.x = instruction.operand<float>(0), .weight = instruction.operand<float>(1),
             .bias = instruction.operand<float>(2), .y = instruction.operand<float>(3),
             .mean = instruction.operand<float>(4), .rstd = instruction.operand<float>(5)},
            begin, end);
}

std::vector<Emission> layer_norm(const Graph& graph, const Node& node) {
  const ValueId x = node.in(0), y = node.out(0), mean = node.out(1), rstd = node.out(2);
  auto settings = layer_norm_of(graph.at(x), node.constant(1));
  const ValueId weight = optional(node, 2), bias = optional(node, 3);
  if (!settings || !all_plain(graph, {x, y}) || !all_plain(graph, {mean, rstd}, settings->rows) ||
      !all_plain(graph, {weight, bias}, settings->columns)) {
    return {};
  }
  settings->eps = node.constant(4).toDouble();
  return {Emission::of(&run_layer_norm, LayerForward{*settings, kernels::select_layer_norm_forward(*settings)},
                       {x, weight, bias, y, mean, rstd})
              .split(settings->rows)};
}

// Operands: dy, x, weight, mean, inverse deviation, dx, dweight, dbias.
void run_layer_norm_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<LayerBackward>();
  spec.call(spec.settings,
            {.dy = instruction.operand<float>(0), .x = instruction.operand<float>(1),
             .weight = instruction.operand<float>(2), .mean = instruction.operand<float>(3),
             .rstd = instruction.operand<float>(4), .dx = instruction.operand<float>(5),
             .dweight = instruction.operand<float>(6), .dbias = instruction.operand<float>(7)});
}

std::vector<Emission> layer_norm_backward(const Graph& graph, const Node& node) {
  const ValueId dy = node.in(0), x = node.in(1), mean = node.in(3), rstd = node.in(4);
  const ValueId dx = node.out(0), dweight = node.out(1), dbias = node.out(2), weight = optional(node, 5);
  const auto settings = layer_norm_of(graph.at(x), node.constant(2));
  if (!settings || !all_plain(graph, {dy, x, dx}) || !all_plain(graph, {mean, rstd}, settings->rows) ||
      !all_plain(graph, {weight, dweight, dbias}, settings->columns)) {
    return {};
  }
  return {Emission::of(&run_layer_norm_backward,
                       LayerBackward{*settings, kernels::select_layer_norm_backward(*settings)},
                       {dy, x, weight, mean, rstd, dx, dweight, dbias})};
}

// --- RMS norm ---

const LayerNorm& rms_norm_of(const Node& node) { return static_cast<const RmsNormPayload&>(*node.payload).settings; }

std::vector<Emission> rms_norm(const Graph&, const Node& node) {
  const LayerNorm& settings = rms_norm_of(node);
  return {Emission::of(&run_layer_norm, LayerForward{settings, kernels::select_layer_norm_forward(settings)},
                       {node.in(0), optional(node, 1), kNone, node.out(0), kNone, node.out(1)})};
}

std::vector<Emission> rms_norm_backward(const Graph&, const Node& node) {
  const LayerNorm& settings = rms_norm_of(node);
  return {Emission::of(&run_layer_norm_backward, LayerBackward{settings, kernels::select_layer_norm_backward(settings)},
                       {node.in(0), node.in(1), optional(node, 2), kNone, node.in(3), node.out(), kNone, kNone})};
}

std::vector<Emission> rms_norm_weight(const Graph&, const Node& node) {
  const LayerNorm& settings = rms_norm_of(node);
  return {Emission::of(&run_layer_norm_backward, LayerBackward{settings, kernels::select_layer_norm_backward(settings)},
                       {node.in(0), node.in(1), kNone, kNone, node.in(2), kNone, node.out(), kNone})};
}

// --- group norm ---

using kernels::GroupNorm;

// By the places of N, which C, the area and the groups follow.
GroupNorm group_norm_of(const Node& node, std::size_t n) {
  return {.batch = node.constant(n).toInt(), .channels = node.constant(n + 1).toInt(), .area = node.constant(n + 2).toInt(),
          .groups = node.constant(n + 3).toInt()};
}

// Operands: x, weight, bias, y, mean, inverse deviation.
void run_group_norm(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<GroupNorm, kernels::GroupNormForwardFn>>();
  spec.call(spec.settings,
            {.x = instruction.operand<float>(0), .weight = instruction.operand<float>(1),
             .bias = instruction.operand<float>(2), .y = instruction.operand<float>(3),
             .mean = instruction.operand<float>(4), .rstd = instruction.operand<float>(5)});
}

std::vector<Emission> group_norm(const Graph& graph, const Node& node) {
  const ValueId x = node.in(0), y = node.out(0), mean = node.out(1), rstd = node.out(2);
  GroupNorm settings = group_norm_of(node, 3);
  settings.eps = node.constant(7).toDouble();
  const ValueId weight = optional(node, 1), bias = optional(node, 2);
  if (graph.at(x).numel() == 0 || !all_plain(graph, {x, y}) || !all_plain(graph, {mean, rstd}, settings.batch * settings.groups) ||
      !all_plain(graph, {weight, bias}, settings.channels)) {
    return {};
  }
  return {Emission::of(&run_group_norm,
                       Spec<GroupNorm, kernels::GroupNormForwardFn>{settings, kernels::select_group_norm_forward(settings)},
                       {x, weight, bias, y, mean, rstd})};
}

// Operands: dy, x, weight, mean, inverse deviation, dx, dweight, dbias.
void run_group_norm_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<Spec<GroupNorm, kernels::GroupNormBackwardFn>>();
  spec.call(spec.settings,
            {.dy = instruction.operand<float>(0), .x = instruction.operand<float>(1),
             .weight = instruction.operand<float>(2), .mean = instruction.operand<float>(3),
             .rstd = instruction.operand<float>(4), .dx = instruction.operand<float>(5),
             .dweight = instruction.operand<float>(6), .dbias = instruction.operand<float>(7)});
}

std::vector<Emission> group_norm_backward(const Graph& graph, const Node& node) {
  const ValueId dy = node.in(0), x = node.in(1), mean = node.in(2), rstd = node.in(3), weight = optional(node, 4);
  const ValueId dx = node.out(0), dweight = node.out(1), dbias = node.out(2);
  const GroupNorm settings = group_norm_of(node, 5);
  if (graph.at(x).numel() == 0 || !all_plain(graph, {dy, x, dx}) || !all_plain(graph, {mean, rstd}, settings.batch * settings.groups) ||
      !all_plain(graph, {weight, dweight, dbias}, settings.channels)) {
    return {};
  }
  return {Emission::of(&run_group_norm_backward,
                       Spec<GroupNorm, kernels::GroupNormBackwardFn>{settings, kernels::select_group_norm_backward(settings)},
                       {dy, x, weight, mean, rstd, dx, dweight, dbias})};
}

constexpr std::array<Rule, 12> kRules = {{
    {"aten::native_batch_norm", "batch norm with running statistics", &batch_norm,
     "two or more dimensions; rows, or channels last throughout"},
    {"aten::native_batch_norm_backward", "its gradients", &batch_norm_backward,
     "as forward"},
    {"levin::batch_norm_relu", "batch norm and relu behind it", &batch_norm,
     "as batch norm",
     "`native_batch_norm`, `relu`"},
    {"levin::batch_norm_add_relu", "batch norm, a residual added, and relu", &batch_norm,
     "as batch norm",
     "`native_batch_norm`, `add.Tensor` (alpha 1), `relu`"},
    {"levin::batch_norm_relu_backward", "the gradients of batch norm and relu", &batch_norm_backward,
     "as batch norm",
     "`threshold_backward`, `native_batch_norm_backward`"},
    {"aten::native_layer_norm", "layer norm", &layer_norm,
     "any number of last dimensions"},
    {"aten::native_layer_norm_backward", "its gradients", &layer_norm_backward,
     "as forward"},
    {"levin::rms_norm", "RMS norm", &rms_norm,
     "any number of last dimensions", "`pow` by 2, `mean.dim`, `add.Scalar`, `rsqrt`, `mul.Tensor` (the weight's, too)"},
    {"levin::rms_norm_backward", "its gradient by x", &rms_norm_backward,
     "as forward", "the eleven operators that autograd makes of it"},
    {"levin::rms_norm_weight", "its gradient by the weight", &rms_norm_weight,
     "as forward", "`mul.Tensor`, `sum.dim_IntList`"},
    {"aten::native_group_norm", "group norm", &group_norm,
     ""},
    {"aten::native_group_norm_backward", "its gradients", &group_norm_backward,
     ""},
}};

}  // namespace

std::span<const Rule> norms() { return kRules; }

}  // namespace levin::compile::lowering
