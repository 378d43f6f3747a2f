// C = alpha op(A) op(B) (+ bias) (+ C), then relu or its derivative: matrix products of row-major float32 matrices.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/**
 * The shape of a product, made once. op(A) is [m, k], op(B) [k, n], C [m, n]. Each is row-major; `lda`, `ldb` and `ldc`
 * are elements from a row to the next of the matrix as it lies in memory (A is [k, m] if `transpose_a`).
 */
struct Gemm {
  enum class Epilogue {
    none,
    relu,       ///< max(x, 0); NaN stays NaN
    relu_mask,  ///< x where mask > 0, else 0: the derivative of relu, with relu's result as mask
  };

  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  std::int64_t lda = 0, ldb = 0, ldc = 0;
  float alpha = 1;
  bool accumulate = false;  ///< adds to what is in C
  bool bias = false;        ///< adds bias[n] to each row
  Epilogue epilogue = Epilogue::none;
  std::int64_t ld_mask = 0;  ///< elements from a row of the mask [m, n] to the next
  /** Several products of this shape: elements from a matrix to the next (0 repeats one). Masks and biases are shared.
   */
  std::int64_t batch = 1, stride_a = 0, stride_b = 0, stride_c = 0, stride_mask = 0;

  /** Rows of all results: what `begin` and `end` count. */
  std::int64_t rows() const { return batch * m; }
};

struct GemmArgs {
  const float* a = nullptr;
  const float* b = nullptr;
  float* c = nullptr;
  const float* bias = nullptr;
  const float* mask = nullptr;
};

/**
 * Computes rows [begin, end) of batch * m; the numbers do not depend on how the rows are split. k = 0 gives sums of
 * nothing. C must not overlap A or B. `workspace` has gemm_workspace() bytes, one for each thread.
 */
using GemmFn = void (*)(const Gemm&, const GemmArgs&, void* workspace, std::int64_t begin, std::int64_t end);

LEVIN_API GemmFn select_gemm(const Gemm& gemm);
LEVIN_API std::size_t gemm_workspace(const Gemm& gemm);

}  // namespace levin::compile::kernels
