#include <levin/compile/passes/pointwise.h>

#include <levin/compile/passes/passes.h>

#include <algorithm>
#include <memory>
#include <sstream>

namespace levin::compile {
namespace {

using kernels::Layout;
using kernels::Pointwise;

// Beyond these a group no longer fits into the kernels' tiles and operand tables.
constexpr std::size_t kMostOps = 24, kMostOperands = 12, kMostOutputs = 8;

const Pointwise& group_of(const Node& node) { return static_cast<const PointwisePayload&>(*node.payload).group; }

bool is_flat(const Pointwise& group) {
  return group.outer == 1 || std::ranges::none_of(group.inputs, [](const auto& input) {
           return input.layout == Layout::row || input.layout == Layout::column;
         });
}

// Two groups over the same elements in the same order.
bool same_elements(const Pointwise& a, const Pointwise& b) {
  return a.outer * a.inner == b.outer * b.inner && (is_flat(a) || is_flat(b) || a.inner == b.inner);
}

// Two views of the same bytes, as the kernels see them: whole and in order of memory.
bool same_memory(const Graph& graph, ValueId a, ValueId b) {
  const Value &x = graph.at(a), &y = graph.at(b);
  return a == b || (x.buffer == y.buffer && x.offset == y.offset && x.numel() == y.numel() && x.dtype == y.dtype &&
                    ((x.contiguous() && y.contiguous()) || (x.sizes == y.sizes && x.strides == y.strides)));
}

/** The group of `first` followed by `second`, which reads results of it. */
class Merge {
 public:
  Merge(const Graph& graph, const Uses& uses, std::size_t first, std::size_t second)
      : graph_(graph), first_(graph.nodes[first]), second_(graph.nodes[second]) {
    const Pointwise &a = group_of(first_), &b = group_of(second_);
    group_.outer = is_flat(a) ? b.outer : a.outer;
    group_.inner = is_flat(a) ? b.inner : a.inner;
    for (std::size_t i = 0; i < a.inputs.size(); ++i) first_registers_.push_back(add_input(first_, i));
    for (std::size_t i = 0; i < b.inputs.size(); ++i) {
      const int from = produced(i);
      second_registers_.push_back(from >= 0 ? kResult + from : add_input(second_, i));
    }
    const int inputs = static_cast<int>(group_.inputs.size());
    const int first_ops = static_cast<int>(a.ops.size());
    const auto of_first = [&](int number) {
      if (number < 0) return number;
      const int count = static_cast<int>(a.inputs.size());
      return number < count ? first_registers_[static_cast<std::size_t>(number)] : inputs + number - count;
    };
    const auto of_second = [&](int number) {
      if (number < 0) return number;
      const int count = static_cast<int>(b.inputs.size());
      if (number >= count) return inputs + first_ops + number - count;
      const int mapped = second_registers_[static_cast<std::size_t>(number)];
      return mapped >= kResult ? of_first(a.outputs[static_cast<std::size_t>(mapped - kResult)].from) : mapped;
    };
    for (auto op : a.ops) {
      op.a = of_first(op.a), op.b = of_first(op.b), op.c = of_first(op.c);
      group_.ops.push_back(op);
    }
    for (auto op : b.ops) {
      op.a = of_second(op.a), op.b = of_second(op.b), op.c = of_second(op.c);
      group_.ops.push_back(op);
    }
    for (std::size_t o = 0; o < a.outputs.size(); ++o) {
      // Results that only the second node read are not written any more.
      const ValueId value = first_.results[o].at(0);
      const BufferId buffer = graph.at(value).buffer;
      const auto& readers = uses.readers(buffer);
      const bool inner = graph.is_temporary(value) && !uses.is_output(buffer) &&
                         std::ranges::all_of(readers, [&](int reader) { return reader == static_cast<int>(second); });
      if (inner && !a.outputs[o].sum) continue;
      auto output = a.outputs[o];
      output.from = of_first(output.from);
      group_.outputs.push_back(output);
      results_.push_back(first_.results[o]);
    }
    for (std::size_t o = 0; o < b.outputs.size(); ++o) {
      auto output = b.outputs[o];
      output.from = of_second(output.from);
      group_.outputs.push_back(output);
      results_.push_back(second_.results[o]);
    }
  }

  bool fits() const {
    return group_.ops.size() <= kMostOps && group_.outputs.size() <= kMostOutputs && group_.inputs.size() + group_.outputs.size() <= kMostOperands;
  }

  Node node() && {
    auto payload = std::make_shared<PointwisePayload>();
    payload->group = std::move(group_);
    Node node;
    node.op = "levin::pointwise";
    node.arguments = std::move(arguments_);
    node.results = std::move(results_);
    node.payload = std::move(payload);
    return node;
  }

 private:
  static constexpr int kResult = 1 << 20;  // a result of the first node, by its number

  int produced(std::size_t input) const {
    const Argument& argument = second_.arguments[input];
    if (argument.kind != Argument::Kind::value || group_of(second_).inputs[input].layout != Layout::full) return -1;
    const auto& outputs = group_of(first_).outputs;
    for (std::size_t o = 0; o < outputs.size(); ++o) {
      if (!outputs[o].sum && same_memory(graph_, first_.results[o].at(0), argument.values[0])) return static_cast<int>(o);
    }
    return -1;
  }

  int add_input(const Node& node, std::size_t i) {
    const auto input = group_of(node).inputs[i];
    const Argument& argument = node.arguments[i];
    for (std::size_t known = 0; known < arguments_.size(); ++known) {
      if (group_.inputs[known].layout != input.layout) continue;
      const bool same = input.layout == Layout::constant ? group_.inputs[known].value == input.value
                                                         : same_memory(graph_, arguments_[known].values[0], argument.values[0]);
      if (same) return static_cast<int>(known);
    }
    group_.inputs.push_back(input);
    arguments_.push_back(argument);
    return static_cast<int>(arguments_.size()) - 1;
  }

  const Graph& graph_;
  const Node &first_, &second_;
  Pointwise group_;
  std::vector<Argument> arguments_;
  std::vector<std::vector<ValueId>> results_;
  std::vector<int> first_registers_, second_registers_;
};

// The group that makes something `node` reads, if the two can become one.
int partner(const Graph& graph, const Uses& uses, std::size_t n) {
  const Node& node = graph.nodes[n];
  for (std::size_t i = 0; i < node.arguments.size(); ++i) {
    const Argument& argument = node.arguments[i];
    if (argument.kind != Argument::Kind::value || group_of(node).inputs[i].layout != Layout::full) continue;
    const int producer = uses.producer(graph, argument.values[0]);
    if (producer == kNone || producer >= static_cast<int>(n)) continue;
    const Node& first = graph.nodes[static_cast<std::size_t>(producer)];
    if (!first.is("levin::pointwise") || !same_elements(group_of(first), group_of(node))) continue;
    // Every way that the second node reads the first's results has to be one that a register can stand for.
    const auto results = first.outputs();
    bool registers = true;
    for (std::size_t j = 0; j < node.arguments.size(); ++j) {
      if (node.arguments[j].kind != Argument::Kind::value) continue;
      for (std::size_t o = 0; o < results.size(); ++o) {
        if (graph.at(results[o]).buffer != graph.at(node.arguments[j].values[0]).buffer) continue;
        registers &= group_of(node).inputs[j].layout == Layout::full && !group_of(first).outputs[o].sum &&
                     same_memory(graph, results[o], node.arguments[j].values[0]);
      }
    }
    if (registers && may_move(graph, static_cast<std::size_t>(producer), n)) return producer;
  }
  return kNone;
}

}  // namespace

std::string PointwisePayload::to_string() const {
  std::ostringstream out;
  out << "{[" << group.outer << ", " << group.inner << "]";
  const auto number = [&](int id) {
    std::ostringstream name;
    if (id < static_cast<int>(group.inputs.size())) {
      const auto& input = group.inputs[static_cast<std::size_t>(id)];
      if (input.layout == Layout::constant) {
        name << input.value;
      } else {
        name << "in" << id;
      }
    } else {
      name << 'r' << id - static_cast<int>(group.inputs.size());
    }
    return name.str();
  };
  for (std::size_t i = 0; i < group.ops.size(); ++i) {
    const auto& op = group.ops[i];
    out << "; r" << i << " = " << kernels::name_of(op.code) << '(' << number(op.a);
    if (op.b >= 0) out << ", " << number(op.b);
    if (op.c >= 0) out << ", " << number(op.c);
    if (op.p != 0 || op.q != 0 || op.r != 0) out << " | " << op.p;
    if (op.q != 0 || op.r != 0) out << ", " << op.q;
    if (op.r != 0) out << ", " << op.r;
    out << ')';
  }
  for (const auto& output : group.outputs) {
    out << "; out " << number(output.from);
    if (output.sum) out << " summed x " << output.scale;
  }
  out << '}';
  return out.str();
}

void recognise_pointwise(Graph& graph) {
  for (Node& node : graph.nodes) {
    if (auto group = pointwise_of(graph, node)) node = std::move(*group);
  }
}

void fuse_pointwise(Graph& graph) {
  std::size_t fused = 0;
  std::optional<Uses> uses;  // none after a change
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!graph.nodes[n].is("levin::pointwise")) continue;
    for (;;) {
      if (!uses) uses.emplace(graph);
      const int first = partner(graph, *uses, n);
      if (first == kNone) break;
      Merge merge(graph, *uses, static_cast<std::size_t>(first), n);
      if (!merge.fits()) break;
      Node merged = std::move(merge).node();
      graph.nodes[static_cast<std::size_t>(first)].dead = true;
      graph.nodes[n] = std::move(merged);
      uses.reset();
      ++fused;
    }
  }
  graph.sweep();
  if (fused > 0) graph.note("fused " + std::to_string(fused) + " element-wise operations into others");
}

}  // namespace levin::compile
