#include <levin/compile/lower.h>

#include <levin/compile/lowering/families.h>
#include <levin/compile/memory_plan.h>

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_map>

namespace levin::compile {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, LowerOptions options) : graph_(graph), options_(options) {}

  Lowered run() {
    choose();
    place_buffers();
    for (const Choice& choice : choices_) {
      if (choice.native.empty()) {
        add_boxed(*choice.node);
      } else {
        for (const Emission& emission : choice.native) add_native(*choice.node, emission);
      }
    }
    add_last_uses();
    for (const Output& output : graph_.outputs) {
      if (output.kind != Output::Kind::result) continue;
      code_->results.push_back({.place = place(output.value), .value = graph_.at(output.value), .name = output.name});
    }
    return {.code = std::move(code_), .externals = std::move(externals_)};
  }

 private:
  struct Choice {
    const Node* node;
    std::vector<Emission> native;
    int first_step = 0, last_step = 0;
  };

  void choose() {
    int step = 0;
    for (const Node& node : graph_.nodes) {
      if (node.dead) continue;
      Choice choice{.node = &node, .native = {}};
      if (options_.native) choice.native = lower_natively(graph_, node);
      choice.first_step = step;
      step += std::max<int>(1, static_cast<int>(choice.native.size()));
      choice.last_step = step - 1;
      choices_.push_back(std::move(choice));
    }
  }

  // A boxed call returns memory of its own; everything else that lives within the step lies in the arena.
  void place_buffers() {
    const std::size_t count = graph_.buffers.size();
    buffer_places_.resize(count);
    last_use_.assign(count, -1);
    std::vector<int> first(count, std::numeric_limits<int>::max());
    std::vector<bool> boxed(count, false);
    for (const Choice& choice : choices_) {
      const auto touch = [&](ValueId value) {
        const auto b = static_cast<std::size_t>(graph_.at(value).buffer);
        first[b] = std::min(first[b], choice.first_step);
        last_use_[b] = std::max(last_use_[b], choice.last_step);
      };
      for (const ValueId value : choice.node->inputs()) touch(value);
      for (const ValueId value : choice.node->outputs()) touch(value);
      if (!choice.native.empty() || !choice.node->handle) continue;
      for (const auto& list : choice.node->results) {
        for (const ValueId value : list) {
          if (value == kNone || !graph_.is_temporary(value) || writes_in_place(*choice.node, value)) continue;
          boxed[static_cast<std::size_t>(graph_.at(value).buffer)] = true;
        }
      }
    }
    for (const Output& output : graph_.outputs) {
      if (output.value != kNone) {
        last_use_[static_cast<std::size_t>(graph_.at(output.value).buffer)] = std::numeric_limits<int>::max();
      }
    }
    int end = 0;
    for (const Choice& choice : choices_) end = std::max(end, choice.last_step);

    std::vector<Lifetime> lifetimes;
    std::vector<std::size_t> owner;
    for (std::size_t b = 0; b < count; ++b) {
      const Buffer& buffer = graph_.buffers[b];
      Place& place = buffer_places_[b];
      switch (buffer.kind) {
        case Buffer::Kind::external:
          place = {.kind = Place::Kind::external, .index = static_cast<int>(externals_.size()), .offset = 0};
          externals_.push_back(buffer.tensor);
          break;
        case Buffer::Kind::input: {
          place = {.kind = Place::Kind::input, .index = buffer.input, .offset = 0};
          const auto position = static_cast<std::size_t>(buffer.input);
          if (code_->inputs.size() <= position) code_->inputs.resize(position + 1, 0);
          code_->inputs[position] = buffer.bytes;
          break;
        }
        case Buffer::Kind::temporary:
          if (last_use_[b] < 0) break;
          if (boxed[b]) {
            place = {.kind = Place::Kind::boxed, .index = static_cast<int>(code_->boxed_buffers++), .offset = 0};
            boxed_ids_.push_back(static_cast<BufferId>(b));
          } else {
            lifetimes.push_back({.bytes = static_cast<std::size_t>(buffer.bytes),
                                 .first = first[b],
                                 .last = std::min(last_use_[b], end)});
            owner.push_back(b);
          }
          break;
      }
    }
    const MemoryPlan plan = plan_memory(lifetimes);
    for (std::size_t i = 0; i < owner.size(); ++i) {
      buffer_places_[owner[i]] = {
          .kind = Place::Kind::arena, .index = 0, .offset = static_cast<std::int64_t>(plan.offsets[i])};
    }
    std::size_t workspace = 0;
    for (const Choice& choice : choices_) {
      for (const Emission& emission : choice.native) workspace = std::max(workspace, emission.workspace);
    }
    workspace_ = {.kind = Place::Kind::arena, .index = 0, .offset = static_cast<std::int64_t>(plan.total)};
    workspace = (workspace + MemoryPlan::kAlignment - 1) / MemoryPlan::kAlignment * MemoryPlan::kAlignment;
    code_->workspace_bytes = workspace;
    code_->arena_bytes = plan.total + workspace;
  }

  static bool writes_in_place(const Graph& graph, const Node& node, ValueId value) {
    for (const std::size_t a : node.writes_arguments) {
      for (const ValueId argument : node.arguments[a].values) {
        if (argument != kNone && graph.at(argument).buffer == graph.at(value).buffer) return true;
      }
    }
    return false;
  }
  bool writes_in_place(const Node& node, ValueId value) const { return writes_in_place(graph_, node, value); }

  Place place(ValueId id) const {
    const Value& value = graph_.at(id);
    Place place = buffer_places_[static_cast<std::size_t>(value.buffer)];
    place.offset += value.offset * static_cast<std::int64_t>(c10::elementSize(value.dtype));
    return place;
  }

  void add_native(const Node& node, const Emission& emission) {
    Code::Step step{.name = node.op, .run = emission.run, .spec = emission.spec, .first_operand = code_->places.size(),
                    .operands = emission.operands.size(), .boxed = nullptr, .drawn = {}, .last_uses = {}};
    for (const ValueId operand : emission.operands) {
      code_->places.push_back(operand == kNone ? Place() : place(operand));
    }
    if (emission.workspace > 0) {
      code_->places.push_back(workspace_);
      ++step.operands;
    }
    step.pieces = emission.pieces;
    step.has_workspace = emission.workspace > 0;
    if (emission.draws) step.drawn = Code::Drawn{.value = graph_.at(node.out()), .captured = node.draw};
    code_->steps.push_back(std::move(step));
  }

  void add_boxed(const Node& node) {
    auto boxed = std::make_shared<BoxedCall>();
    boxed->op = node.handle;
    boxed->draw = node.draw;
    Code::Step step{.name = node.op, .run = nullptr, .spec = nullptr, .first_operand = code_->places.size(),
                    .operands = 0, .boxed = nullptr, .drawn = {}, .last_uses = {}};
    const auto add_operand = [&](ValueId value) {
      if (value == kNone) return kNone;
      code_->places.push_back(place(value));
      boxed->values.push_back(graph_.at(value));
      return static_cast<int>(step.operands++);
    };
    if (!node.handle) {
      if (node.op == "levin::fill") {
        add_fill(node, *boxed, add_operand);
      } else if (node.op == "levin::copy") {  // operand 1 is copied into operand 0
        add_operand(node.out());
        add_operand(node.in(0));
      } else {
        throw std::logic_error("compile: " + node.op + " has no kernel for these shapes:\n" + graph_.to_string());
      }
    } else {
      for (const Argument& argument : node.arguments) {
        BoxedCall::Operand operand{.kind = argument.kind, .operands = {}, .constant = argument.constant};
        for (const ValueId value : argument.values) operand.operands.push_back(add_operand(value));
        boxed->arguments.push_back(std::move(operand));
      }
      if (node.random) {
        const auto& arguments = node.handle->schema().arguments();
        const auto found = std::ranges::find(arguments, "generator", &c10::Argument::name);
        if (found != arguments.end()) boxed->generator = static_cast<int>(found - arguments.begin());
      }
      for (const auto& list : node.results) {
        for (const ValueId value : list) {
          const Place where = value == kNone ? Place() : place(value);
          const bool returned = where.kind == Place::Kind::boxed && !writes_in_place(node, value);
          boxed->results.push_back(returned ? where.index : kNone);
          boxed->offsets.push_back(returned ? where.offset : 0);
        }
      }
    }
    step.boxed = std::move(boxed);
    ++code_->boxed_calls;
    code_->steps.push_back(std::move(step));
  }

  template <class AddOperand>
  void add_fill(const Node& node, BoxedCall& boxed, const AddOperand& add_operand) {
    boxed.op = c10::Dispatcher::singleton().findSchemaOrThrow("aten::fill_", "Scalar");
    boxed.arguments.push_back({.kind = Argument::Kind::value, .operands = {add_operand(node.out())}, .constant = {}});
    boxed.arguments.push_back({.kind = Argument::Kind::constant, .operands = {}, .constant = node.constant(0)});
    boxed.results.push_back(kNone);
    boxed.offsets.push_back(0);
  }

  void add_last_uses() {
    for (std::size_t i = 0; i < boxed_ids_.size(); ++i) {
      const int last = last_use_[static_cast<std::size_t>(boxed_ids_[i])];
      if (last < static_cast<int>(code_->steps.size())) {
        code_->steps[static_cast<std::size_t>(last)].last_uses.push_back(static_cast<BufferId>(i));
      }
    }
  }

  const Graph& graph_;
  LowerOptions options_;
  std::shared_ptr<Code> code_ = std::make_shared<Code>();
  std::vector<at::Tensor> externals_;
  std::vector<Choice> choices_;
  std::vector<Place> buffer_places_;
  std::vector<BufferId> boxed_ids_;
  std::vector<int> last_use_;
  Place workspace_;
};

}  // namespace

std::span<const Rule> rules() {
  static const std::vector<Rule> all = [] {
    std::vector<Rule> list;
    for (const auto& family : lowering::families()) list.insert(list.end(), family.rules.begin(), family.rules.end());
    return list;
  }();
  return all;
}

std::vector<Emission> lower_natively(const Graph& graph, const Node& node) {
  static const auto by_name = [] {
    std::unordered_multimap<std::string_view, const Rule*> map;
    for (const Rule& rule : rules()) map.emplace(rule.op, &rule);
    return map;
  }();
  const auto [begin, end] = by_name.equal_range(node.op);
  for (auto it = begin; it != end; ++it) {
    if (auto emissions = it->second->emit(graph, node); !emissions.empty()) return emissions;
  }
  return {};
}

Lowered lower(const Graph& graph, LowerOptions options) { return Lowering(graph, options).run(); }

}  // namespace levin::compile
