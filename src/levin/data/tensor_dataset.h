// TensorDataset: tensors in memory, one sample a row.
#pragma once

#include <levin/data/dataset.h>

namespace levin {

/**
 * Samples are the rows (dimension 0) of some tensors: `TensorDataset({x, y})`, or with names
 * `TensorDataset({{"x", x}, {"y", y}})`.
 *
 * A batch is gathered at once, one copy a tensor. Consecutive indices give views into the tensors without copying:
 * a step must not change such a batch in place. Throws Error unless the tensors agree in dimension 0.
 */
class LEVIN_API TensorDataset : public Dataset {
 public:
  explicit TensorDataset(Batch tensors);

  /** The whole tensors. */
  const Batch& tensors() const;
};

/** Rows that can be copied as bytes, without asking torch what they mean. */
bool plain_rows(const at::Tensor& source);
/** Whether each index is the one before plus 1. */
bool consecutive(std::span<const std::int64_t> indices);
/** Copies rows of `row_bytes` one after the other to `target`, on several threads where they are many. */
void copy_rows(const void* source, void* target, std::size_t row_bytes, std::span<const std::int64_t> indices);

/** The rows of `source` at `indices`: a view when they are consecutive, else a copy. Throws Error outside the rows. */
LEVIN_API at::Tensor gather_rows(const at::Tensor& source, std::span<const std::int64_t> indices);

}  // namespace levin
