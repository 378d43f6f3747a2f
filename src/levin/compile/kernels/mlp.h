// A small network of one hidden layer and one output, fused: Linear(inputs, width) -> ReLU -> Linear(width, 1). The
// hidden layer is not stored; the backward pass computes it again, which is cheaper than reading it.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

struct Mlp {
  std::int64_t rows = 0, inputs = 1, width = 0;
};

/** Whether the fused kernels serve this shape: up to 4 inputs. */
inline bool mlp_is_fused(const Mlp& m) { return m.inputs >= 1 && m.inputs <= 4; }

struct MlpForwardArgs {
  const float* x = nullptr;   ///< [rows, inputs]
  const float* w1 = nullptr;  ///< [width, inputs]
  const float* b1 = nullptr;  ///< [width], or null
  const float* w2 = nullptr;  ///< [width]
  const float* b2 = nullptr;  ///< [1], or null
  float* y = nullptr;         ///< [rows]
};

struct MlpBackwardArgs {
  const float* x = nullptr;
  const float* w1 = nullptr;
  const float* b1 = nullptr;
  const float* w2 = nullptr;
  const float* dy = nullptr;  ///< [rows]
  float* dw1 = nullptr;       ///< [width, inputs]
  float* db1 = nullptr;       ///< [width], or null
  float* dw2 = nullptr;       ///< [width]
  float* db2 = nullptr;       ///< [1], or null
  bool accumulate = false;    ///< adds to the gradients
};

using MlpForwardFn = void (*)(const Mlp&, const MlpForwardArgs&);
using MlpBackwardFn = void (*)(const Mlp&, const MlpBackwardArgs&);
LEVIN_API MlpForwardFn select_mlp_forward(const Mlp& settings);
LEVIN_API MlpBackwardFn select_mlp_backward(const Mlp& settings);

}  // namespace levin::compile::kernels
