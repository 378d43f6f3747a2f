// Batch: what a loader hands to a step, a plain ordered set of tensors with optional names.
#pragma once

#include <levin/core/export.h>

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/util/SmallVector.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/**
 * An ordered set of tensors whose first dimension is the batch: `batch[0]`, `batch["x"]`,
 * `auto [x, y] = batch.unpack<2>()`. Copies share the tensors, as copies of a tensor share its memory.
 */
class LEVIN_API Batch {
 public:
  using Named = std::pair<std::string, at::Tensor>;
  using Tensors = c10::SmallVector<at::Tensor, 4>;
  using iterator = Tensors::iterator;
  using const_iterator = Tensors::const_iterator;

  Batch() = default;
  Batch(std::initializer_list<at::Tensor> tensors) : tensors_(tensors) {}
  /** `Batch{{"x", x}, {"y", y}}`; throws Error for a doubled name. */
  Batch(std::initializer_list<Named> named);
  explicit Batch(std::span<const at::Tensor> tensors) : tensors_(tensors.begin(), tensors.end()) {}

  /** Number of tensors. */
  std::int64_t size() const noexcept { return static_cast<std::int64_t>(tensors_.size()); }
  bool empty() const noexcept { return tensors_.empty(); }
  /** Number of samples: dimension 0 of the first tensor (1 when it is a scalar); throws Error without tensors. */
  std::int64_t batch_size() const;

  /** The tensor at `index`; throws Error when there are fewer. */
  const at::Tensor& operator[](std::int64_t index) const {
    if (index < 0 || index >= size()) throw_no_index(index);
    return tensors_[static_cast<std::size_t>(index)];
  }
  at::Tensor& operator[](std::int64_t index) { return const_cast<at::Tensor&>(std::as_const(*this)[index]); }
  /** The tensor called `name`; throws Error with the nearest name when there is none. */
  const at::Tensor& operator[](std::string_view name) const;
  at::Tensor& operator[](std::string_view name) { return const_cast<at::Tensor&>(std::as_const(*this)[name]); }
  bool contains(std::string_view name) const noexcept { return find(name) >= 0; }

  /** All tensors at once, for structured bindings; throws Error unless there are exactly N. */
  template <std::size_t N>
  std::array<at::Tensor, N> unpack() const {
    if (tensors_.size() != N) throw_wrong_count(N);
    return [this]<std::size_t... I>(std::index_sequence<I...>) { return std::array<at::Tensor, N>{tensors_[I]...}; }
    (std::make_index_sequence<N>());
  }

  /** One name a tensor, "" for those without; empty when no tensor has a name. */
  const std::vector<std::string>& names() const noexcept;
  /** The same tensors under these names, one each. */
  Batch with_names(std::vector<std::string> names) const;
  /** The same names over other tensors, as many; names are shared, not copied. */
  Batch with_tensors(Tensors tensors) const;

  /**
   * Several batches as one: their tensors in order, each batch still there as a `part`. With names of the parts the
   * tensors are called "part/name"; without, "0/name" where a tensor has a name and "" where it has none.
   */
  static Batch combine(std::span<const Batch> parts, const std::vector<std::string>& names = {});
  /** How many batches were combined to this one; 0 for a plain batch. */
  std::int64_t num_parts() const noexcept { return parts_ ? static_cast<std::int64_t>(parts_->size()) : 0; }
  /** One of the batches that were combined, with the names it had; throws Error when there is no such part. */
  Batch part(std::int64_t index) const;
  Batch part(int index) const { return part(std::int64_t{index}); }
  Batch part(std::string_view name) const;

  void reserve(std::int64_t tensors) { tensors_.reserve(static_cast<std::size_t>(tensors)); }
  void push_back(at::Tensor tensor);
  void push_back(std::string name, at::Tensor tensor);

  iterator begin() noexcept { return tensors_.begin(); }
  iterator end() noexcept { return tensors_.end(); }
  const_iterator begin() const noexcept { return tensors_.begin(); }
  const_iterator end() const noexcept { return tensors_.end(); }

  /** The batch on `device`; tensors that are there already are shared. `non_blocking` needs pinned memory to help. */
  Batch to(c10::Device device, bool non_blocking = false) const;
  /** The batch in page-locked memory, for copies to an accelerator that overlap with work. */
  Batch pin_memory() const;

 private:
  std::int64_t find(std::string_view name) const noexcept;  // -1: none
  [[noreturn]] void throw_no_index(std::int64_t index) const;
  [[noreturn]] void throw_wrong_count(std::size_t asked) const;

  Tensors tensors_;
  std::shared_ptr<const std::vector<std::string>> names_;  // shared by the batches of a loader; null: no names
  struct Part {
    std::string name;
    std::size_t begin = 0, count = 0;  // of its tensors
    std::shared_ptr<const std::vector<std::string>> names;
  };
  std::shared_ptr<const std::vector<Part>> parts_;  // null: a plain batch
};

}  // namespace levin
