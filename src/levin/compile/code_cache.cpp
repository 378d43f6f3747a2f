#include <levin/compile/code_cache.h>

#include <levin/compile/debug.h>
#include <levin/compile/kernels/isa.h>

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
#include <set>
#include <type_traits>

namespace levin::compile {
namespace {

const void* storage_of(const at::Tensor& tensor) { return tensor.storage().unsafeGetStorageImpl(); }

class Writer {
 public:
  template <class T>
  requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  void add(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void add(std::string_view text) {
    add(text.size());
    text_.append(text);
  }
  void add(at::IntArrayRef list) {
    add(list.size());
    for (const std::int64_t one : list) add(one);
  }
  // False for a kind of constant that has no bits to compare.
  bool add(const c10::IValue& value) {
    add(std::string_view(value.tagKind()));
    if (value.isNone() || value.isGenerator()) return true;  // a generator is the default one: see the tape
    if (value.isBool()) return add(value.toBool()), true;
    if (value.isInt()) return add(value.toInt()), true;
    if (value.isDouble()) return add(value.toDouble()), true;
    if (value.isString()) return add(std::string_view(value.toStringRef())), true;
    if (value.isComplexDouble()) {
      add(value.toComplexDouble().real());
      add(value.toComplexDouble().imag());
      return true;
    }
    if (value.isDevice()) {
      add(value.toDevice().type());
      add(value.toDevice().index());
      return true;
    }
    if (!value.isList()) return false;
    add(value.toListRef().size());
    for (const c10::IValue& element : value.toListRef()) {
      if (element.isTensor() ? !add_pattern(element) : !add(element)) return false;
    }
    return true;
  }

  std::string take() { return std::move(text_); }

 private:
  // A list of tensors whose values stand beside it.
  bool add_pattern(const c10::IValue& element) { return add(element.toTensor().defined()), true; }

  std::string text_;
};

}  // namespace

std::optional<Structure> structure_of(const Graph& lifted, const GradientTargets& targets, const CompileOptions& options) {
  Structure structure{.text = {}, .numbers = numbers_of(lifted)};
  std::set<std::pair<std::size_t, std::size_t>> arguments;
  std::set<BufferId> buffers;
  for (const Number& number : structure.numbers) {
    const Argument& argument = lifted.nodes[number.node].arguments[number.argument];
    arguments.emplace(number.node, number.argument);
    if (argument.kind == Argument::Kind::value) buffers.insert(lifted.at(argument.values[0]).buffer);
  }
  Writer out;
  out.add(options.fuse);
  out.add(options.fast_dropout);
  out.add(options.tolerance);
  out.add(kernels::instruction_set());
  out.add(at::get_num_threads());
  out.add(options.threads);
  out.add(debug::splits_steps());

  for (std::size_t b = 0; b < lifted.buffers.size(); ++b) {
    const Buffer& buffer = lifted.buffers[b];
    out.add(buffer.kind);
    out.add(buffer.bytes);
    out.add(buffer.input);
    out.add(buffer.uniform.has_value());
    const bool is_number = buffers.contains(static_cast<BufferId>(b));
    out.add(is_number);
    if (!is_number) out.add(buffer.uniform.value_or(0));
  }
  out.add(lifted.values.size());
  for (const Value& value : lifted.values) {
    out.add(value.buffer);
    out.add(value.offset);
    out.add(at::IntArrayRef(value.sizes));
    out.add(at::IntArrayRef(value.strides));
    out.add(value.dtype);
  }
  out.add(lifted.nodes.size());
  for (std::size_t n = 0; n < lifted.nodes.size(); ++n) {
    const Node& node = lifted.nodes[n];
    out.add(std::string_view(node.op));
    for (std::size_t a = 0; a < node.arguments.size(); ++a) {
      const Argument& argument = node.arguments[a];
      out.add(argument.kind);
      for (const ValueId value : argument.values) out.add(value);
      const bool is_number = arguments.contains({n, a});
      out.add(is_number);
      if (!is_number && !out.add(argument.constant)) return std::nullopt;
    }
    for (const auto& list : node.results) {
      out.add(list.size());
      for (const ValueId value : list) out.add(value);
    }
    out.add(node.writes_arguments.size());
    for (const std::size_t argument : node.writes_arguments) out.add(argument);
    out.add(node.overwrites);
    out.add(node.random);
  }
  for (const Output& output : lifted.outputs) {
    out.add(output.kind);
    out.add(output.index);
    out.add(output.value);
    out.add(std::string_view(output.name));
  }

  out.add(targets.accumulate);
  std::unordered_map<const void*, std::size_t> storages;
  for (const at::Tensor& view : targets.views) {
    out.add(view.defined());
    if (!view.defined()) continue;
    out.add(storages.try_emplace(storage_of(view), storages.size()).first->second);
    out.add(view.storage().nbytes());
    out.add(view.storage_offset());
    out.add(view.sizes());
    out.add(view.strides());
    out.add(view.scalar_type());
  }
  structure.text = out.take();
  return structure;
}

Sources::Sources(const Graph& lifted, const GradientTargets& targets) {
  using Kind = SharedCode::Source::Kind;
  for (std::size_t i = 0; i < lifted.buffers.size(); ++i) {
    const Buffer& buffer = lifted.buffers[i];
    if (buffer.kind == Buffer::Kind::external) known_[storage_of(buffer.tensor)] = {.kind = Kind::buffer, .index = i, .constant = {}};
  }
  for (std::size_t i = 0; i < targets.views.size(); ++i) {
    const at::Tensor& view = targets.views[i];
    if (view.defined()) known_.try_emplace(storage_of(view), SharedCode::Source{.kind = Kind::gradient, .index = i, .constant = {}});
  }
}

SharedCode::Source Sources::of(const at::Tensor& external) const {
  const auto found = known_.find(storage_of(external));
  if (found != known_.end()) return found->second;
  return {.kind = SharedCode::Source::Kind::constant, .index = 0, .constant = external};
}

std::vector<at::Tensor> SharedCode::bind(const Graph& graph, const GradientTargets& targets) const {
  std::vector<at::Tensor> tensors;
  tensors.reserve(externals.size());
  for (const Source& source : externals) {
    switch (source.kind) {
      case Source::Kind::buffer: tensors.push_back(graph.buffers[source.index].tensor); break;
      case Source::Kind::gradient: tensors.push_back(targets.views[source.index]); break;
      case Source::Kind::constant: tensors.push_back(source.constant); break;
    }
  }
  return tensors;
}

CodeCache& CodeCache::instance() {
  static CodeCache cache;
  return cache;
}

CodeCache::Family& CodeCache::family_of(const Structure& structure) {
  if (Family* const known = families_.find(structure.text)) return *known;
  return families_.insert(structure.text, {.id = ++families_met_,
                                           .numbers = structure.numbers,
                                           .open = std::vector<bool>(structure.numbers.size()),
                                           .first = nullptr});
}

CodeCache::Place CodeCache::find(const Structure& structure) {
  const auto bits = [](const Number& number) { return std::bit_cast<std::uint64_t>(number.value); };
  const std::lock_guard lock(mutex_);
  Family& family = family_of(structure);
  Place place{.key = {}, .open = std::vector<bool>(structure.numbers.size()), .code = nullptr, .first = family.first};
  if (family.first && family.first->code && !family.keeps_numbers) {
    for (std::size_t i = 0; i < structure.numbers.size(); ++i) {
      if (bits(structure.numbers[i]) != bits(family.numbers[i])) family.open[i] = true;
    }
    place.open = family.open;
  }
  Writer key;
  key.add(family.id);
  for (std::size_t i = 0; i < structure.numbers.size(); ++i) {
    key.add(static_cast<bool>(place.open[i]));
    if (!place.open[i]) key.add(bits(structure.numbers[i]));
  }
  place.key = key.take();
  const auto* const found = codes_.find(place.key);
  if (found != nullptr) place.code = *found;
  ++(found != nullptr ? hits_ : misses_);
  return place;
}

void CodeCache::insert(const Place& place, const Structure& structure, std::shared_ptr<const SharedCode> code) {
  const std::lock_guard lock(mutex_);
  Family& family = family_of(structure);
  if (!family.first && std::ranges::find(place.open, true) == place.open.end()) {
    family.first = code;
    family.numbers = structure.numbers;
  }
  codes_.insert(place.key, std::move(code));
}

void CodeCache::keep_numbers(const Structure& structure) {
  const std::lock_guard lock(mutex_);
  family_of(structure).keeps_numbers = true;
  --misses_;  // of the code that is not to be
}

void CodeCache::clear() {
  const std::lock_guard lock(mutex_);
  codes_.clear();
  families_.clear();
  hits_ = misses_ = 0;
}

CodeCache::Counts CodeCache::counts() {
  const std::lock_guard lock(mutex_);
  return {.entries = codes_.size(), .hits = hits_, .misses = misses_};
}

}  // namespace levin::compile
