#include <levin/compile/kernels/loss.h>
#include <levin/compile/lowering/families.h>
#include <levin/compile/passes/losses.h>
#include <levin/core/error.h>

#include <array>

namespace levin::compile::lowering {
namespace {

struct CrossEntropySpec {
  kernels::CrossEntropy settings;
  kernels::CrossEntropyFn call;
};

// Operands: logits, target, loss, gradient, workspace.
void run_cross_entropy(const Instruction& instruction) {
  const auto& spec = instruction.as<CrossEntropySpec>();
  const auto* target = instruction.operand<std::int64_t>(1);
  const std::int64_t bad = spec.call(spec.settings,
                                     {.logits = instruction.operand<float>(0),
                                      .target = target,
                                      .loss = instruction.operand<float>(2),
                                      .gradient = instruction.operand<float>(3)},
                                     instruction.operand<void>(4));
  if (bad == kernels::kAllInRange) return;
  throw Error({.what = "cross_entropy_loss: a target is out of bounds",
               .value = std::to_string(target[bad]) + " in row " + std::to_string(bad),
               .where = {},
               .hint = "classes are 0 to " + std::to_string(spec.settings.classes - 1)});
}

std::vector<Emission> cross_entropy(const Graph&, const Node& node) {
  const auto& settings = static_cast<const CrossEntropyPayload&>(*node.payload).settings;
  return {Emission::of(&run_cross_entropy, CrossEntropySpec{settings, kernels::select_cross_entropy(settings)},
                       {node.in(0), node.in(1), node.out(0), node.out(1)},
                       kernels::cross_entropy_workspace(settings) + 1)};
}

struct MseSpec {
  kernels::Mse settings;
  kernels::MseFn call;
};

// Operands: input, target, upstream, loss, gradient, column sums.
void run_mse(const Instruction& instruction) {
  const auto& spec = instruction.as<MseSpec>();
  spec.call(spec.settings, {.input = instruction.operand<float>(0),
                            .target = instruction.operand<float>(1),
                            .upstream = instruction.operand<float>(2),
                            .loss = instruction.operand<float>(3),
                            .gradient = instruction.operand<float>(4),
                            .column_sums = instruction.operand<float>(5)});
}

std::vector<Emission> mse(const Graph&, const Node& node) {
  const auto& settings = static_cast<const MsePayload&>(*node.payload).settings;
  const ValueId upstream = node.arguments[2].kind == Argument::Kind::value ? node.in(2) : kNone;
  return {Emission::of(&run_mse, MseSpec{settings, kernels::select_mse(settings)},
                       {node.in(0), node.in(1), upstream, node.out(0), node.out(1), node.out(2)})};
}

struct SoftmaxSpec {
  kernels::Softmax settings;
  kernels::SoftmaxForwardFn forward = nullptr;
  kernels::SoftmaxBackwardFn backward = nullptr;
};

void run_softmax(const Instruction& instruction) {
  const auto& spec = instruction.as<SoftmaxSpec>();
  const auto [begin, end] = instruction.range(spec.settings.rows);
  spec.forward(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1), begin, end);
}

void run_softmax_backward(const Instruction& instruction) {
  const auto& spec = instruction.as<SoftmaxSpec>();
  const auto [begin, end] = instruction.range(spec.settings.rows);
  spec.backward(spec.settings, instruction.operand<float>(0), instruction.operand<float>(1),
                instruction.operand<float>(2), begin, end);
}

bool over_last(const Value& value, const c10::IValue& dim) {
  return value.dim() > 0 && value.numel() > 0 && (dim.toInt() == -1 || dim.toInt() == value.dim() - 1);
}

kernels::Softmax softmax_of(const Value& value, bool log) {
  return {.rows = value.numel() / value.sizes.back(), .columns = value.sizes.back(), .log = log};
}

template <bool log>
std::vector<Emission> softmax(const Graph& graph, const Node& node) {
  const Value& x = graph.at(node.in(0));
  if (!is_plain(graph, node.in(0)) || !is_plain(graph, node.out()) || !over_last(x, node.constant(1))) return {};
  const auto settings = softmax_of(x, log);
  return {Emission::of(&run_softmax, SoftmaxSpec{.settings = settings, .forward = kernels::select_softmax_forward(settings)},
                       {node.in(0), node.out()})
              .split(settings.rows)};
}

template <bool log>
std::vector<Emission> softmax_backward(const Graph& graph, const Node& node) {
  const Value& dy = graph.at(node.in(0));
  for (const ValueId value : {node.in(0), node.in(1), node.out()}) {
    if (!is_plain(graph, value)) return {};
  }
  if (!over_last(dy, node.constant(2))) return {};
  const auto settings = softmax_of(dy, log);
  return {Emission::of(&run_softmax_backward,
                       SoftmaxSpec{.settings = settings, .backward = kernels::select_softmax_backward(settings)},
                       {node.in(0), node.in(1), node.out()})
              .split(settings.rows)};
}

constexpr std::array<Rule, 6> kRules = {{
    {"levin::cross_entropy", "cross entropy and its gradient", &cross_entropy,
     "[rows, classes] and int64 class numbers, ignore_index; no weights, no label smoothing; mean or sum; the loss itself is what gradients are taken of",
     "`_log_softmax`, `nll_loss_forward` and their gradients"},
    {"levin::mse", "squared error, its gradient and the gradient's column sums", &mse,
     "both of one shape; mean or sum",
     "`mse_loss`, `mse_loss_backward`, and the `sum.dim_IntList` of its gradient"},
    {"aten::_softmax", "softmax over the last dimension", &softmax<false>,
     "the last dimension"},
    {"aten::_log_softmax", "log-softmax over the last dimension", &softmax<true>,
     "the last dimension"},
    {"aten::_softmax_backward_data", "softmax's gradient", &softmax_backward<false>,
     "the last dimension"},
    {"aten::_log_softmax_backward_data", "log-softmax's gradient", &softmax_backward<true>,
     "the last dimension"},
}};

}  // namespace

std::span<const Rule> losses() { return kRules; }

}  // namespace levin::compile::lowering
