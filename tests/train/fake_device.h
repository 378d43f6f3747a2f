// A device for tests: host memory that only its own kernels may touch, and that counts what is read back from it.
#pragma once

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

namespace levin::testing::fake {

inline constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;

/** Scalars read by the host (`.item()`), and tensors copied to it. On an accelerator each waits for the device. */
inline int reads = 0;
inline thread_local int inside = 0;  // within a kernel of the device, which here runs on the host

struct Inside {
  Inside() { ++inside; }
  ~Inside() { --inside; }
};

/** Streams that do their work at once; the first one is the default. */
struct Guard final : c10::impl::NoOpDeviceGuardImpl<kType> {
  static inline thread_local c10::StreamId current = 0;
  static inline c10::StreamId made = 0;

  c10::Device exchangeDevice(c10::Device) const override { return {kType, 0}; }
  c10::Device getDevice() const override { return {kType, 0}; }
  c10::Stream stream(c10::StreamId id) const { return c10::Stream(c10::Stream::UNSAFE, c10::Device(kType, 0), id); }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(current); }
  c10::Stream getNewStream(c10::Device, int = 0) const override { return stream(++made); }
  c10::Stream exchangeStream(c10::Stream next) const noexcept override {
    return stream(std::exchange(current, next.id()));
  }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const c10::DeviceIndex) const noexcept override {}
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
};

struct Allocator final : at::Allocator {
  static void release(void* memory) { std::free(memory); }
  at::DataPtr allocate(std::size_t bytes) override {
    void* memory = bytes == 0 ? nullptr : std::malloc(bytes);
    return {memory, memory, &release, at::Device(kType, 0)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};
inline Allocator allocator;

inline at::Tensor empty_strided(c10::SymIntArrayRef sizes, c10::SymIntArrayRef strides,
                                std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                                std::optional<at::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           dtype.value_or(at::kFloat));
}
inline at::Tensor empty(c10::SymIntArrayRef sizes, std::optional<at::ScalarType> dtype, std::optional<at::Layout>,
                        std::optional<at::Device>, std::optional<bool>, std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(sizes), &allocator,
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype.value_or(at::kFloat),
                                   format);
}
// The tensor's memory as the host sees it.
inline at::Tensor on_host(const at::Tensor& t) {
  if (t.device().type() != kType) return t;
  return at::from_blob(t.data_ptr(), t.sizes(), t.strides(), t.options().device(at::kCPU));
}
// The tensor without its part in autograd's graph, which would live as long as this.
inline at::Tensor detached(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  return at::Tensor(tensor.unsafeGetTensorImpl()->shallow_copy_and_detach(c10::VariableVersion(0), true));
}
inline c10::IValue detached(const c10::IValue& value) {
  if (value.isTensor()) return detached(value.toTensor());
  if (!value.isTensorList()) return value;
  std::vector<at::Tensor> list;
  for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(detached(tensor));
  return list;
}
/** While it is not null, calls of the device's kernels are put there and not made: a stream that is being captured. */
inline std::vector<std::function<void()>>* capturing = nullptr;

inline at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  if (capturing != nullptr && inside == 0) {
    TORCH_CHECK(from.device() == to.device(), "copies between host and device cannot be captured");
    capturing->push_back([from = detached(from), to = detached(to)] { on_host(to).copy_(on_host(from)); });
    return to;
  }
  if (inside == 0 && from.device().type() == kType && to.is_cpu()) ++reads;
  on_host(to).copy_(on_host(from));
  return to;
}
inline at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) throw std::logic_error("the fake device does not resize");
  return copy_from(from, to, false);
}
inline at::Scalar local_scalar_dense(const at::Tensor& t) {
  TORCH_CHECK(capturing == nullptr || inside > 0, "a value is read while the stream is captured");
  if (inside == 0) ++reads;
  return on_host(t).item();
}
inline at::Tensor as_strided(const at::Tensor& self, at::IntArrayRef sizes, at::IntArrayRef strides,
                             std::optional<std::int64_t> offset) {
  auto result = at::detail::make_tensor<at::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(self.storage()),
                                                        self.key_set(), self.dtype());
  result.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset.value_or(self.storage_offset()));
  return result;
}
inline at::Tensor& set_storage(at::Tensor& self, at::Storage source, std::int64_t offset, at::IntArrayRef sizes,
                               at::IntArrayRef strides) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(source));
  if (strides.empty()) {
    self.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
    self.unsafeGetTensorImpl()->set_storage_offset(offset);
  } else {
    self.unsafeGetTensorImpl()->set_sizes_and_strides(sizes, strides, offset);
  }
  return self;
}
inline at::Tensor& set_tensor(at::Tensor& self, const at::Tensor& source) {
  return set_storage(self, source.storage(), source.storage_offset(), source.sizes(), source.strides());
}
inline at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef sizes) {
  const at::Tensor shape = at::empty_strided(self.sizes(), self.strides(), at::TensorOptions(at::kMeta))
                               .view(C10_AS_INTARRAYREF_SLOW(sizes));
  return fake::as_strided(self, shape.sizes(), shape.strides(), self.storage_offset());
}
inline void run_on_host(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Inside kernel;
  at::native::cpu_fallback(op, stack);
}
inline std::vector<at::Tensor> tensors_of(const torch::jit::Stack& stack) {
  std::vector<at::Tensor> tensors;
  for (const c10::IValue& value : stack) {
    if (value.isTensor()) tensors.push_back(value.toTensor());
    if (value.isTensorList()) {
      for (const at::Tensor& tensor : value.toTensorVector()) tensors.push_back(tensor);
    }
  }
  return tensors;
}
// A call that is captured leaves memory alone: what it has changed is put back, what it has made is no number.
inline void capture(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  torch::jit::Stack arguments;
  for (std::size_t i = stack->size() - op.schema().arguments().size(); i < stack->size(); ++i) {
    arguments.push_back(detached((*stack)[i]));
  }
  std::vector<std::pair<at::Tensor, at::Tensor>> before;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto* alias = op.schema().arguments()[i].alias_info();
    if (alias == nullptr || !alias->isWrite()) continue;
    for (const at::Tensor& tensor : tensors_of({arguments[i]})) {
      if (tensor.defined()) before.emplace_back(tensor, on_host(tensor).clone());
    }
  }
  run_on_host(op, stack);
  std::vector<at::Tensor> results;
  for (std::size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i) {
    for (const at::Tensor& result : tensors_of({(*stack)[i]})) {
      if (result.defined() && result.is_floating_point()) on_host(result).fill_(NAN);
      results.push_back(detached(result));
    }
  }
  for (const auto& [tensor, copy] : before) on_host(tensor).copy_(copy);
  capturing->push_back([op, arguments, results] {
    torch::jit::Stack again = arguments;
    run_on_host(op, &again);
    const std::vector<at::Tensor> fresh = tensors_of(again);
    for (std::size_t i = 0; i < results.size(); ++i) {
      if (results[i].defined() && results[i].data_ptr() != fresh[i].data_ptr()) on_host(results[i]).copy_(on_host(fresh[i]));
    }
  });
}
inline void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if (capturing != nullptr && inside == 0) return capture(op, stack);
  run_on_host(op, stack);
}

}  // namespace levin::testing::fake
