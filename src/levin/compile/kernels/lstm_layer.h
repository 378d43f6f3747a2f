// One direction of one layer of an LSTM over a whole sequence, forward and backward: products and cells in turn.
#pragma once

#include <levin/compile/kernels/gemm.h>
#include <levin/compile/kernels/lstm.h>
#include <levin/compile/kernels/reduce.h>
#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/** Of x[time, batch, inputs]; `width` hidden units. Gates lie in torch's order: input, forget, cell, output. */
struct LstmShape {
  std::int64_t time = 0, batch = 0, inputs = 0, width = 0;
  bool reverse = false;  ///< goes from the last step to the first; everything [time, ...] lies in the order of x

  /** Where in time the n-th step lies. */
  std::int64_t place(std::int64_t n) const { return reverse ? time - 1 - n : n; }
};

struct LstmLayerForwardArgs {
  const float* x = nullptr;
  const float* w_ih = nullptr;  ///< [4 width, inputs]
  const float* w_hh = nullptr;  ///< [4 width, width]
  const float* b_ih = nullptr;  ///< [4 width]
  const float* b_hh = nullptr;  ///< [4 width]
  const float* h0 = nullptr;    ///< [batch, width]
  const float* c0 = nullptr;    ///< [batch, width]
  float* out = nullptr;         ///< [time, batch, width]
  float* hy = nullptr;          ///< [batch, width], or null
  float* cy = nullptr;          ///< [batch, width], or null
  float* cells = nullptr;       ///< [time, batch, width]
  float* gates = nullptr;       ///< [time, batch, 4 width], activated
};

struct LstmLayerBackwardArgs {
  const float* d_out = nullptr;  ///< or null: 0
  std::int64_t d_out_time = 0, d_out_row = 0;  ///< elements from a step of it to the next, and from a row to the next
  const float* d_hy = nullptr;   ///< or null: 0
  const float* d_cy = nullptr;   ///< or null: 0
  const float* x = nullptr;
  const float* w_ih = nullptr;
  const float* w_hh = nullptr;
  const float* h0 = nullptr;
  const float* c0 = nullptr;
  const float* out = nullptr;
  const float* cells = nullptr;
  const float* gates = nullptr;
  float* d_x = nullptr;     ///< each result: or null
  float* d_w_ih = nullptr;
  float* d_w_hh = nullptr;
  float* d_b_ih = nullptr;
  float* d_b_hh = nullptr;
  float* d_h0 = nullptr;
  float* d_c0 = nullptr;
};

/** The kernels of a shape, chosen once. Immutable, shared by threads. */
class LstmLayer {
 public:
  LEVIN_API explicit LstmLayer(const LstmShape& shape);
  /** Bytes for each thread, enough for both. */
  LEVIN_API std::size_t workspace() const;
  LEVIN_API void forward(const LstmLayerForwardArgs& args, void* workspace) const;
  LEVIN_API void backward(const LstmLayerBackwardArgs& args, void* workspace) const;

 private:
  struct Product {
    Gemm gemm;
    GemmFn call = nullptr;
    void run(const float* a, const float* b, float* c, const float* bias, void* workspace) const {
      if (gemm.k > 0) call(gemm, {.a = a, .b = b, .c = c, .bias = bias, .mask = nullptr}, workspace, 0, gemm.rows());
    }
  };
  static Product product(const Gemm& gemm) { return {gemm, select_gemm(gemm)}; }
  std::int64_t state() const { return shape_.batch * shape_.width; }

  LstmShape shape_;
  LstmCell cell_;
  LstmForwardFn cell_forward_;
  LstmBackwardFn cell_backward_;
  Product of_x_, of_h_;                        // gates
  Product d_h_, d_x_, d_w_ih_, d_w_hh_, d_w_hh0_;  // gradients
  Reduce columns_;
  ReduceFn sum_columns_;
};

}  // namespace levin::compile::kernels
