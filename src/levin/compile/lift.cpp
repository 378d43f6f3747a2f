#include <levin/compile/lift.h>

#include <algorithm>
#include <array>
#include <map>
#include <span>
#include <sstream>
#include <string_view>
#include <unordered_map>
#include <utility>

namespace levin::compile {
namespace {

const void* storage_of(const at::Tensor& tensor) { return tensor.storage().unsafeGetStorageImpl(); }

std::string describe(const at::Tensor& tensor) {
  std::ostringstream out;
  out << c10::toString(tensor.scalar_type()) << tensor.sizes();
  return out.str();
}

bool contains(std::span<const std::string_view> names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool allocates(std::string_view name) {
  static constexpr std::array<std::string_view, 6> kNames = {
      "aten::empty.memory_format", "aten::empty_like", "aten::new_empty", "aten::new_empty_strided",
      "aten::empty_strided", "aten::empty_permuted"};
  return contains(kNames, name);
}

// Operators in place that do not look at what was there.
bool overwrites(std::string_view name) {
  static constexpr std::array<std::string_view, 10> kNames = {
      "aten::zero_", "aten::fill_.Scalar", "aten::fill_.Tensor", "aten::copy_", "aten::bernoulli_.float",
      "aten::uniform_", "aten::normal_", "aten::exponential_", "aten::random_", "aten::rrelu_with_noise"};
  return contains(kNames, name);
}

class Lift {
 public:
  Lift(const Tape& tape, const std::vector<at::Tensor>& inputs, const std::vector<Named>& externals,
       const std::vector<Result>& results)
      : tape_(tape), externals_(externals), results_(results) {
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].defined()) add_input(inputs[i], static_cast<int>(i));
    }
    for (const Named& external : externals) {
      if (external.tensor.defined()) add_external(external.tensor, external.name);
    }
  }

  Graph run() {
    for (std::size_t r = 0; r <= tape_.records.size(); ++r) {
      for (const Result& result : results_) {
        if (result.after == r) add_output(result);
      }
      if (r == tape_.records.size()) break;
      try {
        add(tape_.records[r]);
      } catch (NotCapturable& error) {
        error.call = r;
        throw;
      }
    }
    std::ranges::stable_sort(graph_.outputs, {}, [](const Output& output) { return std::pair(output.kind, output.index); });
    check_written();
    return std::move(graph_);
  }

 private:
  void add_input(const at::Tensor& tensor, int position) {
    // The batch's tensor is the whole of the buffer, wherever it lies in its own storage.
    buffer_of_[storage_of(tensor)] = static_cast<BufferId>(graph_.buffers.size());
    graph_.buffers.push_back({.kind = Buffer::Kind::input,
                              .bytes = static_cast<std::int64_t>(tensor.storage().nbytes()),
                              .input = position,
                              .tensor = {}});
    graph_.names[{buffer_of_[storage_of(tensor)], 0}] = "batch[" + std::to_string(position) + "]";
  }

  BufferId add_external(const at::Tensor& tensor, const std::string& name) {
    const auto [found, is_new] = buffer_of_.try_emplace(storage_of(tensor), static_cast<BufferId>(graph_.buffers.size()));
    if (is_new) {
      graph_.buffers.push_back({.kind = Buffer::Kind::external,
                                .bytes = static_cast<std::int64_t>(tensor.storage().nbytes()),
                                .input = kNone,
                                .tensor = tensor.detach()});
    }
    if (!name.empty()) {
      graph_.names[{found->second, tensor.storage_offset() * static_cast<std::int64_t>(tensor.element_size())}] = name;
    }
    return found->second;
  }

  BufferId add_memory(const at::Tensor& tensor) {
    const BufferId buffer = graph_.add_temporary(static_cast<std::int64_t>(tensor.storage().nbytes()));
    buffer_of_[storage_of(tensor)] = buffer;
    return buffer;
  }

  ValueId value(int number) {
    if (number < 0) return kNone;
    const at::Tensor& tensor = tape_.tensors[static_cast<std::size_t>(number)];
    const BufferId buffer = buffer_of_.at(storage_of(tensor));
    const auto [found, is_new] = values_.try_emplace({number, buffer}, kNone);
    if (is_new) {
      found->second = graph_.add_value({.buffer = buffer,
                                        .offset = tensor.storage_offset(),
                                        .sizes = tensor.sizes().vec(),
                                        .strides = tensor.strides().vec(),
                                        .dtype = tensor.scalar_type()});
    }
    return found->second;
  }

  // Memory that a call reads and nobody has announced.
  void meet(int number, const std::string& name) {
    if (number < 0) return;
    const at::Tensor& tensor = tape_.tensors[static_cast<std::size_t>(number)];
    if (buffer_of_.contains(storage_of(tensor))) return;
    if (tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
      add_external(tensor.clone(), "");
      buffer_of_[storage_of(tensor)] = static_cast<BufferId>(graph_.buffers.size()) - 1;
      if (!tensor.is_complex()) graph_.buffers.back().uniform = tensor.item().toDouble();
      return;
    }
    throw NotCapturable(name + " reads a tensor " + describe(tensor) +
                        " that is neither in the batch nor a registered parameter or buffer; pass it in the batch or "
                        "register_buffer it");
  }

  void add(const Tape::Record& record) {
    const std::string name = name_of(record.op);
    const auto& schema = record.op.schema();
    if (record.op.hasTag(at::Tag::inplace_view)) return;  // squeeze_, t_: another view of the same memory
    if (allocates(name)) {
      for (const auto& list : record.results) {
        for (const int number : list) add_memory(tape_.tensors[static_cast<std::size_t>(number)]);
      }
      return;
    }
    for (const Tape::Argument& argument : record.arguments) {
      for (const int number : argument.tensors) meet(number, name);
    }
    std::vector<std::size_t> writes;
    for (std::size_t a = 0; a < schema.arguments().size(); ++a) {
      const auto* alias = schema.arguments()[a].alias_info();
      if (alias != nullptr && alias->isWrite() && !record.arguments[a].tensors.empty()) writes.push_back(a);
    }
    // Statistics that it updates without saying so.
    if (name == "aten::native_batch_norm" && record.arguments[5].constant.toBool()) {
      for (const std::size_t a : {std::size_t{3}, std::size_t{4}}) {
        if (!record.arguments[a].tensors.empty() && record.arguments[a].tensors[0] >= 0) writes.push_back(a);
      }
    }
    if (writes.empty() && is_view(record)) return;
    for (const std::size_t a : writes) {
      for (const int number : record.arguments[a].tensors) check_writable(number, name);
    }
    if (writes.size() == 1 && writes[0] == 0 && renew(record, name)) return;

    Node node = node_of(record, name);
    node.writes_arguments = std::move(writes);
    node.overwrites = overwrites(name);
    for (const auto& list : record.results) {
      for (const int number : list) {
        if (number < 0) continue;
        const at::Tensor& tensor = tape_.tensors[static_cast<std::size_t>(number)];
        if (!buffer_of_.contains(storage_of(tensor))) add_memory(tensor);
      }
    }
    add_results(node, record);
    graph_.nodes.push_back(std::move(node));
  }

  Node node_of(const Tape::Record& record, const std::string& name) {
    Node node;
    node.op = name;
    node.handle = record.op;
    node.random = record.op.hasTag(at::Tag::nondeterministic_seeded);
    node.draw = record.draw;
    for (const Tape::Argument& argument : record.arguments) {
      Argument own;
      own.constant = argument.constant;
      if (argument.kind == Tape::Argument::Kind::tensor) own.kind = Argument::Kind::value;
      if (argument.kind == Tape::Argument::Kind::tensors) own.kind = Argument::Kind::values;
      for (const int number : argument.tensors) own.values.push_back(value(number));
      node.arguments.push_back(std::move(own));
    }
    return node;
  }

  void add_results(Node& node, const Tape::Record& record) {
    for (const auto& list : record.results) {
      std::vector<ValueId> values;
      for (const int number : list) values.push_back(value(number));
      node.results.push_back(std::move(values));
    }
  }

  // Every result lies in the memory of an argument: nothing is computed.
  bool is_view(const Tape::Record& record) const {
    bool any = false;
    for (const auto& list : record.results) {
      for (const int number : list) {
        if (number < 0) return false;
        any = true;
        const void* storage = storage_of(tape_.tensors[static_cast<std::size_t>(number)]);
        if (!buffer_of_.contains(storage)) return false;
      }
    }
    return any;
  }

  void check_writable(int number, const std::string& name) const {
    if (number < 0) return;
    const BufferId buffer = buffer_of_.at(storage_of(tape_.tensors[static_cast<std::size_t>(number)]));
    if (graph_.buffers[static_cast<std::size_t>(buffer)].kind == Buffer::Kind::input) {
      throw NotCapturable(name + " changes the batch in place; work on a copy");
    }
  }

  // A write in place over the whole of a temporary becomes a value of its own, so that passes see who made what.
  bool renew(const Tape::Record& record, const std::string& name) {
    const int number = record.arguments[0].tensors.at(0);
    if (number < 0) return false;
    const at::Tensor& self = tape_.tensors[static_cast<std::size_t>(number)];
    const BufferId old = buffer_of_.at(storage_of(self));
    const Value& seen = graph_.at(value(number));
    if (graph_.buffers[static_cast<std::size_t>(old)].kind != Buffer::Kind::temporary) return false;
    if (!seen.dense() || seen.bytes() != graph_.buffers[static_cast<std::size_t>(old)].bytes) return false;

    Node node = node_of(record, name);
    if (name == "aten::copy_") {
      node.op = "levin::copy";
      node.handle.reset();
      node.arguments = {node.arguments[1]};
    } else if (name == "aten::zero_" || name == "aten::fill_.Scalar") {
      node.op = "levin::fill";
      node.handle.reset();
      node.arguments = {name == "aten::zero_" ? Argument::of(c10::IValue(0.0)) : node.arguments[1]};
    } else if (!overwrites(name)) {
      const auto& schema = record.op.schema();
      std::string base = schema.name();
      if (!base.ends_with('_') || node.random || record.results.size() != 1) return false;
      base.pop_back();
      const auto functional = c10::Dispatcher::singleton().findSchema({base, schema.overload_name()});
      if (!functional || functional->schema().arguments().size() != schema.arguments().size()) return false;
      for (const Argument& argument : node.arguments) {
        for (const ValueId other : argument.values) {
          if (other != kNone && graph_.at(other).dtype != seen.dtype) return false;
        }
      }
      node.handle = *functional;
      node.op = name_of(*functional);
    } else {
      // Fresh memory, written for the first time: bernoulli_ and its like stay what they are.
      return false;
    }
    add_memory(self);
    node.results = {{value(number)}};
    graph_.nodes.push_back(std::move(node));
    return true;
  }

  void add_output(const Result& result) {
    Output output{.kind = result.kind, .index = result.index, .value = kNone, .name = result.name};
    if (result.tensor.defined()) {
      const int number = tape_.find(result.tensor);
      if (number < 0 || !buffer_of_.contains(storage_of(result.tensor))) {
        throw NotCapturable(result.name + " is not computed from the batch and the parameters");
      }
      output.value = value(number);
    }
    graph_.outputs.push_back(std::move(output));
  }

  void check_written() {
    try {
      graph_.verify("lift");
    } catch (const std::logic_error&) {
      throw NotCapturable(kFilledByHost);
    }
  }

  const Tape& tape_;
  const std::vector<Named>& externals_;
  const std::vector<Result>& results_;
  Graph graph_;
  std::unordered_map<const void*, BufferId> buffer_of_;  // the present version of each storage
  std::map<std::pair<int, BufferId>, ValueId> values_;
};

}  // namespace

std::string place_in_model(const Tape& tape, std::size_t records, const std::vector<Named>& externals) {
  for (std::size_t r = std::min(records, tape.records.size()); r-- > 0;) {
    for (const Tape::Argument& argument : tape.records[r].arguments) {
      for (const int number : argument.tensors) {
        if (number < 0) continue;
        const void* storage = storage_of(tape.tensors[static_cast<std::size_t>(number)]);
        const std::int64_t offset = tape.tensors[static_cast<std::size_t>(number)].storage_offset();
        for (const Named& named : externals) {
          if (named.name.empty() || !named.tensor.defined() || storage_of(named.tensor) != storage) continue;
          if (named.tensor.storage_offset() == offset) return named.name;
        }
      }
    }
  }
  return {};
}

Graph lift(const Tape& tape, const std::vector<at::Tensor>& inputs, const std::vector<Named>& externals,
           const std::vector<Result>& results) {
  return Lift(tape, inputs, externals, results).run();
}

}  // namespace levin::compile
