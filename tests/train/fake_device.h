// A device for tests: host memory that only its own kernels may touch, and that counts what is read back from it.
#pragma once

#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>

namespace levin::testing::fake {

inline constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;

/** Scalars read by the host (`.item()`), and tensors copied to it. On an accelerator each waits for the device. */
inline int reads = 0;
inline thread_local int inside = 0;  // within a kernel of the device, which here runs on the host

struct Inside {
  Inside() { ++inside; }
  ~Inside() { --inside; }
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
inline at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  if (inside == 0 && from.device().type() == kType && to.is_cpu()) ++reads;
  on_host(to).copy_(on_host(from));
  return to;
}
inline at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  if (to.sizes() != from.sizes()) throw std::logic_error("the fake device does not resize");
  return copy_from(from, to, false);
}
inline at::Scalar local_scalar_dense(const at::Tensor& t) {
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
inline at::Tensor view(const at::Tensor& self, c10::SymIntArrayRef sizes) {
  const at::Tensor shape = at::empty_strided(self.sizes(), self.strides(), at::TensorOptions(at::kMeta))
                               .view(C10_AS_INTARRAYREF_SLOW(sizes));
  return fake::as_strided(self, shape.sizes(), shape.strides(), self.storage_offset());
}
inline void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const Inside kernel;
  at::native::cpu_fallback(op, stack);
}

}  // namespace levin::testing::fake
