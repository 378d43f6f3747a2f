#include <levin/compile/kernels/lstm_layer.h>

#include <algorithm>
#include <cstring>

namespace levin::compile::kernels {
namespace {

constexpr std::size_t kAlignment = 64;

std::size_t bytes_of(std::int64_t floats) {
  return (static_cast<std::size_t>(floats) * sizeof(float) + kAlignment - 1) / kAlignment * kAlignment;
}

void copy(const float* from, float* to, std::int64_t n) {
  std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
}

void copy_or_zero(const float* from, float* to, std::int64_t n) {
  if (from != nullptr) {
    copy(from, to, n);
  } else {
    std::fill_n(to, n, 0.F);
  }
}

}  // namespace

LstmLayer::LstmLayer(const LstmShape& s)
    : shape_(s), cell_{.rows = s.batch, .width = s.width}, cell_forward_(select_lstm_forward(cell_)),
      cell_backward_(select_lstm_backward(cell_)), columns_{.reduced = s.time * s.batch, .inner = 4 * s.width},
      sum_columns_(select_reduce(columns_)) {
  const std::int64_t rows = s.time * s.batch, gates = 4 * s.width;
  of_x_ = product({.m = rows, .n = gates, .k = s.inputs, .transpose_b = true, .lda = s.inputs, .ldb = s.inputs,
                   .ldc = gates, .bias = true});
  of_h_ = product({.m = s.batch, .n = gates, .k = s.width, .transpose_b = true, .lda = s.width, .ldb = s.width,
                   .ldc = gates, .accumulate = true, .bias = true});
  d_h_ = product({.m = s.batch, .n = s.width, .k = gates, .lda = gates, .ldb = s.width, .ldc = s.width,
                  .accumulate = true});
  d_x_ = product({.m = rows, .n = s.inputs, .k = gates, .lda = gates, .ldb = s.inputs, .ldc = s.inputs});
  d_w_ih_ = product({.m = gates, .n = s.inputs, .k = rows, .transpose_a = true, .lda = gates, .ldb = s.inputs,
                     .ldc = s.inputs});
  // The first step's hidden state lies apart from the others'.
  d_w_hh0_ = product({.m = gates, .n = s.width, .k = s.batch, .transpose_a = true, .lda = gates, .ldb = s.width,
                      .ldc = s.width});
  d_w_hh_ = product({.m = gates, .n = s.width, .k = rows - s.batch, .transpose_a = true, .lda = gates, .ldb = s.width,
                     .ldc = s.width, .accumulate = true});
}

std::size_t LstmLayer::workspace() const {
  std::size_t products = 0;
  for (const Product* p : {&of_x_, &of_h_, &d_h_, &d_x_, &d_w_ih_, &d_w_hh0_, &d_w_hh_}) {
    if (p->gemm.k > 0) products = std::max(products, gemm_workspace(p->gemm));
  }
  // Gradients of the gates of all steps, and of the states of one.
  return bytes_of(shape_.time * shape_.batch * 4 * shape_.width) + 2 * bytes_of(state()) + products;
}

void LstmLayer::forward(const LstmLayerForwardArgs& a, void* workspace) const {
  const std::int64_t step = state();
  of_x_.run(a.x, a.w_ih, a.gates, a.b_ih, workspace);
  const std::int64_t before = shape_.reverse ? step : -step;
  for (std::int64_t n = 0; n < shape_.time; ++n) {
    const std::int64_t t = shape_.place(n);
    float* const gates = a.gates + t * 4 * step;
    float *const out = a.out + t * step, *const cell = a.cells + t * step;
    of_h_.run(n == 0 ? a.h0 : out + before, a.w_hh, gates, a.b_hh, workspace);
    cell_forward_(cell_,
                  {.input_gates = gates, .hidden_gates = nullptr, .input_bias = nullptr, .hidden_bias = nullptr,
                   .cell = n == 0 ? a.c0 : cell + before, .new_hidden = out, .new_cell = cell, .gates = gates},
                  0, shape_.batch);
  }
  const std::int64_t last = shape_.place(shape_.time - 1) * step;
  if (a.hy != nullptr) copy(a.out + last, a.hy, step);
  if (a.cy != nullptr) copy(a.cells + last, a.cy, step);
}

void LstmLayer::backward(const LstmLayerBackwardArgs& a, void* workspace) const {
  const std::int64_t step = state();
  auto* memory = static_cast<std::byte*>(workspace);
  const auto take = [&](std::int64_t floats) {
    auto* const taken = reinterpret_cast<float*>(memory);
    memory += bytes_of(floats);
    return taken;
  };
  float *const d_gates = take(shape_.time * 4 * step), *const d_hidden = take(step), *const d_cell = take(step);
  void* const products = memory;

  copy_or_zero(a.d_cy, d_cell, step);
  for (std::int64_t n = shape_.time; n-- > 0;) {
    const std::int64_t t = shape_.place(n);
    if (a.d_out == nullptr || a.d_out_row == shape_.width) {
      copy_or_zero(a.d_out != nullptr ? a.d_out + t * a.d_out_time : nullptr, d_hidden, step);
    } else {
      for (std::int64_t r = 0; r < shape_.batch; ++r) {
        copy(a.d_out + t * a.d_out_time + r * a.d_out_row, d_hidden + r * shape_.width, shape_.width);
      }
    }
    if (n + 1 < shape_.time) {
      d_h_.run(d_gates + shape_.place(n + 1) * 4 * step, a.w_hh, d_hidden, nullptr, products);
    } else if (a.d_hy != nullptr) {
      for (std::int64_t i = 0; i < step; ++i) d_hidden[i] += a.d_hy[i];
    }
    cell_backward_(cell_,
                   {.d_hidden = d_hidden, .d_cell = d_cell, .cell = n == 0 ? a.c0 : a.cells + shape_.place(n - 1) * step,
                    .new_cell = a.cells + t * step, .gates = a.gates + t * 4 * step, .d_gates = d_gates + t * 4 * step,
                    .d_old_cell = d_cell},
                   0, shape_.batch);
  }
  if (a.d_x != nullptr) d_x_.run(d_gates, a.w_ih, a.d_x, nullptr, products);
  if (a.d_w_ih != nullptr) d_w_ih_.run(d_gates, a.x, a.d_w_ih, nullptr, products);
  const float* const first = d_gates + shape_.place(0) * 4 * step;
  if (a.d_w_hh != nullptr) {
    d_w_hh0_.run(first, a.h0, a.d_w_hh, nullptr, products);
    d_w_hh_.run(shape_.reverse ? d_gates : d_gates + 4 * step, shape_.reverse ? a.out + step : a.out, a.d_w_hh, nullptr, products);
  }
  float* const biases = a.d_b_ih != nullptr ? a.d_b_ih : a.d_b_hh;
  if (biases != nullptr) {
    sum_columns_(columns_, d_gates, biases, 0, columns_.results());
    if (biases == a.d_b_ih && a.d_b_hh != nullptr) copy(biases, a.d_b_hh, 4 * shape_.width);
  }
  if (a.d_h0 != nullptr) {
    std::fill_n(a.d_h0, step, 0.F);
    d_h_.run(first, a.w_hh, a.d_h0, nullptr, products);
  }
  if (a.d_c0 != nullptr) copy(d_cell, a.d_c0, step);
}

}  // namespace levin::compile::kernels
