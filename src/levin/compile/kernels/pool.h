// Pooling of images x[planes, height, width] (planes = batch * channels).
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

struct Pool {
  std::int64_t planes = 0, height = 0, width = 0;
  std::int64_t kernel_h = 2, kernel_w = 2, stride_h = 2, stride_w = 2, padding_h = 0, padding_w = 0;
  std::int64_t dilation_h = 1, dilation_w = 1;  ///< of max pooling
  bool ceil_mode = false;
  bool count_include_pad = true;      ///< of average pooling
  std::int64_t divisor_override = 0;  ///< of average pooling; 0: none
  bool relu = false;                  ///< max pooling of relu(x), whose result nobody else needs
  /** Adaptive pooling: the result's size, for which windows of uneven sizes may overlap; 0: by kernel and stride. */
  std::int64_t adaptive_h = 0, adaptive_w = 0;

  std::int64_t out_height() const {
    return adaptive_h > 0 ? adaptive_h : out_size(height, kernel_h, stride_h, padding_h, dilation_h);
  }
  std::int64_t out_width() const {
    return adaptive_w > 0 ? adaptive_w : out_size(width, kernel_w, stride_w, padding_w, dilation_w);
  }

 private:
  std::int64_t out_size(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding,
                        std::int64_t dilation) const {
    const std::int64_t reach = in + 2 * padding - dilation * (kernel - 1) - 1 + (ceil_mode ? stride - 1 : 0);
    if (reach < 0) return 0;
    std::int64_t out = reach / stride + 1;
    // The last window begins inside the image or its left padding.
    if (ceil_mode && (out - 1) * stride >= in + padding) out--;
    return out;
  }
};

// Planes [begin, end) in all.

/**
 * y[planes, out_height, out_width] and, unless null, the place of each maximum in its plane as ATen gives it (the first
 * of equals; NaN counts as the largest). With `relu` the places of windows that have no positive element are -1.
 */
using MaxPoolForwardFn = void (*)(const Pool&, const float* x, float* y, std::int64_t* places, std::int64_t begin,
                                  std::int64_t end);
/** dx, all of it. Places of -1 get nothing. */
using MaxPoolBackwardFn = void (*)(const Pool&, const float* dy, const std::int64_t* places, float* dx,
                                   std::int64_t begin, std::int64_t end);
LEVIN_API MaxPoolForwardFn select_max_pool_forward(const Pool& settings);
LEVIN_API MaxPoolBackwardFn select_max_pool_backward(const Pool& settings);

using AvgPoolFn = void (*)(const Pool&, const float* from, float* to, std::int64_t begin, std::int64_t end);
LEVIN_API AvgPoolFn select_avg_pool_forward(const Pool& settings);
LEVIN_API AvgPoolFn select_avg_pool_backward(const Pool& settings);

/**
 * dx[planes, area] = dy[planes] / area: the gradient of the mean of planes (adaptive_avg_pool2d to 1 x 1; its forward
 * is Reduce).
 */
LEVIN_API void mean_of_planes_backward(const float* dy, float* dx, std::int64_t planes, std::int64_t area);

}  // namespace levin::compile::kernels
