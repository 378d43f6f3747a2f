#include <levin/compile/kernels/conv.h>

#include <algorithm>
#include <cstring>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/conv.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

// Images are staged with their padding, rows one behind the other. A plane is then one long vector, and an offset in it
// is an offset in the image: output position p reads p + row * pitch + column. The positions at the ends of rows that
// wrap around are computed and dropped.

// Output channels and vectors of positions of a tile, in registers.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr int kChannels = 8, kVectors = 3;
#else
constexpr int kChannels = 4, kVectors = 3;
#endif
constexpr Index kSlack = 4 * kLanesSigned;  // what tiles read behind a plane

/** Geometry of a convolution in one direction. */
struct Shape {
  Index in, out, kernel_h, kernel_w, height, width, padding_h, padding_w;  // of the source
  Index pitch, plane, out_h, out_w, length;                                // staged; output
  HWY_INLINE Shape(Index in_, Index out_, Index kh, Index kw, Index h, Index w, Index ph, Index pw)
      : in(in_),
        out(out_),
        kernel_h(kh),
        kernel_w(kw),
        height(h),
        width(w),
        padding_h(ph),
        padding_w(pw),
        pitch(w + 2 * pw),
        plane((h + 2 * ph) * pitch),
        out_h(h + 2 * ph - kh + 1),
        out_w(pitch - kw + 1),
        length(out_h * pitch) {}
  HWY_INLINE Index staged() const { return in * plane + kSlack; }
};

Shape forward_shape(const Conv& c) {
  return {c.in_channels, c.out_channels, c.kernel_h, c.kernel_w, c.height, c.width, c.padding_h, c.padding_w};
}
/** The gradient of the input is a convolution of dy with the turned kernel. */
Shape input_shape(const Conv& c) {
  return {c.out_channels,
          c.in_channels,
          c.kernel_h,
          c.kernel_w,
          c.out_height(),
          c.out_width(),
          c.kernel_h - 1 - c.padding_h,
          c.kernel_w - 1 - c.padding_w};
}

HWY_INLINE void copy_row(const float* from, float* to, Index n) {
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(at.read(from), to); });
}

/** Copies an image's planes into the middle of staged ones, whose borders are zero already. */
void stage(const Shape& s, const float* image, float* staged) {
  for (Index c = 0; c < s.in; c++) {
    float* to = staged + c * s.plane + s.padding_h * s.pitch + s.padding_w;
    for (Index r = 0; r < s.height; r++, image += s.width, to += s.pitch) copy_row(image, to, s.width);
  }
}

/**
 * weights of a block of output channels as [in, kernel_h, kernel_w, kChannels]. `turned`: weight[in, out, ...] turned
 * by 180 degrees.
 */
void pack_weights(const Shape& s, const float* weight, bool turned, float* packed) {
  const Index taps = s.kernel_h * s.kernel_w;
  for (Index o0 = 0; o0 < s.out; o0 += kChannels) {
    for (Index i = 0; i < s.in; i++) {
      for (Index t = 0; t < taps; t++) {
        for (Index l = 0; l < kChannels; l++) {
          const Index o = o0 + l;
          *packed++ = o >= s.out ? 0
                      : turned   ? weight[(i * s.out + o) * taps + taps - 1 - t]
                                 : weight[(o * s.in + i) * taps + t];
        }
      }
    }
  }
}

/** kChannels output channels at `vectors` vectors of positions from p. */
template <int vectors>
HWY_INLINE void tile(const Shape& s, const float* staged, const float* packed, const float* bias, float* out,
                     Index out_plane, Index p) {
  V sums[kChannels][vectors];
#pragma GCC unroll 8
  for (int c = 0; c < kChannels; c++) {
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) sums[c][v] = set(bias[c]);
  }
  for (Index i = 0; i < s.in; i++) {
    for (Index y = 0; y < s.kernel_h; y++) {
      const float* row = staged + i * s.plane + y * s.pitch + p;
      for (Index x = 0; x < s.kernel_w; x++, packed += kChannels) {
        V in[vectors];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++) in[v] = load(row + x + v * kLanesSigned);
#pragma GCC unroll 8
        for (int c = 0; c < kChannels; c++) {
          const V w = set(packed[c]);
#pragma GCC unroll 3
          for (int v = 0; v < vectors; v++) sums[c][v] = hn::MulAdd(w, in[v], sums[c][v]);
        }
      }
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kChannels; c++) {
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) store(sums[c][v], out + c * out_plane + p + v * kLanesSigned);
  }
}

HWY_INLINE float* align(void* workspace) {
  const auto address = reinterpret_cast<std::uintptr_t>(workspace);
  return reinterpret_cast<float*>((address + 63) / 64 * 64);
}

Index up(Index n) { return (n + 15) / 16 * 16; }

/** Floats of what convolve() needs. */
Index convolve_floats(const Shape& s) {
  const Index blocks = (s.out + kChannels - 1) / kChannels;
  return up(s.staged()) + up(blocks * s.in * s.kernel_h * s.kernel_w * kChannels) + kChannels * (up(s.length) + kSlack);
}

void convolve(const Shape& s, const float* x, const float* weight, bool turned, const float* bias, bool with_relu,
              float* y, float* workspace, Index begin, Index end) {
  const Index blocks = (s.out + kChannels - 1) / kChannels, block_size = s.in * s.kernel_h * s.kernel_w * kChannels;
  float* const staged = workspace;
  float* const packed = staged + up(s.staged());
  float* const results = packed + up(blocks * block_size);
  const Index result_plane = up(s.length) + kSlack;
  std::fill_n(staged, s.staged(), 0.F);
  pack_weights(s, weight, turned, packed);
  for (Index n = begin; n < end; n++) {
    stage(s, x + n * s.in * s.height * s.width, staged);
    for (Index b = 0; b < blocks; b++) {
      float biases[kChannels] = {};
      const Index channels = std::min<Index>(kChannels, s.out - b * kChannels);
      for (Index c = 0; bias && c < channels; c++) biases[c] = bias[b * kChannels + c];
      const float* weights = packed + b * block_size;
      Index p = 0;
      for (; p + kVectors * kLanesSigned <= s.length; p += kVectors * kLanesSigned) {
        tile<kVectors>(s, staged, weights, biases, results, result_plane, p);
      }
      for (; p < s.length; p += kLanesSigned) tile<1>(s, staged, weights, biases, results, result_plane, p);
      for (Index c = 0; c < channels; c++) {
        const float* from = results + c * result_plane;
        float* to = y + (n * s.out + b * kChannels + c) * s.out_h * s.out_w;
        for (Index r = 0; r < s.out_h; r++, from += s.pitch, to += s.out_w) {
          each_place(0, s.out_w,
                     [&](auto at) HWY_ATTR { at.write(with_relu ? relu(at.read(from)) : at.read(from), to); });
        }
      }
    }
  }
}

constexpr Index kImages = 4;  // staged at a time for the gradient of the weights
constexpr int kTaps = 3;      // columns of the kernel at a time

/** Floats of what the gradient of the weights needs: images and gradients with the images' pitch. */
Index weight_floats(const Shape& s) {
  return kImages * (up(s.staged()) + up((s.out + kChannels) * (up(s.length) + kLanesSigned)));
}

/** Sums of dy times x for kChannels output channels and `taps` columns of the kernel, over the staged images. */
template <int taps>
HWY_INLINE void weight_tile(const Shape& s, Index images, const float* x, Index x_image, const float* dy,
                            Index dy_image, Index dy_plane, Index channels, float* dweight, Index channel_stride) {
  V sums[kChannels][taps];
#pragma GCC unroll 8
  for (int c = 0; c < kChannels; c++) {
#pragma GCC unroll 3
    for (int t = 0; t < taps; t++) sums[c][t] = zero();
  }
  for (Index n = 0; n < images; n++) {
    const float* from = x + n * x_image;
    const float* g = dy + n * dy_image;
    for (Index p = 0; p < s.length; p += kLanesSigned) {
      V in[taps];
#pragma GCC unroll 3
      for (int t = 0; t < taps; t++) in[t] = load(from + p + t);
#pragma GCC unroll 8
      for (int c = 0; c < kChannels; c++) {
        const V gradient = load(g + c * dy_plane + p);
#pragma GCC unroll 3
        for (int t = 0; t < taps; t++) sums[c][t] = hn::MulAdd(gradient, in[t], sums[c][t]);
      }
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kChannels; c++) {
    if (c >= channels) break;
#pragma GCC unroll 3
    for (int t = 0; t < taps; t++) dweight[c * channel_stride + t] += sum(sums[c][t]);
  }
}

}  // namespace

void ConvForward(const Conv& c, const float* x, const float* weight, const float* bias, float* y, void* workspace,
                 Index begin, Index end) {
  convolve(forward_shape(c), x, weight, false, bias, c.relu, y, align(workspace), begin, end);
}

void ConvInput(const Conv& c, const float* dy, const float* weight, float* dx, void* workspace, Index begin,
               Index end) {
  convolve(input_shape(c), dy, weight, true, nullptr, false, dx, align(workspace), begin, end);
}

void ConvWeight(const Conv& conv, const float* x, const float* dy, float* dweight, float* dbias, void* workspace) {
  const Shape s = forward_shape(conv);
  const Index taps = s.kernel_h * s.kernel_w, x_image = up(s.staged()), dy_plane = up(s.length) + kLanesSigned;
  const Index dy_image = up((s.out + kChannels) * dy_plane);
  float* const staged = align(workspace);
  float* const gradients = staged + kImages * x_image;
  std::fill_n(staged, kImages * (x_image + dy_image), 0.F);
  std::fill_n(dweight, s.out * s.in * taps, 0.F);
  if (dbias) std::fill_n(dbias, s.out, 0.F);
  for (Index n0 = 0; n0 < conv.batch; n0 += kImages) {
    const Index images = std::min(kImages, conv.batch - n0);
    for (Index n = 0; n < images; n++) {
      stage(s, x + (n0 + n) * s.in * s.height * s.width, staged + n * x_image);
      for (Index o = 0; o < s.out; o++) {
        const float* from = dy + ((n0 + n) * s.out + o) * s.out_h * s.out_w;
        float* to = gradients + n * dy_image + o * dy_plane;
        V total = zero();
        for (Index r = 0; r < s.out_h; r++, from += s.out_w, to += s.pitch) {
          each_place(0, s.out_w, [&](auto at) HWY_ATTR {
            const V v = at.read(from);
            total = hn::Add(total, v);
            at.write(v, to);
          });
        }
        if (dbias) dbias[o] += sum(total);
      }
    }
    for (Index o = 0; o < s.out; o += kChannels) {
      const Index channels = std::min<Index>(kChannels, s.out - o);
      for (Index i = 0; i < s.in; i++) {
        for (Index row = 0; row < s.kernel_h; row++) {
          for (Index column = 0; column < s.kernel_w;) {
            const float* from = staged + i * s.plane + row * s.pitch + column;
            const float* g = gradients + o * dy_plane;
            float* to = dweight + (o * s.in + i) * taps + row * s.kernel_w + column;
            const Index left = s.kernel_w - column;
            if (left >= kTaps) {
              weight_tile<3>(s, images, from, x_image, g, dy_image, dy_plane, channels, to, s.in * taps);
              column += 3;
            } else if (left == 2) {
              weight_tile<2>(s, images, from, x_image, g, dy_image, dy_plane, channels, to, s.in * taps);
              column += 2;
            } else {
              weight_tile<1>(s, images, from, x_image, g, dy_image, dy_plane, channels, to, s.in * taps);
              column += 1;
            }
          }
        }
      }
    }
  }
}

std::size_t ConvWorkspace(const Conv& c) {
  const Shape forward = forward_shape(c);
  const Index floats = std::max({convolve_floats(forward), convolve_floats(input_shape(c)), weight_floats(forward)});
  return static_cast<std::size_t>(floats) * sizeof(float) + 64;
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <levin/compile/kernels/refuse_impl.h>

namespace levin::compile::kernels {

HWY_EXPORT(ConvForward);
HWY_EXPORT(ConvInput);
HWY_EXPORT(ConvWeight);
HWY_EXPORT(ConvWorkspace);

bool conv_is_served(const Conv& c) {
  return c.kernel_h >= 1 && c.kernel_w >= 1 && c.kernel_h <= 7 && c.kernel_w <= 7 && c.padding_h >= 0 &&
         c.padding_w >= 0 && c.padding_h < c.kernel_h && c.padding_w < c.kernel_w && c.out_height() >= 1 &&
         c.out_width() >= 1;
}
namespace {

void require_served(const Conv& c) {
  if (conv_is_served(c)) return;
  const auto by = [](std::int64_t h, std::int64_t w) { return std::to_string(h) + "x" + std::to_string(w); };
  refuse("no direct convolution for this kernel and padding",
         by(c.kernel_h, c.kernel_w) + ", padding " + by(c.padding_h, c.padding_w) + ", image " + by(c.height, c.width),
         "a convolution (see conv_is_served)");
}

}  // namespace

ConvForwardFn select_conv_forward(const Conv& settings) {
  require_served(settings);
  return LEVIN_BEST(ConvForward);
}
ConvInputFn select_conv_input(const Conv& settings) {
  require_served(settings);
  return LEVIN_BEST(ConvInput);
}
ConvWeightFn select_conv_weight(const Conv& settings) {
  require_served(settings);
  return LEVIN_BEST(ConvWeight);
}
std::size_t conv_workspace(const Conv& settings) { return LEVIN_BEST(ConvWorkspace)(settings); }

}  // namespace levin::compile::kernels
#endif
