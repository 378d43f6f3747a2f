// Embedding: rows of a table by number, and the dense gradient of the table.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

struct Embedding {
  std::int64_t rows = 0, columns = 0;  ///< of the table
  std::int64_t count = 0;              ///< of ids
  std::int64_t padding_idx = -1;       ///< its row gets no gradient; -1: none
  bool scale_by_frequency = false;     ///< gradients are divided by how often the id is in the batch
};

/** y[i, :] = table[ids[i], :]. Returns the first i whose id is out of range (then nothing is written), or -1. */
LEVIN_API std::int64_t embedding_forward(const Embedding&, const float* table, const std::int64_t* ids, float* y);

/**
 * dtable[rows, columns] = sums of the rows of dy by id, in the order of the batch; other rows become 0 (with
 * `accumulate` they stay, and sums are added). Returns the first i whose id is out of range, or -1.
 */
using EmbeddingBackwardFn = std::int64_t (*)(const Embedding&, const float* dy, const std::int64_t* ids, float* dtable,
                                             bool accumulate);
LEVIN_API EmbeddingBackwardFn select_embedding_backward(const Embedding& settings);

}  // namespace levin::compile::kernels
