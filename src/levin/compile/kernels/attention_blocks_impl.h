// The matrix products of one block of attention. Internal to the kernels.
#pragma once

#include <levin/compile/kernels/attention.h>
#include <levin/compile/kernels/gemm.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

inline constexpr std::int64_t kQueries = 64;  // of a block: its scores stay in the second cache

/** The products of a block of `rows` queries and `keys` keys. */
struct BlockProducts {
  Gemm scores;    // q k^T
  Gemm output;    // p v
  Gemm d_scores;  // d_o v^T
  Gemm d_q, d_k, d_v;
};

inline BlockProducts products(const Attention& s, const AttentionBackwardArgs* b, std::int64_t rows,
                              std::int64_t keys) {
  BlockProducts p;
  p.scores = {.m = rows,
              .n = keys,
              .k = s.depth,
              .transpose_b = true,
              .lda = s.q.time,
              .ldb = s.k.time,
              .ldc = keys,
              .alpha = s.scale};
  p.output = {.m = rows, .n = s.value_depth, .k = keys, .lda = keys, .ldb = s.v.time, .ldc = s.o.time};
  if (!b) return p;
  p.d_scores = {.m = rows,
                .n = keys,
                .k = s.value_depth,
                .transpose_b = true,
                .lda = b->d_o_strides.time,
                .ldb = s.v.time,
                .ldc = keys};
  p.d_q = {.m = rows, .n = s.depth, .k = keys, .lda = keys, .ldb = s.k.time, .ldc = b->d_q_strides.time};
  p.d_k = {.m = keys,
           .n = s.depth,
           .k = rows,
           .transpose_a = true,
           .lda = keys,
           .ldb = s.q.time,
           .ldc = b->d_k_strides.time,
           .accumulate = true};
  p.d_v = {.m = keys,
           .n = s.value_depth,
           .k = rows,
           .transpose_a = true,
           .lda = keys,
           .ldb = b->d_o_strides.time,
           .ldc = b->d_v_strides.time,
           .accumulate = true};
  return p;
}

inline std::size_t products_workspace(const BlockProducts& p) {
  std::size_t bytes = 0;
  for (const Gemm* g : {&p.scores, &p.output, &p.d_scores, &p.d_q, &p.d_k, &p.d_v}) {
    if (g->m > 0) bytes = std::max(bytes, gemm_workspace(*g));
  }
  return (bytes + 63) / 64 * 64;
}

}  // namespace levin::compile::kernels
