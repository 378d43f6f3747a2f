// Arena: many tensors side by side in one flat buffer, so that one kernel call serves them all.
#pragma once

#include <levin/core/export.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace levin::optim {

/** Where each tensor of a group lies in a flat buffer: every slot starts on a 64-byte boundary. */
struct LEVIN_API ArenaLayout {
  static constexpr int64_t kAlignment = 64;  ///< bytes

  struct Slot {
    int64_t offset = 0;  ///< in elements
    int64_t numel = 0;
    std::vector<int64_t> sizes;
    std::vector<int64_t> strides;  ///< the tensor's own when it is dense, else contiguous
  };

  ArenaLayout() = default;
  /** The layout of `tensors`, in their order; all of one dtype. */
  explicit ArenaLayout(std::span<const at::Tensor> tensors);

  std::vector<Slot> slots;
  int64_t total = 0;  ///< elements of the buffer, padding included
};

/**
 * A flat, 64-byte aligned buffer and a view of it for each slot of a layout.
 *
 * The padding between slots holds zeros when the buffer is made; element-wise kernels may run over the whole of it.
 */
class LEVIN_API Arena {
 public:
  Arena() = default;

  /** A buffer of zeros for `layout`. */
  static Arena zeros(const ArenaLayout& layout, const at::TensorOptions& options);

  /**
   * Moves `params` into a new buffer: afterwards each one is a view of it (same values, shape and strides).
   * All must be `movable` and of one dtype and device.
   */
  static Arena take(std::span<const at::Tensor> params);

  /**
   * The buffer that `params` already lie in, when they are the slots of an earlier arena in its order, so that a second
   * optimizer of the same model shares it; nothing otherwise.
   */
  static std::optional<Arena> adopt(std::span<const at::Tensor> params);

  /**
   * Whether `take` may move the parameter: dense, floating, requiring a gradient, and the only user of its storage
   * (what shares memory with another tensor, or lies in memory that somebody else owns, has to stay there).
   */
  static bool movable(const at::Tensor& param);
  /** Whether the tensor lies in a buffer made by `take`. */
  static bool is_arena_memory(const at::Tensor& tensor);

  bool defined() const noexcept { return flat_.defined(); }
  const at::Tensor& flat() const noexcept { return flat_; }                 ///< 1-D, [layout().total]
  const std::vector<at::Tensor>& views() const noexcept { return views_; }  ///< one a slot
  const ArenaLayout& layout() const noexcept { return layout_; }

 private:
  Arena(ArenaLayout layout, at::Tensor flat);

  ArenaLayout layout_;
  at::Tensor flat_;
  std::vector<at::Tensor> views_;
};

}  // namespace levin::optim
