#include <levin/compile/kernels/norm.h>

#include <cmath>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/norm.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

HWY_INLINE float sum_of(const float* x, Index n) {
  V total[2] = {zero(), zero()};
  each_place(0, n, [&](auto at) HWY_ATTR {
    V& t = total[(at.i / kLanesSigned) & 1];
    t = hn::Add(t, at.read(x));
  });
  return sum(hn::Add(total[0], total[1]));
}

/** The sum of (x - center)^2. */
HWY_INLINE float sum_of_squares(const float* x, Index n, float center) {
  const V c = set(center);
  V total[2] = {zero(), zero()};
  each_place(0, n, [&](auto at) HWY_ATTR {
    const V d = at.cut(hn::Sub(at.read(x), c));
    V& t = total[(at.i / kLanesSigned) & 1];
    t = hn::MulAdd(d, d, t);
  });
  return sum(hn::Add(total[0], total[1]));
}

/** The sums of dy and of dy * x. */
HWY_INLINE void sums_with(const float* dy, const float* x, Index n, float& of_dy, float& of_product) {
  V a = zero(), b = zero();
  each_place(0, n, [&](auto at) HWY_ATTR {
    const V g = at.read(dy);
    a = hn::Add(a, g);
    b = hn::MulAdd(g, at.read(x), b);
  });
  of_dy = sum(a);
  of_product = sum(b);
}

/** y = a x + b. */
HWY_INLINE void affine(const float* x, float* y, Index n, float a, float b) {
  const V va = set(a), vb = set(b);
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(hn::MulAdd(at.read(x), va, vb), y); });
}

HWY_INLINE float inverse_root(double variance, double eps) { return static_cast<float>(1 / std::sqrt(variance + eps)); }

}  // namespace

void LayerForward(const LayerNorm& s, const LayerNormForwardArgs& a, Index begin, Index end) {
  const Index n = s.columns;
  for (Index r = begin; r < end; r++) {
    const float* x = a.x + r * n;
    const float mean = s.rms ? 0 : sum_of(x, n) / static_cast<float>(n);
    const float rstd = inverse_root(static_cast<double>(sum_of_squares(x, n, mean)) / static_cast<double>(n), s.eps);
    const V scale = set(rstd), center = set(mean);
    each_place(0, n, [&](auto at) HWY_ATTR {
      V v = hn::Mul(hn::Sub(at.read(x), center), scale);
      if (a.weight && a.bias) {
        v = hn::MulAdd(v, at.read(a.weight), at.read(a.bias));
      } else if (a.weight) {
        v = hn::Mul(v, at.read(a.weight));
      } else if (a.bias) {
        v = hn::Add(v, at.read(a.bias));
      }
      at.write(v, a.y + r * n);
    });
    if (a.mean) a.mean[r] = mean;
    if (a.rstd) a.rstd[r] = rstd;
  }
}

void LayerBackward(const LayerNorm& s, const LayerNormBackwardArgs& a) {
  const Index n = s.columns;
  if (a.dx) {
    for (Index r = 0; r < s.rows; r++) {
      const float *x = a.x + r * n, *dy = a.dy + r * n;
      const float mean = s.rms ? 0 : a.mean[r], rstd = a.rstd[r];
      const V center = set(mean), scale = set(rstd);
      V of_g = zero(), of_product = zero();  // g = dy * weight, and its product with the normalised x
      each_place(0, n, [&](auto at) HWY_ATTR {
        const V g = a.weight ? hn::Mul(at.read(dy), at.read(a.weight)) : at.read(dy);
        of_g = hn::Add(of_g, g);
        of_product = hn::MulAdd(g, hn::Mul(hn::Sub(at.read(x), center), scale), of_product);
      });
      const V mean_g = set(s.rms ? 0 : sum(of_g) / static_cast<float>(n)),
              mean_product = set(sum(of_product) / static_cast<float>(n));
      each_place(0, n, [&](auto at) HWY_ATTR {
        const V g = a.weight ? hn::Mul(at.read(dy), at.read(a.weight)) : at.read(dy);
        const V normal = hn::Mul(hn::Sub(at.read(x), center), scale);
        at.write(hn::Mul(scale, hn::NegMulAdd(normal, mean_product, hn::Sub(g, mean_g))), a.dx + r * n);
      });
    }
  }
  if (!a.dweight && !a.dbias) return;
  each_place(0, n, [&](auto at) HWY_ATTR {
    V dweight[2] = {zero(), zero()}, dbias[2] = {zero(), zero()};
    for (Index r = 0; r < s.rows; r++) {
      const V dy = at.read(a.dy + r * n);
      const V normal = hn::Mul(hn::Sub(at.read(a.x + r * n), set(s.rms ? 0 : a.mean[r])), set(a.rstd[r]));
      dweight[r & 1] = hn::MulAdd(dy, normal, dweight[r & 1]);
      dbias[r & 1] = hn::Add(dbias[r & 1], dy);
    }
    if (a.dweight) at.write(hn::Add(dweight[0], dweight[1]), a.dweight);
    if (a.dbias) at.write(hn::Add(dbias[0], dbias[1]), a.dbias);
  });
}

void GroupForward(const GroupNorm& s, const GroupNormForwardArgs& a) {
  const Index channels = s.channels / s.groups, n = channels * s.area;
  for (Index b = 0; b < s.batch * s.groups; b++) {
    const float* x = a.x + b * n;
    const float mean = sum_of(x, n) / static_cast<float>(n);
    const float rstd = inverse_root(static_cast<double>(sum_of_squares(x, n, mean)) / static_cast<double>(n), s.eps);
    for (Index c = 0; c < channels; c++) {
      const Index channel = b % s.groups * channels + c;
      const float scale = rstd * (a.weight ? a.weight[channel] : 1);
      affine(x + c * s.area, a.y + b * n + c * s.area, s.area, scale, (a.bias ? a.bias[channel] : 0) - mean * scale);
    }
    if (a.mean) a.mean[b] = mean;
    if (a.rstd) a.rstd[b] = rstd;
  }
}

void GroupBackward(const GroupNorm& s, const GroupNormBackwardArgs& a) {
  const Index channels = s.channels / s.groups, n = channels * s.area;
  for (Index c = 0; c < s.channels; c++) {
    if (a.dweight) a.dweight[c] = 0;
    if (a.dbias) a.dbias[c] = 0;
  }
  for (Index b = 0; b < s.batch * s.groups; b++) {
    const float mean = a.mean[b], rstd = a.rstd[b];
    float of_g = 0, of_product = 0;
    for (Index c = 0; c < channels; c++) {
      const Index channel = b % s.groups * channels + c, at = b * n + c * s.area;
      float of_dy, of_dy_x;
      sums_with(a.dy + at, a.x + at, s.area, of_dy, of_dy_x);
      const float normal = (of_dy_x - mean * of_dy) * rstd, weight = a.weight ? a.weight[channel] : 1;
      if (a.dweight) a.dweight[channel] += normal;
      if (a.dbias) a.dbias[channel] += of_dy;
      of_g += weight * of_dy;
      of_product += weight * normal;
    }
    if (!a.dx) continue;
    // dx = rstd (g - mean(g) - normal * mean(g * normal))
    const float mean_g = of_g / static_cast<float>(n), mean_product = of_product / static_cast<float>(n);
    const V of_x = set(-rstd * rstd * mean_product), constant = set(rstd * (mean * rstd * mean_product - mean_g));
    for (Index c = 0; c < channels; c++) {
      const Index at_channel = b * n + c * s.area;
      const V of_dy = set(rstd * (a.weight ? a.weight[b % s.groups * channels + c] : 1));
      each_place(0, s.area, [&](auto at) HWY_ATTR {
        const V v = hn::MulAdd(at.read(a.x + at_channel), of_x, constant);
        at.write(hn::MulAdd(at.read(a.dy + at_channel), of_dy, v), a.dx + at_channel);
      });
    }
  }
}

namespace {

/** What both passes of batch norm over x[batch, channels] do: channels in lanes, or over planes channel by channel. */
template <class PerLane, class PerChannel>
HWY_INLINE void each_channel(const BatchNorm& s, Index begin, Index end, PerLane lanes, PerChannel channel) {
  if (s.area == 1) {
    each_place(begin, end, lanes);
  } else {
    for (Index c = begin; c < end; c++) channel(c);
  }
}

HWY_INLINE V inverse_root(V variance, double eps) {
  return hn::Div(set(1.F), hn::Sqrt(hn::Add(variance, set(static_cast<float>(eps)))));
}

}  // namespace

void BatchForward(const BatchNorm& s, const BatchNormForwardArgs& a, Index begin, Index end) {
  const Index n = s.batch * s.area;
  const auto count = static_cast<float>(n);
  const auto momentum = static_cast<float>(s.momentum);
  const float unbiased = n > 1 ? count / (count - 1) : std::numeric_limits<float>::quiet_NaN();
  each_channel(
      s, begin, end,
      [&](auto at) HWY_ATTR {
        V mean, invstd;
        if (s.training) {
          V total[2] = {zero(), zero()};
          for (Index b = 0; b < s.batch; b++) total[b & 1] = hn::Add(total[b & 1], at.read(a.x + b * s.channels));
          mean = hn::Div(hn::Add(total[0], total[1]), set(count));
          V squares[2] = {zero(), zero()};
          for (Index b = 0; b < s.batch; b++) {
            const V d = hn::Sub(at.read(a.x + b * s.channels), mean);
            squares[b & 1] = hn::MulAdd(d, d, squares[b & 1]);
          }
          const V variance = hn::Div(hn::Add(squares[0], squares[1]), set(count));
          invstd = inverse_root(variance, s.eps);
          if (a.save_mean) at.write(mean, a.save_mean);
          if (a.save_invstd) at.write(invstd, a.save_invstd);
          const auto update = [&](float* running, V value) HWY_ATTR {
            if (running)
              at.write(hn::MulAdd(set(momentum), value, hn::Mul(set(1 - momentum), at.read(running))), running);
          };
          update(a.running_mean, mean);
          update(a.running_var, hn::Mul(variance, set(unbiased)));
        } else {
          mean = at.read(a.running_mean);
          invstd = inverse_root(at.read(a.running_var), s.eps);
        }
        const V scale = a.weight ? hn::Mul(invstd, at.read(a.weight)) : invstd;
        const V shift = hn::NegMulAdd(mean, scale, a.bias ? at.read(a.bias) : zero());
        for (Index b = 0; b < s.batch; b++) {
          V y = hn::MulAdd(at.read(a.x + b * s.channels), scale, shift);
          if (s.relu) y = relu(y);
          at.write(y, a.y + b * s.channels);
        }
      },
      [&](Index c) HWY_ATTR {
        float mean, invstd;
        const auto plane = [&](Index b) { return (b * s.channels + c) * s.area; };
        if (s.training) {
          double total = 0, squares = 0;
          for (Index b = 0; b < s.batch; b++) total += static_cast<double>(sum_of(a.x + plane(b), s.area));
          mean = static_cast<float>(total / static_cast<double>(n));
          for (Index b = 0; b < s.batch; b++)
            squares += static_cast<double>(sum_of_squares(a.x + plane(b), s.area, mean));
          const double variance = squares / static_cast<double>(n);
          invstd = inverse_root(variance, s.eps);
          if (a.save_mean) a.save_mean[c] = mean;
          if (a.save_invstd) a.save_invstd[c] = invstd;
          if (a.running_mean) a.running_mean[c] = momentum * mean + (1 - momentum) * a.running_mean[c];
          if (a.running_var)
            a.running_var[c] = momentum * static_cast<float>(variance) * unbiased + (1 - momentum) * a.running_var[c];
        } else {
          mean = a.running_mean[c];
          invstd = inverse_root(static_cast<double>(a.running_var[c]), s.eps);
        }
        const float scale = invstd * (a.weight ? a.weight[c] : 1);
        const V vscale = set(scale), shift = set((a.bias ? a.bias[c] : 0) - mean * scale);
        for (Index b = 0; b < s.batch; b++) {
          const Index p = plane(b);
          each_place(0, s.area, [&](auto at) HWY_ATTR {
            V y = hn::MulAdd(at.read(a.x + p), vscale, shift);
            if (s.relu) y = relu(y);
            at.write(y, a.y + p);
          });
        }
      });
}

void BatchBackward(const BatchNorm& s, const BatchNormBackwardArgs& a, Index begin, Index end) {
  const auto count = static_cast<float>(s.batch * s.area);
  const auto gradient = [&](auto at, Index offset) HWY_ATTR {
    const V g = at.read(a.dy + offset);
    return s.relu ? where_positive(at.read(a.y + offset), g) : g;
  };
  each_channel(
      s, begin, end,
      [&](auto at) HWY_ATTR {
        const V mean = at.read(s.training ? a.save_mean : a.running_mean);
        const V invstd = s.training ? at.read(a.save_invstd) : inverse_root(at.read(a.running_var), s.eps);
        V of_g[2] = {zero(), zero()}, of_product[2] = {zero(), zero()};
        for (Index b = 0; b < s.batch; b++) {
          const V g = gradient(at, b * s.channels);
          of_g[b & 1] = hn::Add(of_g[b & 1], g);
          of_product[b & 1] = hn::MulAdd(g, hn::Sub(at.read(a.x + b * s.channels), mean), of_product[b & 1]);
        }
        const V total = hn::Add(of_g[0], of_g[1]), product = hn::Mul(hn::Add(of_product[0], of_product[1]), invstd);
        if (a.dweight) at.write(product, a.dweight);
        if (a.dbias) at.write(total, a.dbias);
        if (!a.dx) return;
        const V scale = a.weight ? hn::Mul(invstd, at.read(a.weight)) : invstd;
        const V mean_g = hn::Div(total, set(count)), slope = hn::Mul(hn::Div(product, set(count)), invstd);
        for (Index b = 0; b < s.batch; b++) {
          V g = gradient(at, b * s.channels);
          if (s.training) {
            g = hn::NegMulAdd(hn::Sub(at.read(a.x + b * s.channels), mean), slope, hn::Sub(g, mean_g));
          }
          at.write(hn::Mul(g, scale), a.dx + b * s.channels);
        }
      },
      [&](Index c) HWY_ATTR {
        const float mean = s.training ? a.save_mean[c] : a.running_mean[c];
        const float invstd = s.training ? a.save_invstd[c] : inverse_root(static_cast<double>(a.running_var[c]), s.eps);
        const auto plane = [&](Index b) { return (b * s.channels + c) * s.area; };
        const V center = set(mean);
        double of_g = 0, of_product = 0;
        for (Index b = 0; b < s.batch; b++) {
          V g_total = zero(), product_total = zero();
          const Index p = plane(b);
          each_place(0, s.area, [&](auto at) HWY_ATTR {
            const V g = gradient(at, p);
            g_total = hn::Add(g_total, g);
            product_total = hn::MulAdd(g, hn::Sub(at.read(a.x + p), center), product_total);
          });
          of_g += static_cast<double>(sum(g_total));
          of_product += static_cast<double>(sum(product_total));
        }
        const auto total = static_cast<float>(of_g), product = static_cast<float>(of_product) * invstd;
        if (a.dweight) a.dweight[c] = product;
        if (a.dbias) a.dbias[c] = total;
        if (!a.dx) return;
        const V scale = set(invstd * (a.weight ? a.weight[c] : 1));
        const V mean_g = set(total / count), slope = set(product / count * invstd);
        for (Index b = 0; b < s.batch; b++) {
          const Index p = plane(b);
          each_place(0, s.area, [&](auto at) HWY_ATTR {
            V g = gradient(at, p);
            if (s.training) g = hn::NegMulAdd(hn::Sub(at.read(a.x + p), center), slope, hn::Sub(g, mean_g));
            at.write(hn::Mul(g, scale), a.dx + p);
          });
        }
      });
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <levin/compile/kernels/refuse_impl.h>

namespace levin::compile::kernels {
namespace {

void require_sense(const GroupNorm& s) {
  require_size(s.groups, 1, "groups", "a group norm");
  if (s.channels % s.groups != 0) {
    refuse("channels have to be divisible by groups", std::to_string(s.channels) + " by " + std::to_string(s.groups),
           "a group norm");
  }
}

}  // namespace

HWY_EXPORT(LayerForward);
HWY_EXPORT(LayerBackward);
HWY_EXPORT(GroupForward);
HWY_EXPORT(GroupBackward);
HWY_EXPORT(BatchForward);
HWY_EXPORT(BatchBackward);

LayerNormForwardFn select_layer_norm_forward(const LayerNorm&) { return LEVIN_BEST(LayerForward); }
LayerNormBackwardFn select_layer_norm_backward(const LayerNorm&) { return LEVIN_BEST(LayerBackward); }
GroupNormForwardFn select_group_norm_forward(const GroupNorm& settings) {
  require_sense(settings);
  return LEVIN_BEST(GroupForward);
}
GroupNormBackwardFn select_group_norm_backward(const GroupNorm& settings) {
  require_sense(settings);
  return LEVIN_BEST(GroupBackward);
}
BatchNormForwardFn select_batch_norm_forward(const BatchNorm&) { return LEVIN_BEST(BatchForward); }
BatchNormBackwardFn select_batch_norm_backward(const BatchNorm&) { return LEVIN_BEST(BatchBackward); }

}  // namespace levin::compile::kernels
#endif
