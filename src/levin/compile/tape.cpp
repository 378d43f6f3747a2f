#include <levin/compile/tape.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/List.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/clone.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/util/hash.h>
#include <torch/library.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace levin::compile {
namespace {

// The highest key of thread-local inclusion that nothing else uses: above autograd, so that the calls of a composite
// operator can be told from the composite itself, and switched off below it.
constexpr auto kRecorder = c10::DispatchKey::TESTING_ONLY_GenericMode;

thread_local Tape* current = nullptr;
// The tensor that the call now running changes in place. Autograd copies it first where backward needs what was there.
thread_local const at::TensorImpl* changing = nullptr;

// Answers to the host that depend on shapes and flags alone.
bool answers_from_shapes(const std::string& name) {
  static constexpr std::array<std::string_view, 6> kNames = {
      "aten::_fused_sdp_choice", "aten::is_same_size", "aten::_has_compatible_shallow_copy_type",
      "aten::_nested_tensor_size", "aten::result_type.Tensor", "aten::can_cast"};
  return std::ranges::find(kNames, name) != kNames.end();
}

bool has_tag(const c10::OperatorHandle& op, at::Tag tag) { return op.hasTag(tag); }

[[noreturn]] void refuse(const std::string& reason) { throw NotCapturable(reason); }

void check_tensor(const at::Tensor& tensor, const std::string& name) {
  if (!tensor.defined()) return;
  if (tensor.layout() != at::kStrided) {
    refuse(name + " works on a sparse tensor; make it dense (an nn::Embedding with sparse(false))");
  }
  const at::Device device = tensor.device();
  const bool a_number = device.is_cpu() && tensor.dim() == 0;  // handed to the device's kernels by value
  if (device.type() != current->device && !a_number) {
    refuse(name + " works on " + device.str() + " in a step over memory of " +
           c10::DeviceTypeName(current->device, /*lower_case=*/true) + "; move it before the step");
  }
  if (!tensor.has_storage() || tensor.is_quantized() || tensor.is_nested()) {
    refuse(name + " works on a tensor that is no plain memory");
  }
  if (tensor.is_conj() || tensor.is_neg()) refuse(name + " works on a lazily conjugated or negated tensor");
}

// torch::equal on one and the same tensor, or on tensors of other shapes: nn::MultiheadAttention looks that way whether
// its inputs are one tensor.
bool equal_without_values(const std::string& name, const torch::jit::Stack& stack) {
  if (name != "aten::equal") return false;
  const at::Tensor& a = stack[stack.size() - 2].toTensor();
  const at::Tensor& b = stack[stack.size() - 1].toTensor();
  if (!a.defined() || !b.defined() || a.scalar_type() != b.scalar_type()) return false;
  return a.sizes() != b.sizes() || (a.is_alias_of(b) && a.storage_offset() == b.storage_offset() && a.strides() == b.strides());
}

void check_call(const c10::OperatorHandle& op, const std::string& name, const torch::jit::Stack& stack) {
  if (equal_without_values(name, stack)) return;
  if (has_tag(op, at::Tag::data_dependent_output) && !answers_from_shapes(name)) {
    refuse(name == "aten::_local_scalar_dense"
               ? "a value is read by the host (item(), a tensor used as a condition or as a number); keep it a tensor, "
                 "or read it outside of the step"
               : name + " hands a value to the host; keep it a tensor, or do it outside of the step");
  }
  if (has_tag(op, at::Tag::dynamic_output_shape)) {
    bool by_mask = name != "aten::index.Tensor";
    if (!by_mask) {
      const auto& indices = stack[stack.size() - 1];
      for (const c10::IValue& index : indices.toListRef()) {
        if (!index.isTensor() || !index.toTensor().defined()) continue;
        const auto dtype = index.toTensor().scalar_type();
        by_mask |= dtype == at::kBool || dtype == at::kByte;
      }
    }
    if (by_mask) {
      refuse("the shape of " + name + "'s result depends on the data; use torch::where or a mask times the values");
    }
  }
  if (name == "aten::resize_" || name == "aten::resize_as_" || name.starts_with("aten::set_")) {
    refuse(name + " changes a tensor's memory");
  }
}

Tape::Argument argument(Tape& tape, const c10::IValue& value, const std::string& name) {
  using Kind = Tape::Argument::Kind;
  if (value.isTensor()) {
    check_tensor(value.toTensor(), name);
    return {.kind = Kind::tensor, .tensors = {tape.number(value.toTensor())}, .constant = {}};
  }
  const bool optional_tensors =
      value.isList() && !value.isTensorList() &&
      std::ranges::any_of(value.toListRef(), [](const c10::IValue& element) { return element.isTensor(); });
  if (value.isTensorList() || optional_tensors) {
    Tape::Argument list{.kind = Kind::tensors, .tensors = {}, .constant = value.isTensorList() ? c10::IValue() : value};
    for (const c10::IValue& element : value.toListRef()) {
      const at::Tensor tensor = element.isTensor() ? element.toTensor() : at::Tensor();
      check_tensor(tensor, name);
      list.tensors.push_back(tape.number(tensor));
    }
    return list;
  }
  if (value.isGenerator() && value.toGenerator().defined() &&
      value.toGenerator() != at::detail::getDefaultCPUGenerator()) {
    refuse(name + " draws from a generator of its own; use the default one");
  }
  return {.kind = Kind::constant, .tensors = {}, .constant = value};
}

// Keeps a copy of what a call made of nothing: zeros, a range, a mask. Data that the host writes into it is seen so.
void keep_made(Tape& tape, const Tape::Record& call) {
  constexpr std::int64_t kLargest = 1 << 20;
  if (tape.device != at::kCPU) return;  // no host writes there
  const bool reads = std::ranges::any_of(call.arguments, [](const auto& argument) { return !argument.tensors.empty(); });
  if (reads || call.results.size() != 1 || call.results[0].size() != 1 || call.results[0][0] < 0) return;
  const at::Tensor& result = tape.tensors[static_cast<std::size_t>(call.results[0][0])];
  if (result.numel() > kLargest || name_of(call.op).starts_with("aten::empty")) return;
  const c10::impl::ExcludeDispatchKeyGuard off(kRecorder);
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  tape.made.emplace_back(call.results[0][0], result.clone());
}

bool wants_gradient(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  return at::GradMode::is_enabled() && stack[stack.size() - op.schema().arguments().size()].toTensor().requires_grad();
}

bool copies_for_backward(const c10::OperatorHandle& op, const torch::jit::Stack& stack) {
  return name_of(op) == "aten::clone" && stack[stack.size() - 2].toTensor().unsafeGetTensorImpl() == changing &&
         !c10::impl::tls_is_dispatch_key_excluded(c10::DispatchKey::AutogradCPU);
}

// What a call does inside is its own affair and not recorded, but for autograd's copy of what it changes.
void call_unrecorded(const c10::OperatorHandle& op, c10::DispatchKeySet below, torch::jit::Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const at::TensorImpl* self = nullptr;
  if (!arguments.empty() && arguments[0].alias_info() != nullptr && arguments[0].alias_info()->isWrite()) {
    const c10::IValue& first = (*stack)[stack->size() - arguments.size()];
    if (first.isTensor()) self = first.toTensor().unsafeGetTensorImpl();
  }
  std::optional<c10::impl::ExcludeDispatchKeyGuard> off;
  if (self == nullptr) off.emplace(kRecorder);
  struct Restore {
    const at::TensorImpl* before = changing;
    ~Restore() { changing = before; }
  } restore;
  changing = self;
  op.redispatchBoxed(below, stack);
}

void record(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
  const auto below = keys & c10::DispatchKeySet(c10::DispatchKeySet::FULL_AFTER, kRecorder);
  // A composite operator is recorded as the calls it makes, unless the CPU has a kernel of its own for it.
  // max_pool1d fills its result by hand where no gradient is wanted.
  const bool composite = op.hasKernelForDispatchKey(c10::DispatchKey::CompositeImplicitAutograd) &&
                         !op.hasKernelForDispatchKey(c10::DispatchKey::CPU) &&
                         !(op.schema().name() == "aten::max_pool1d" && !wants_gradient(op, *stack));
  if (current == nullptr || composite) return op.redispatchBoxed(below, stack);
  if (changing != nullptr && !copies_for_backward(op, *stack)) return op.redispatchBoxed(below, stack);
  Tape& tape = *current;
  const std::string name = name_of(op);
  const auto& schema = op.schema();
  if (at::autocast::is_autocast_enabled(at::kCPU)) refuse("autocast chooses types call by call; use a full precision");
  check_call(op, name, *stack);
  if (tape.stop_at == tape.records.size()) refuse("stopped at " + name);

  Tape::Record call{.op = op, .arguments = {}, .results = {}};
  for (std::size_t i = stack->size() - schema.arguments().size(); i < stack->size(); ++i) {
    call.arguments.push_back(argument(tape, (*stack)[i], name));
    const auto* alias = schema.arguments()[call.arguments.size() - 1].alias_info();
    if (alias == nullptr || !alias->isWrite()) continue;
    for (const int number : call.arguments.back().tensors) {
      if (number >= 0) tape.written.insert(tape.tensors[static_cast<std::size_t>(number)].storage().unsafeGetStorageImpl());
    }
  }
  tape.let_go();
  call_unrecorded(op, below, stack);
  for (std::size_t i = stack->size() - schema.returns().size(); i < stack->size(); ++i) {
    const c10::IValue& value = (*stack)[i];
    std::vector<int> numbers;
    if (value.isTensor()) {
      check_tensor(value.toTensor(), name);
      numbers.push_back(tape.number(value.toTensor()));
    } else if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) {
        check_tensor(tensor, name);
        numbers.push_back(tape.number(tensor));
      }
    }
    call.results.push_back(std::move(numbers));
  }
  if (op.hasTag(at::Tag::nondeterministic_seeded) && !schema.returns().empty() && stack->back().isTensor()) {
    const at::NoGradGuard no_grad;
    const c10::impl::ExcludeDispatchKeyGuard off(kRecorder);
    call.draw = (*stack)[stack->size() - schema.returns().size()].toTensor().clone();
  }
  keep_made(tape, call);
  tape.records.push_back(std::move(call));
}

TORCH_LIBRARY_IMPL(_, TESTING_ONLY_GenericMode, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&record>());
}

void switch_recorder(bool on) { c10::impl::tls_set_dispatch_key_included(kRecorder, on); }

}  // namespace

std::string name_of(const c10::OperatorHandle& op) {
  const auto& schema = op.schema();
  return schema.overload_name().empty() ? schema.name() : schema.name() + "." + schema.overload_name();
}

Tape::Key Tape::key_of(const at::Tensor& tensor) {
  return {.storage = tensor.storage().unsafeGetStorageImpl(),
          .offset = tensor.storage_offset(),
          .sizes = tensor.sizes().vec(),
          .strides = tensor.strides().vec(),
          .dtype = tensor.scalar_type()};
}

constexpr std::size_t kLarge = 1 << 16, kLeastReturned = 1 << 23;  // bytes

std::size_t Tape::Hash::operator()(const Key& key) const {
  std::size_t seed = c10::get_hash(key.storage, key.offset, static_cast<int>(key.dtype));
  for (const auto size : key.sizes) seed = c10::hash_combine(seed, static_cast<std::size_t>(size));
  for (const auto stride : key.strides) seed = c10::hash_combine(seed, static_cast<std::size_t>(stride) * 31);
  return seed;
}

int Tape::number(const at::Tensor& tensor) {
  if (!tensor.defined()) return -1;
  const auto [found, is_new] = numbers_.try_emplace(key_of(tensor), static_cast<int>(tensors.size()));
  if (is_new) {
    // Not the tensor itself: t_() and its like would change the shape that is written down here.
    tensors.emplace_back(tensor.unsafeGetTensorImpl()->shallow_copy_and_detach(c10::VariableVersion(0), false));
    if (device == at::kCPU && tensor.storage().nbytes() >= kLarge) {
      if (++large_[tensor.storage().unsafeGetStorageImpl()] == 1) {
        live_bytes_ += tensor.storage().nbytes();
        most_live_bytes_ = std::max(most_live_bytes_, live_bytes_);
      }
    }
  }
  return found->second;
}

// A step whose every temporary stays takes twice the memory of an eager one.
void Tape::let_go() {
  if (large_.empty()) return;
  // check_made() reads these.
  for (const auto& [number, copy] : made) large_.erase(tensors[static_cast<std::size_t>(number)].storage().unsafeGetStorageImpl());
  std::erase_if(large_, [this](const auto& entry) {
    const auto& [storage, holders] = entry;
    if (c10::raw::intrusive_ptr::use_count(storage) != holders) return false;
    storage->set_data_ptr_noswap(at::DataPtr(nullptr, storage->device()));
    free_bytes_ += storage->nbytes();
    live_bytes_ -= storage->nbytes();
    return true;
  });
  // What is returned is soon taken again, page by page: not more often than it has to be.
  if (free_bytes_ < std::max(kLeastReturned, most_live_bytes_ / 3 * 2)) return;
  free_bytes_ = 0;
  return_free_memory();
}

void return_free_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

bool Tape::draws() const {
  return std::ranges::any_of(records, [](const Record& call) { return call.op.hasTag(at::Tag::nondeterministic_seeded); });
}

void Tape::check_made() const {
  const PauseRecording pause;
  const at::AutoDispatchBelowADInplaceOrView below_autograd;
  for (const auto& [number, copy] : made) {
    const at::Tensor& tensor = tensors[static_cast<std::size_t>(number)];
    if (written.contains(tensor.storage().unsafeGetStorageImpl())) continue;
    const std::size_t bytes = static_cast<std::size_t>(tensor.numel()) * tensor.element_size();
    if (!tensor.is_contiguous() || std::memcmp(tensor.const_data_ptr(), copy.const_data_ptr(), bytes) == 0) continue;
    throw NotCapturable(kFilledByHost);
  }
}

int Tape::find(const at::Tensor& tensor) const {
  if (!tensor.defined() || !tensor.has_storage()) return -1;
  const auto found = numbers_.find(key_of(tensor));
  return found == numbers_.end() ? -1 : found->second;
}

Recording::Recording(Tape& tape) : outer_(current), was_on_(c10::impl::tls_is_dispatch_key_included(kRecorder)) {
  current = &tape;
  switch_recorder(true);
}

Recording::~Recording() {
  current = outer_;
  switch_recorder(was_on_);
}

PauseRecording::PauseRecording() : paused_(current) {
  current = nullptr;
  if (paused_ != nullptr) switch_recorder(false);
}

PauseRecording::~PauseRecording() {
  current = paused_;
  if (paused_ != nullptr) switch_recorder(true);
}

}  // namespace levin::compile
