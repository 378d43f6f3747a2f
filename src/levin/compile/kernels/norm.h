// Layer, RMS, group and batch normalisation, forward and backward. Weights and biases are optional everywhere.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/** Layer norm (or RMS norm: no mean) over the last `columns` elements of x[rows, columns]. */
struct LayerNorm {
  std::int64_t rows = 0, columns = 0;
  double eps = 1e-5;
  bool rms = false;
};

struct LayerNormForwardArgs {
  const float* x = nullptr;
  const float* weight = nullptr;  ///< [columns], or null
  const float* bias = nullptr;    ///< [columns], or null
  float* y = nullptr;             ///< may be x
  float* mean = nullptr;          ///< [rows], or null; not of RMS norm
  float* rstd = nullptr;          ///< [rows], or null
};
struct LayerNormBackwardArgs {
  const float* dy = nullptr;
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* mean = nullptr;  ///< [rows]; not of RMS norm
  const float* rstd = nullptr;  ///< [rows]
  float* dx = nullptr;          ///< or null
  float* dweight = nullptr;     ///< [columns], or null
  float* dbias = nullptr;       ///< [columns], or null
};
/** Rows [begin, end). */
using LayerNormForwardFn = void (*)(const LayerNorm&, const LayerNormForwardArgs&, std::int64_t begin,
                                    std::int64_t end);
/** dx of all rows; dweight and dbias are sums over all. */
using LayerNormBackwardFn = void (*)(const LayerNorm&, const LayerNormBackwardArgs&);
LEVIN_API LayerNormForwardFn select_layer_norm_forward(const LayerNorm& settings);
LEVIN_API LayerNormBackwardFn select_layer_norm_backward(const LayerNorm& settings);

/** Group norm of x[batch, channels, area] in `groups` groups of channels. */
struct GroupNorm {
  std::int64_t batch = 0, channels = 0, area = 1, groups = 1;
  double eps = 1e-5;
};
struct GroupNormForwardArgs {
  const float* x = nullptr;
  const float* weight = nullptr;  ///< [channels], or null
  const float* bias = nullptr;    ///< [channels], or null
  float* y = nullptr;             ///< may be x
  float* mean = nullptr;          ///< [batch, groups], or null
  float* rstd = nullptr;          ///< [batch, groups], or null
};
struct GroupNormBackwardArgs {
  const float* dy = nullptr;
  const float* x = nullptr;
  const float* weight = nullptr;
  const float* mean = nullptr;
  const float* rstd = nullptr;
  float* dx = nullptr;       ///< or null
  float* dweight = nullptr;  ///< [channels], or null
  float* dbias = nullptr;    ///< [channels], or null
};
using GroupNormForwardFn = void (*)(const GroupNorm&, const GroupNormForwardArgs&);
using GroupNormBackwardFn = void (*)(const GroupNorm&, const GroupNormBackwardArgs&);
LEVIN_API GroupNormForwardFn select_group_norm_forward(const GroupNorm& settings);
LEVIN_API GroupNormBackwardFn select_group_norm_backward(const GroupNorm& settings);

/** Batch norm of x[batch, channels, area]: area 1 for [batch, channels], the image's size for NCHW. */
struct BatchNorm {
  std::int64_t batch = 0, channels = 0, area = 1;
  double eps = 1e-5, momentum = 0.1;
  bool training = true;  ///< statistics of the batch, else the running ones
  bool relu = false;     ///< forward: relu after it; backward: dy is relu's gradient
};
struct BatchNormForwardArgs {
  const float* x = nullptr;
  const float* weight = nullptr;  ///< [channels], or null
  const float* bias = nullptr;    ///< [channels], or null
  float* running_mean = nullptr;  ///< [channels]; updated in training (may be null there), read in evaluation
  float* running_var = nullptr;   ///< [channels]; with the unbiased variance
  float* y = nullptr;             ///< may be x
  float* save_mean = nullptr;     ///< [channels]; of training
  float* save_invstd = nullptr;   ///< [channels]; of training
  const float* residual = nullptr;  ///< as x, added before relu; or null
};
struct BatchNormBackwardArgs {
  const float* dy = nullptr;
  const float* x = nullptr;
  const float* y = nullptr;  ///< if `relu`: the forward pass's result; null: it is computed again, from x
  const float* weight = nullptr;
  const float* bias = nullptr;  ///< [channels], or null; read if `relu` and no y is given
  const float* running_mean = nullptr;  ///< of evaluation
  const float* running_var = nullptr;   ///< of evaluation
  const float* save_mean = nullptr;     ///< of training
  const float* save_invstd = nullptr;   ///< of training
  float* dx = nullptr;                  ///< or null
  float* dweight = nullptr;             ///< [channels], or null
  float* dbias = nullptr;               ///< [channels], or null
};
/** Channels [begin, end). */
using BatchNormForwardFn = void (*)(const BatchNorm&, const BatchNormForwardArgs&, std::int64_t begin,
                                    std::int64_t end);
using BatchNormBackwardFn = void (*)(const BatchNorm&, const BatchNormBackwardArgs&, std::int64_t begin,
                                     std::int64_t end);
LEVIN_API BatchNormForwardFn select_batch_norm_forward(const BatchNorm& settings);
LEVIN_API BatchNormBackwardFn select_batch_norm_backward(const BatchNorm& settings);

}  // namespace levin::compile::kernels
