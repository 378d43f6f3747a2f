#include <levin/compile/graph.h>

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <sstream>

namespace levin::compile {
namespace {

std::string dtype_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat: return "f32";
    case at::kDouble: return "f64";
    case at::kHalf: return "f16";
    case at::kBFloat16: return "bf16";
    case at::kLong: return "i64";
    case at::kInt: return "i32";
    case at::kByte: return "u8";
    case at::kBool: return "bool";
    default: return c10::toString(dtype);
  }
}

void write_list(std::ostream& out, const std::vector<std::int64_t>& list) {
  out << '[';
  for (std::size_t i = 0; i < list.size(); ++i) out << (i ? ", " : "") << list[i];
  out << ']';
}

void write_constant(std::ostream& out, const c10::IValue& value) {
  if (value.isNone()) {
    out << "None";
  } else if (value.isString()) {
    out << '"' << value.toStringRef() << '"';
  } else if (value.isList()) {
    out << '[';
    bool first = true;
    for (const c10::IValue& element : value.toListRef()) {
      out << (first ? "" : ", ");
      write_constant(out, element);
      first = false;
    }
    out << ']';
  } else if (value.isBool()) {
    out << (value.toBool() ? "true" : "false");
  } else if (value.isInt() || value.isDouble() || value.isScalar() || value.isDevice()) {
    out << value;
  } else {
    out << '<' << value.tagKind() << '>';
  }
}

std::string value_name(const Graph& graph, ValueId id) {
  if (id == kNone) return "None";
  const Value& value = graph.at(id);
  const auto found = graph.names.find({value.buffer, value.offset * static_cast<std::int64_t>(c10::elementSize(value.dtype))});
  return "%" + std::to_string(id) + (found == graph.names.end() ? "" : ":" + found->second);
}

std::string type_name(const Value& value) {
  std::ostringstream out;
  out << dtype_name(value.dtype);
  write_list(out, value.sizes);
  if (!value.contiguous()) {
    out << " strides ";
    write_list(out, value.strides);
  }
  return out.str();
}

}  // namespace

std::string constant_text(const c10::IValue& value) {
  std::ostringstream out;
  write_constant(out, value);
  return out.str();
}

std::int64_t Value::numel() const {
  return std::accumulate(sizes.begin(), sizes.end(), std::int64_t{1}, std::multiplies<>());
}

std::int64_t Value::bytes() const { return numel() * static_cast<std::int64_t>(c10::elementSize(dtype)); }

bool Value::contiguous() const {
  std::int64_t expected = 1;
  for (std::size_t i = sizes.size(); i-- > 0;) {
    if (sizes[i] == 0) return true;
    if (sizes[i] != 1 && strides[i] != expected) return false;
    expected *= sizes[i];
  }
  return true;
}

bool Value::dense() const {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return true;
    if (sizes[i] != 1) order.push_back(i);
  }
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) { return strides[a] < strides[b]; });
  std::int64_t expected = 1;
  for (const std::size_t i : order) {
    if (strides[i] != expected) return false;
    expected *= sizes[i];
  }
  return true;
}

std::vector<ValueId> Node::inputs() const {
  std::vector<ValueId> all;
  for (std::size_t a = 0; a < arguments.size(); ++a) {
    if (overwrites && std::ranges::find(writes_arguments, a) != writes_arguments.end()) continue;
    for (const ValueId value : arguments[a].values) {
      if (value != kNone) all.push_back(value);
    }
  }
  return all;
}

std::vector<ValueId> Node::outputs() const {
  std::vector<ValueId> all;
  const auto add = [&](const std::vector<ValueId>& list) {
    for (const ValueId value : list) {
      if (value != kNone && std::ranges::find(all, value) == all.end()) all.push_back(value);
    }
  };
  for (const auto& list : results) add(list);
  for (const std::size_t a : writes_arguments) add(arguments.at(a).values);
  return all;
}

bool Value::channels_last() const {
  if (sizes.size() != 4) return false;
  const std::int64_t c = sizes[1], h = sizes[2], w = sizes[3];
  const std::vector<std::int64_t> expected = {h * w * c, 1, w * c, c};
  for (std::size_t d = 0; d < 4; ++d) {
    if (sizes[d] != 1 && strides[d] != expected[d]) return false;
  }
  return true;
}

ValueId Graph::add_value(Value value) {
  values.push_back(std::move(value));
  return static_cast<ValueId>(values.size()) - 1;
}

BufferId Graph::add_temporary(std::int64_t bytes) {
  buffers.push_back({.kind = Buffer::Kind::temporary, .bytes = bytes, .input = kNone, .tensor = {}});
  return static_cast<BufferId>(buffers.size()) - 1;
}

void Graph::sweep() {
  std::erase_if(nodes, [](const Node& node) { return node.dead; });
}

std::string Graph::to_string() const {
  std::ostringstream out;
  for (const Node& node : nodes) {
    if (node.dead) continue;
    const auto results = node.outputs();
    for (std::size_t i = 0; i < results.size(); ++i) {
      out << (i ? ", " : "") << value_name(*this, results[i]) << ' ' << type_name(at(results[i]));
    }
    out << (results.empty() ? "" : " = ") << node.op << '(';
    for (std::size_t i = 0; i < node.arguments.size(); ++i) {
      const Argument& argument = node.arguments[i];
      out << (i ? ", " : "");
      if (argument.kind == Argument::Kind::constant) {
        write_constant(out, argument.constant);
      } else if (argument.kind != Argument::Kind::values) {
        out << value_name(*this, argument.values.at(0));
      } else {
        out << '[';
        for (std::size_t j = 0; j < argument.values.size(); ++j) {
          out << (j ? ", " : "") << value_name(*this, argument.values[j]);
        }
        out << ']';
      }
    }
    out << ')';
    if (node.payload) out << ' ' << node.payload->to_string();
    out << '\n';
  }
  for (const Output& output : outputs) {
    out << (output.kind == Output::Kind::gradient ? "gradient " : "return ") << output.name << " = "
        << value_name(*this, output.value) << '\n';
  }
  return out.str();
}

void Graph::verify(std::string_view pass) const {
  const auto fail = [&](const std::string& what) {
    throw std::logic_error("compile: after the pass \"" + std::string(pass) + "\": " + what + "\n" + to_string());
  };
  for (std::size_t id = 0; id < values.size(); ++id) {
    const Value& value = values[id];
    if (value.buffer < 0 || value.buffer >= static_cast<int>(buffers.size())) {
      fail("value %" + std::to_string(id) + " has no buffer");
    }
    if (value.sizes.size() != value.strides.size()) fail("value %" + std::to_string(id) + " has no shape");
    std::int64_t last = value.offset;
    bool empty = false;
    for (std::size_t i = 0; i < value.sizes.size(); ++i) {
      empty |= value.sizes[i] == 0;
      last += (value.sizes[i] - 1) * value.strides[i];
    }
    const auto size = static_cast<std::int64_t>(c10::elementSize(value.dtype));
    if (!empty && (value.offset < 0 || (last + 1) * size > buffers[static_cast<std::size_t>(value.buffer)].bytes)) {
      fail("value %" + std::to_string(id) + " lies outside of its buffer");
    }
  }
  std::vector<bool> written(buffers.size());
  for (std::size_t b = 0; b < buffers.size(); ++b) written[b] = buffers[b].kind != Buffer::Kind::temporary;
  for (const Node& node : nodes) {
    if (node.dead) continue;
    for (const ValueId value : node.inputs()) {
      if (!written[static_cast<std::size_t>(at(value).buffer)]) {
        fail(node.op + " reads %" + std::to_string(value) + " before it is written");
      }
    }
    for (const ValueId value : node.outputs()) written[static_cast<std::size_t>(at(value).buffer)] = true;
  }
  for (const Output& output : outputs) {
    if (output.value != kNone && !written[static_cast<std::size_t>(at(output.value).buffer)]) {
      fail("nothing computes the output " + output.name);
    }
  }
}

Uses::Uses(const Graph& graph)
    : writers_(graph.buffers.size()), readers_(graph.buffers.size()), outputs_(graph.buffers.size()) {
  const auto add = [](std::vector<int>& list, int node) {
    if (list.empty() || list.back() != node) list.push_back(node);
  };
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (node.dead) continue;
    const int id = static_cast<int>(n);
    for (const ValueId value : node.inputs()) add(readers_[static_cast<std::size_t>(graph.at(value).buffer)], id);
    for (const ValueId value : node.outputs()) add(writers_[static_cast<std::size_t>(graph.at(value).buffer)], id);
  }
  for (const Output& output : graph.outputs) {
    if (output.value != kNone) outputs_[static_cast<std::size_t>(graph.at(output.value).buffer)] = true;
  }
}

int Uses::producer(const Graph& graph, ValueId value) const {
  if (value == kNone || !graph.is_temporary(value)) return kNone;
  const auto& list = writers(graph.at(value).buffer);
  return list.size() == 1 ? list[0] : kNone;
}

bool Uses::only_reader(const Graph& graph, ValueId value, int node) const {
  const BufferId buffer = graph.at(value).buffer;
  return producer(graph, value) != kNone && !is_output(buffer) && readers(buffer).size() == 1 &&
         readers(buffer)[0] == node;
}

bool may_move(const Graph& graph, std::size_t from, std::size_t to, std::optional<std::size_t> gone) {
  const Node& node = graph.nodes[from];
  const auto reads = node.inputs(), writes = node.outputs();
  const auto meet = [&](const std::vector<ValueId>& some, const std::vector<ValueId>& others) {
    return std::ranges::any_of(some, [&](ValueId a) {
      return std::ranges::any_of(others, [&](ValueId b) { return graph.at(a).buffer == graph.at(b).buffer; });
    });
  };
  for (std::size_t k = std::min(from, to) + 1; k < std::max(from, to); ++k) {
    const Node& between = graph.nodes[k];
    if (between.dead || k == gone) continue;
    const auto written = between.outputs();
    if (meet(written, reads) || meet(written, writes) || meet(between.inputs(), writes)) return false;
  }
  return true;
}

}  // namespace levin::compile
