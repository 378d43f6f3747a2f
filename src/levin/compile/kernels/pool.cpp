#include <levin/compile/kernels/pool.h>

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/pool.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;
using Ints = hn::Rebind<std::int32_t, D>;

/** The part of a window that lies within the image: [first, last) in steps of the dilation. */
struct Span {
  Index first, last;
  HWY_INLINE Span(Index out, Index stride, Index padding, Index kernel, Index dilation, Index size) {
    first = out * stride - padding;
    last = std::min(first + (kernel - 1) * dilation + 1, size);
    if (first < 0) first += (-first + dilation - 1) / dilation * dilation;
  }
  /** The share of one of `outs` results, rounded outwards. */
  HWY_INLINE Span(Index out, Index outs, Index size)
      : first(out * size / outs), last(((out + 1) * size + outs - 1) / outs) {}

  static HWY_INLINE Span rows(const Pool& p, Index out) {
    return p.adaptive_h > 0 ? Span(out, p.adaptive_h, p.height)
                            : Span(out, p.stride_h, p.padding_h, p.kernel_h, p.dilation_h, p.height);
  }
  static HWY_INLINE Span columns(const Pool& p, Index out) {
    return p.adaptive_w > 0 ? Span(out, p.adaptive_w, p.width)
                            : Span(out, p.stride_w, p.padding_w, p.kernel_w, p.dilation_w, p.width);
  }
};

void max_pool(const Pool& p, const float* x, float* y, Index* places, Index begin, Index end) {
  const Index oh = p.out_height(), ow = p.out_width();
  for (Index plane = begin; plane < end; plane++) {
    const float* from = x + plane * p.height * p.width;
    for (Index i = 0; i < oh; i++) {
      const Span rows = Span::rows(p, i);
      for (Index j = 0; j < ow; j++) {
        const Span columns = Span::columns(p, j);
        float largest = -std::numeric_limits<float>::infinity();
        Index place = rows.first * p.width + columns.first;
        for (Index r = rows.first; r < rows.last; r += p.dilation_h) {
          for (Index c = columns.first; c < columns.last; c += p.dilation_w) {
            const float value = from[r * p.width + c];
            if (value > largest || value != value) {
              largest = value;
              place = r * p.width + c;
            }
          }
        }
        if (p.relu && largest <= 0) {
          largest = 0;
          place = -1;
        }
        const Index to = (plane * oh + i) * ow + j;
        y[to] = largest;
        if (places) places[to] = place;
      }
    }
  }
}

/** Even and odd elements of 2 kLanes floats. */
HWY_INLINE void split_pairs(const float* p, V& even, V& odd) { hn::LoadInterleaved2(kFloats, p, even, odd); }

/** Windows of 2 x 2, two apart, without padding: a row of results at a time. */
void max_pool_2x2(const Pool& p, const float* x, float* y, Index* places, Index begin, Index end) {
  const Index oh = p.out_height(), ow = p.out_width();
  const Ints ints;
  for (Index plane = begin; plane < end; plane++) {
    const float* from = x + plane * p.height * p.width;
    for (Index i = 0; i < oh; i++) {
      const float *r0 = from + 2 * i * p.width, *r1 = r0 + p.width;
      float* to = y + (plane * oh + i) * ow;
      Index* place = places ? places + (plane * oh + i) * ow : nullptr;
      Index j = 0;
      for (; j + kLanesSigned <= ow; j += kLanesSigned) {
        V a, b, c, d;
        split_pairs(r0 + 2 * j, a, b);
        split_pairs(r1 + 2 * j, c, d);
        // As ATen goes: each replaces the largest so far if it is larger or NaN.
        V largest = a;
        auto which = hn::Zero(ints);
        const auto next = [&](V v, std::int32_t number) HWY_ATTR {
          const auto wins = hn::Or(hn::Gt(v, largest), hn::IsNaN(v));
          largest = hn::IfThenElse(wins, v, largest);
          which = hn::IfThenElse(hn::RebindMask(ints, wins), hn::Set(ints, number), which);
        };
        const auto width = static_cast<std::int32_t>(p.width);
        next(b, 1);
        next(c, width);
        next(d, width + 1);
        if (p.relu) {
          const auto none = hn::Le(largest, zero());
          largest = hn::IfThenElse(none, zero(), largest);
          which = hn::IfThenElse(hn::RebindMask(ints, none), hn::Set(ints, -1), which);
        }
        store(largest, to + j);
        if (place) {
          HWY_ALIGN std::int32_t numbers[kLanes];
          hn::Store(which, ints, numbers);
          const Index corner = 2 * i * p.width + 2 * j;
          for (Index l = 0; l < kLanesSigned; l++) place[j + l] = numbers[l] < 0 ? -1 : corner + 2 * l + numbers[l];
        }
      }
      for (; j < ow; j++) {
        const float values[] = {r0[2 * j], r0[2 * j + 1], r1[2 * j], r1[2 * j + 1]};
        int best = 0;
        for (int k = 1; k < 4; k++) {
          if (values[k] > values[best] || values[k] != values[k]) best = k;
        }
        const bool none = p.relu && values[best] <= 0;
        to[j] = none ? 0 : values[best];
        if (place) place[j] = none ? -1 : (2 * i + best / 2) * p.width + 2 * j + best % 2;
      }
    }
  }
}

}  // namespace

MaxPoolForwardFn SelectMaxForward(const Pool& p) {
  const bool pairs = p.adaptive_h == 0 && p.kernel_h == 2 && p.kernel_w == 2 && p.stride_h == 2 && p.stride_w == 2 && p.padding_h == 0 &&
                     p.padding_w == 0 && p.dilation_h == 1 && p.dilation_w == 1 && 2 * p.out_height() <= p.height &&
                     2 * p.out_width() <= p.width;
  return pairs ? max_pool_2x2 : max_pool;
}

void MaxBackward(const Pool& p, const float* dy, const Index* places, float* dx, Index begin, Index end) {
  const Index area = p.height * p.width, out = p.out_height() * p.out_width();
  for (Index plane = begin; plane < end; plane++) {
    float* to = dx + plane * area;
    std::memset(to, 0, static_cast<std::size_t>(area) * sizeof(float));
    const float* from = dy + plane * out;
    const Index* place = places + plane * out;
    for (Index i = 0; i < out; i++) {
      if (place[i] >= 0) to[place[i]] += from[i];
    }
  }
}

namespace {

/** Calls f(out, first row, last row, first column, last column, 1 / divisor) for the windows of a plane. */
template <class F>
HWY_INLINE void each_window(const Pool& p, F f) {
  const Index oh = p.out_height(), ow = p.out_width();
  if (p.adaptive_h > 0) {
    for (Index i = 0; i < oh; i++) {
      const Span rows = Span::rows(p, i);
      for (Index j = 0; j < ow; j++) {
        const Span columns = Span::columns(p, j);
        const Index elements = (rows.last - rows.first) * (columns.last - columns.first);
        f(i * ow + j, rows.first, rows.last, columns.first, columns.last, 1 / static_cast<float>(elements));
      }
    }
    return;
  }
  for (Index i = 0; i < oh; i++) {
    const Index r0 = i * p.stride_h - p.padding_h, r1 = std::min(r0 + p.kernel_h, p.height + p.padding_h);
    for (Index j = 0; j < ow; j++) {
      const Index c0 = j * p.stride_w - p.padding_w, c1 = std::min(c0 + p.kernel_w, p.width + p.padding_w);
      const Index top = std::max<Index>(r0, 0), bottom = std::min(r1, p.height);
      const Index left = std::max<Index>(c0, 0), right = std::min(c1, p.width);
      const Index divisor = p.divisor_override != 0 ? p.divisor_override
                            : p.count_include_pad   ? (r1 - r0) * (c1 - c0)
                                                    : (bottom - top) * (right - left);
      f(i * ow + j, top, bottom, left, right, 1 / static_cast<float>(divisor));
    }
  }
}

}  // namespace

void AvgForward(const Pool& p, const float* x, float* y, Index begin, Index end) {
  const Index area = p.height * p.width, out = p.out_height() * p.out_width();
  for (Index plane = begin; plane < end; plane++) {
    const float* from = x + plane * area;
    float* to = y + plane * out;
    each_window(p, [&](Index at, Index top, Index bottom, Index left, Index right, float share) HWY_ATTR {
      float total = 0;
      for (Index r = top; r < bottom; r++) {
        for (Index c = left; c < right; c++) total += from[r * p.width + c];
      }
      to[at] = bottom > top && right > left ? total * share : 0;
    });
  }
}

void AvgBackward(const Pool& p, const float* dy, float* dx, Index begin, Index end) {
  const Index area = p.height * p.width, out = p.out_height() * p.out_width();
  for (Index plane = begin; plane < end; plane++) {
    const float* from = dy + plane * out;
    float* to = dx + plane * area;
    std::memset(to, 0, static_cast<std::size_t>(area) * sizeof(float));
    each_window(p, [&](Index at, Index top, Index bottom, Index left, Index right, float share) HWY_ATTR {
      const float each = from[at] * share;
      for (Index r = top; r < bottom; r++) {
        for (Index c = left; c < right; c++) to[r * p.width + c] += each;
      }
    });
  }
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <levin/compile/kernels/refuse_impl.h>

namespace levin::compile::kernels {
namespace {

void require_sense(const Pool& p) {
  constexpr const char* where = "pooling";
  if ((p.adaptive_h > 0) != (p.adaptive_w > 0)) {
    refuse("adaptive pooling is of both sizes or of none",
           std::to_string(p.adaptive_h) + "x" + std::to_string(p.adaptive_w), where);
  }
  require_size(p.kernel_h, 1, "kernel_h", where);
  require_size(p.kernel_w, 1, "kernel_w", where);
  require_size(p.stride_h, 1, "stride_h", where);
  require_size(p.stride_w, 1, "stride_w", where);
  require_size(p.dilation_h, 1, "dilation_h", where);
  require_size(p.dilation_w, 1, "dilation_w", where);
  require_size(p.padding_h, 0, "padding_h", where);
  require_size(p.padding_w, 0, "padding_w", where);
  if (2 * p.padding_h > p.kernel_h || 2 * p.padding_w > p.kernel_w) {
    refuse("padding may be half the kernel at most", std::to_string(p.padding_h) + "x" + std::to_string(p.padding_w),
           where);
  }
  require_size(p.out_height(), 1, "the result's height", where);
  require_size(p.out_width(), 1, "the result's width", where);
}

}  // namespace

HWY_EXPORT(SelectMaxForward);
HWY_EXPORT(MaxBackward);
HWY_EXPORT(AvgForward);
HWY_EXPORT(AvgBackward);

MaxPoolForwardFn select_max_pool_forward(const Pool& settings) {
  require_sense(settings);
  return LEVIN_BEST(SelectMaxForward)(settings);
}
MaxPoolBackwardFn select_max_pool_backward(const Pool& settings) {
  require_sense(settings);
  return LEVIN_BEST(MaxBackward);
}
AvgPoolFn select_avg_pool_forward(const Pool& settings) {
  require_sense(settings);
  return LEVIN_BEST(AvgForward);
}
AvgPoolFn select_avg_pool_backward(const Pool& settings) {
  require_sense(settings);
  return LEVIN_BEST(AvgBackward);
}

void mean_of_planes_backward(const float* dy, float* dx, std::int64_t planes, std::int64_t area) {
  for (std::int64_t p = 0; p < planes; p++) std::fill_n(dx + p * area, area, dy[p] / static_cast<float>(area));
}

}  // namespace levin::compile::kernels
#endif
