#include <levin/optim/arena.h>

#include <ATen/core/grad_mode.h>
#include <ATen/ATen.h>

#include <algorithm>

namespace levin::optim {
namespace {

// The deleter doubles as the mark of arena memory: a storage that carries it was made here.
void release_arena(void* context) { delete static_cast<at::Tensor*>(context); }

at::Tensor marked_zeros(int64_t numel, const at::TensorOptions& options) {
  auto* backing = new at::Tensor(at::zeros({numel}, options));
  at::DataPtr pointer(backing->mutable_data_ptr(), backing, &release_arena, backing->device());
  c10::Storage storage(c10::Storage::use_byte_size_t(), backing->nbytes(), std::move(pointer), nullptr, false);
  return at::empty({0}, options).set_(storage, 0, {numel});
}

std::vector<int64_t> contiguous(at::IntArrayRef sizes) {
  const auto strides = c10::contiguous_strides(sizes);
  return {strides.begin(), strides.end()};
}

}  // namespace

ArenaLayout::ArenaLayout(std::span<const at::Tensor> tensors) {
  slots.reserve(tensors.size());
  for (const auto& tensor : tensors) {
    Slot slot{.offset = total,
              .numel = tensor.numel(),
              .sizes = tensor.sizes().vec(),
              .strides = tensor.is_non_overlapping_and_dense() ? tensor.strides().vec() : contiguous(tensor.sizes())};
    const auto step = kAlignment / static_cast<int64_t>(tensor.element_size());
    total += (slot.numel + step - 1) / step * step;
    slots.push_back(std::move(slot));
  }
}

Arena::Arena(ArenaLayout layout, at::Tensor flat) : layout_(std::move(layout)), flat_(std::move(flat)) {
  at::NoGradGuard no_grad;
  views_.reserve(layout_.slots.size());
  for (const auto& slot : layout_.slots) {
    // variable_data: a version counter of its own, so that writing one slot does not mark the others as changed.
    views_.emplace_back(
        flat_.as_strided(slot.sizes, slot.strides, flat_.storage_offset() + slot.offset).variable_data());
  }
}

Arena Arena::zeros(const ArenaLayout& layout, const at::TensorOptions& options) {
  return {layout, at::zeros({layout.total}, options)};
}

Arena Arena::take(std::span<const at::Tensor> params) {
  at::NoGradGuard no_grad;
  ArenaLayout layout(params);
  const auto total = layout.total;
  Arena arena(std::move(layout), marked_zeros(total, params.front().options().requires_grad(false)));
  for (size_t i = 0; i < params.size(); ++i) {
    arena.views_[i].copy_(params[i]);
    params[i].set_data(arena.views_[i]);
  }
  return arena;
}

std::optional<Arena> Arena::adopt(std::span<const at::Tensor> params) {
  if (params.empty() || !is_arena_memory(params.front())) return std::nullopt;
  ArenaLayout layout(params);
  const auto begin = params.front().storage_offset();
  for (size_t i = 0; i < params.size(); ++i) {
    if (!params[i].is_alias_of(params.front()) || !params[i].is_non_overlapping_and_dense() ||
        params[i].storage_offset() != begin + layout.slots[i].offset) {
      return std::nullopt;
    }
  }
  const auto& storage = params.front().storage();
  if ((begin + layout.total) * static_cast<int64_t>(params.front().element_size()) >
      static_cast<int64_t>(storage.nbytes())) {
    return std::nullopt;
  }
  at::NoGradGuard no_grad;
  auto flat = at::empty({0}, params.front().options().requires_grad(false)).set_(storage, begin, {layout.total});
  return Arena(std::move(layout), std::move(flat));
}

bool Arena::movable(const at::Tensor& param) {
  if (!param.requires_grad() || !param.is_leaf() || param.layout() != at::kStrided || !param.is_floating_point() ||
      !param.is_non_overlapping_and_dense() || param.numel() == 0) {
    return false;
  }
  const auto& storage = param.unsafeGetTensorImpl()->unsafe_storage();
  return storage.use_count() == 1 && storage.unsafeGetStorageImpl()->resizable();
}

bool Arena::is_arena_memory(const at::Tensor& tensor) {
  return tensor.has_storage() && tensor.storage().data_ptr().get_deleter() == &release_arena;
}

}  // namespace levin::optim
