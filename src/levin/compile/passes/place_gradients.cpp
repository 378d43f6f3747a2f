#include <levin/compile/lower.h>
#include <levin/compile/passes/passes.h>

#include <map>

namespace levin::compile {

void place_gradients(Graph& graph, const GradientTargets& targets, bool native) {
  std::map<const void*, BufferId> buffers;  // of the targets' storages
  const auto target_value = [&](const at::Tensor& view) {
    const void* storage = view.storage().unsafeGetStorageImpl();
    const auto [found, is_new] = buffers.try_emplace(storage, static_cast<BufferId>(graph.buffers.size()));
    if (is_new) {
      graph.buffers.push_back({.kind = Buffer::Kind::external,
                               .bytes = static_cast<std::int64_t>(view.storage().nbytes()),
                               .input = kNone,
                               .tensor = view});
    }
    return Value{.buffer = found->second,
                 .offset = view.storage_offset(),
                 .sizes = view.sizes().vec(),
                 .strides = view.strides().vec(),
                 .dtype = view.scalar_type()};
  };

  std::size_t direct = 0, copied = 0;
  for (Output& output : graph.outputs) {
    if (output.kind != Output::Kind::gradient || output.value == kNone) continue;
    const Value target = target_value(targets.views[static_cast<std::size_t>(output.index)]);
    const Value value = graph.at(output.value);
    graph.names[{target.buffer, target.offset * static_cast<std::int64_t>(c10::elementSize(target.dtype))}] =
        "grad(" + output.name + ")";
    const Uses uses(graph);
    const int producer = uses.producer(graph, output.value);
    int holders = 0;
    for (const Output& other : graph.outputs) {
      if (other.value != kNone && graph.at(other.value).buffer == value.buffer) ++holders;
    }
    const bool whole = native && producer != kNone && holders == 1 && !targets.accumulate && value.offset == 0 &&
                       value.sizes == target.sizes && value.strides == target.strides && value.dtype == target.dtype &&
                       value.bytes() == graph.buffer_of(output.value).bytes;
    if (whole && !lower_natively(graph, graph.nodes[static_cast<std::size_t>(producer)]).empty()) {
      for (Value& other : graph.values) {
        if (other.buffer != value.buffer) continue;
        other.buffer = target.buffer;
        other.offset += target.offset;
      }
      ++direct;
    } else {
      Node node;
      node.op = "levin::copy";
      node.arguments = {Argument::of(output.value)};
      const ValueId destination = graph.add_value(target);
      if (targets.accumulate) {
        node.op = "aten::add_.Tensor";
        node.handle = c10::Dispatcher::singleton().findSchemaOrThrow("aten::add_", "Tensor");
        node.arguments = {Argument::of(destination), Argument::of(output.value), Argument::of(c10::IValue(at::Scalar(1)))};
        node.writes_arguments = {0};
      }
      node.results = {{destination}};
      output.value = destination;
      graph.nodes.push_back(std::move(node));
      ++copied;
    }
  }
  if (direct + copied > 0) {
    graph.note("gradients: " + std::to_string(direct) + " written in place, " + std::to_string(copied) +
               (targets.accumulate ? " added" : " copied"));
  }
}

}  // namespace levin::compile
