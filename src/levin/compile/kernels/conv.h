// Direct convolution of images [batch, channels, height, width] with small kernels, stride 1: for few channels, where
// it beats general libraries. Measure before you choose it.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

struct Conv {
  std::int64_t batch = 0, in_channels = 0, out_channels = 0, height = 0, width = 0;
  std::int64_t kernel_h = 3, kernel_w = 3, padding_h = 0, padding_w = 0;
  bool relu = false;  ///< forward: relu of the result

  std::int64_t out_height() const { return height + 2 * padding_h - kernel_h + 1; }
  std::int64_t out_width() const { return width + 2 * padding_w - kernel_w + 1; }
};

/** Kernels of up to 7 x 7 with paddings below the kernel's size, over at least one position. */
LEVIN_API bool conv_is_served(const Conv& settings);

/** Images [begin, end): y = x * weight + bias. weight[out, in, kernel_h, kernel_w]; bias[out] or null. */
using ConvForwardFn = void (*)(const Conv&, const float* x, const float* weight, const float* bias, float* y,
                               void* workspace, std::int64_t begin, std::int64_t end);
/** Images [begin, end): dx from dy. */
using ConvInputFn = void (*)(const Conv&, const float* dy, const float* weight, float* dx, void* workspace,
                             std::int64_t begin, std::int64_t end);
/** dweight and, unless null, dbias: sums over the batch. */
using ConvWeightFn = void (*)(const Conv&, const float* x, const float* dy, float* dweight, float* dbias,
                              void* workspace);
LEVIN_API ConvForwardFn select_conv_forward(const Conv& settings);
LEVIN_API ConvInputFn select_conv_input(const Conv& settings);
LEVIN_API ConvWeightFn select_conv_weight(const Conv& settings);
/** Bytes of workspace for each thread, enough for all three. */
LEVIN_API std::size_t conv_workspace(const Conv& settings);

}  // namespace levin::compile::kernels
