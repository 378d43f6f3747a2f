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

/** Channel by channel, each of which is a plane of each image. */
template <class F>
HWY_INLINE void each_plane(Index begin, Index end, F f) {
  for (Index c = begin; c < end; c++) f(c);
}

HWY_INLINE V inverse_root(V variance, double eps) {
  return hn::Div(set(1.F), hn::Sqrt(hn::Add(variance, set(static_cast<float>(eps)))));
}

// With channels side by side in rows, several vectors of a row are taken at once: whole lines of the memory. Sums are
// made in blocks of rows, which stay in the first cache, and blocks are put together: rounding stays small.
constexpr Index kRowsOfBlock = 128;

template <int vectors, bool whole>
HWY_INLINE Place<whole> place_of_vector(Index channel, int v, std::size_t count) {
  return {channel + v * kLanesSigned, count};
}

/** Mean and sum of squares about it, of rows [0, batch) of `vectors` vectors of channels. */
template <int vectors, bool whole>
HWY_INLINE void statistics_of_rows(const BatchNorm& s, const float* x, Index channel, std::size_t count, V* mean, V* squares) {
  constexpr int kChains = 2;  // the same everywhere: numbers must not depend on how channels are split
  for (int v = 0; v < vectors; v++) mean[v] = squares[v] = zero();
  for (Index first = 0; first < s.batch; first += kRowsOfBlock) {
    const Index last = std::min(s.batch, first + kRowsOfBlock);
    V part[vectors][kChains];
    const auto over_rows = [&](auto f) HWY_ATTR {
      for (int v = 0; v < vectors; v++) {
        for (int chain = 0; chain < kChains; chain++) part[v][chain] = zero();
      }
      Index b = first;
      for (; b + kChains <= last; b += kChains) {
        for (int chain = 0; chain < kChains; chain++) {
          for (int v = 0; v < vectors; v++) f(b + chain, v, part[v][chain]);
        }
      }
      for (; b < last; b++) {
        for (int v = 0; v < vectors; v++) f(b, v, part[v][0]);
      }
    };
    const auto combined = [&](int v) HWY_ATTR {
      V total = part[v][0];
      for (int chain = 1; chain < kChains; chain++) total = hn::Add(total, part[v][chain]);
      return total;
    };
    const auto read = [&](Index b, int v) HWY_ATTR {
      return place_of_vector<vectors, whole>(channel, v, count).read(x + b * s.channels);
    };
    over_rows([&](Index b, int v, V& sum) HWY_ATTR { sum = hn::Add(sum, read(b, v)); });
    const auto rows = static_cast<float>(last - first);
    V center[vectors];
    for (int v = 0; v < vectors; v++) center[v] = hn::Div(combined(v), set(rows));
    over_rows([&](Index b, int v, V& sum) HWY_ATTR {
      const V d = hn::Sub(read(b, v), center[v]);
      sum = hn::MulAdd(d, d, sum);
    });
    // Chan, Golub and LeVeque 1979.
    const float share = rows / static_cast<float>(last), weight = share * static_cast<float>(first);
    for (int v = 0; v < vectors; v++) {
      const V d = hn::Sub(center[v], mean[v]);
      mean[v] = hn::MulAdd(d, set(share), mean[v]);
      squares[v] = hn::Add(squares[v], hn::MulAdd(hn::Mul(d, d), set(weight), combined(v)));
    }
  }
}

template <int vectors, bool whole>
HWY_INLINE void forward_rows(const BatchNorm& s, const BatchNormForwardArgs& a, Index channel, std::size_t count) {
  const auto n = static_cast<float>(s.batch), momentum = static_cast<float>(s.momentum);
  const float unbiased = s.batch > 1 ? n / (n - 1) : std::numeric_limits<float>::quiet_NaN();
  V mean[vectors], squares[vectors], scale[vectors], shift[vectors];
  if (s.training) statistics_of_rows<vectors, whole>(s, a.x, channel, count, mean, squares);
  for (int v = 0; v < vectors; v++) {
    const auto at = place_of_vector<vectors, whole>(channel, v, count);
    V invstd;
    if (s.training) {
      const V variance = hn::Div(squares[v], set(n));
      invstd = inverse_root(variance, s.eps);
      if (a.save_mean) at.write(mean[v], a.save_mean);
      if (a.save_invstd) at.write(invstd, a.save_invstd);
      const auto update = [&](float* running, V value) HWY_ATTR {
        if (running) at.write(hn::MulAdd(set(momentum), value, hn::Mul(set(1 - momentum), at.read(running))), running);
      };
      update(a.running_mean, mean[v]);
      update(a.running_var, hn::Mul(variance, set(unbiased)));
    } else {
      mean[v] = at.read(a.running_mean);
      invstd = inverse_root(at.read(a.running_var), s.eps);
    }
    scale[v] = a.weight ? hn::Mul(invstd, at.read(a.weight)) : invstd;
    shift[v] = hn::NegMulAdd(mean[v], scale[v], a.bias ? at.read(a.bias) : zero());
  }
  for (Index b = 0; b < s.batch; b++) {
    for (int v = 0; v < vectors; v++) {
      const auto at = place_of_vector<vectors, whole>(channel, v, count);
      V y = hn::MulAdd(at.read(a.x + b * s.channels), scale[v], shift[v]);
      if (a.residual) y = hn::Add(y, at.read(a.residual + b * s.channels));
      if (s.relu) y = relu(y);
      at.write(y, a.y + b * s.channels);
    }
  }
}

template <int vectors, bool whole>
HWY_INLINE void backward_rows(const BatchNorm& s, const BatchNormBackwardArgs& a, Index channel, std::size_t count) {
  const V n = set(static_cast<float>(s.batch));
  V mean[vectors], invstd[vectors], total[vectors], product[vectors], scale[vectors], shift[vectors];
  const auto gradient = [&](auto at, Index offset, int v) HWY_ATTR {
    const V g = at.read(a.dy + offset);
    if (!s.relu) return g;
    return where_positive(a.y ? at.read(a.y + offset) : hn::MulAdd(at.read(a.x + offset), scale[v], shift[v]), g);
  };
  for (int v = 0; v < vectors; v++) {
    const auto at = place_of_vector<vectors, whole>(channel, v, count);
    mean[v] = at.read(s.training ? a.save_mean : a.running_mean);
    invstd[v] = s.training ? at.read(a.save_invstd) : inverse_root(at.read(a.running_var), s.eps);
    scale[v] = a.weight ? hn::Mul(invstd[v], at.read(a.weight)) : invstd[v];
    shift[v] = hn::NegMulAdd(mean[v], scale[v], a.bias ? at.read(a.bias) : zero());
    total[v] = product[v] = zero();
  }
  for (Index first = 0; first < s.batch; first += kRowsOfBlock) {
    V of_g[vectors], of_product[vectors];
    for (int v = 0; v < vectors; v++) of_g[v] = of_product[v] = zero();
    for (Index b = first; b < std::min(s.batch, first + kRowsOfBlock); b++) {
      for (int v = 0; v < vectors; v++) {
        const auto at = place_of_vector<vectors, whole>(channel, v, count);
        const V g = gradient(at, b * s.channels, v);
        of_g[v] = hn::Add(of_g[v], g);
        of_product[v] = hn::MulAdd(g, hn::Sub(at.read(a.x + b * s.channels), mean[v]), of_product[v]);
      }
    }
    for (int v = 0; v < vectors; v++) {
      total[v] = hn::Add(total[v], of_g[v]);
      product[v] = hn::Add(product[v], of_product[v]);
    }
  }
  V mean_g[vectors], slope[vectors];
  for (int v = 0; v < vectors; v++) {
    const auto at = place_of_vector<vectors, whole>(channel, v, count);
    product[v] = hn::Mul(product[v], invstd[v]);
    if (a.dweight) at.write(product[v], a.dweight);
    if (a.dbias) at.write(total[v], a.dbias);
    mean_g[v] = hn::Div(total[v], n);
    slope[v] = hn::Mul(hn::Div(product[v], n), invstd[v]);
  }
  if (!a.dx) return;
  for (Index b = 0; b < s.batch; b++) {
    for (int v = 0; v < vectors; v++) {
      const auto at = place_of_vector<vectors, whole>(channel, v, count);
      V g = gradient(at, b * s.channels, v);
      if (s.training) {
        g = hn::NegMulAdd(hn::Sub(at.read(a.x + b * s.channels), mean[v]), slope[v], hn::Sub(g, mean_g[v]));
      }
      at.write(hn::Mul(g, scale[v]), a.dx + b * s.channels);
    }
  }
}

/** Calls f<vectors, whole>(channel, count) for channels [begin, end) in pieces of up to four vectors. */
template <class F>
HWY_INLINE void each_vectors(Index begin, Index end, F f) {
  const auto step = [&](auto vectors) HWY_ATTR {
    constexpr int kVectors = decltype(vectors)::value;
    for (; begin + kVectors * kLanesSigned <= end; begin += kVectors * kLanesSigned) {
      f(vectors, std::true_type(), begin, kLanes);
    }
  };
  step(std::integral_constant<int, 4>());
  step(std::integral_constant<int, 2>());
  step(std::integral_constant<int, 1>());
  if (begin < end) f(std::integral_constant<int, 1>(), std::false_type(), begin, static_cast<std::size_t>(end - begin));
}

}  // namespace

void BatchForward(const BatchNorm& s, const BatchNormForwardArgs& a, Index begin, Index end) {
  const Index n = s.batch * s.area;
  const auto count = static_cast<float>(n);
  const auto momentum = static_cast<float>(s.momentum);
  const float unbiased = n > 1 ? count / (count - 1) : std::numeric_limits<float>::quiet_NaN();
  if (s.area == 1) {
    each_vectors(begin, end, [&](auto vectors, auto whole, Index channel, std::size_t lanes) HWY_ATTR {
      forward_rows<decltype(vectors)::value, decltype(whole)::value>(s, a, channel, lanes);
    });
    return;
  }
  each_plane(
      begin, end,
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
            if (a.residual) y = hn::Add(y, at.read(a.residual + p));
            if (s.relu) y = relu(y);
            at.write(y, a.y + p);
          });
        }
      });
}

void BatchBackward(const BatchNorm& s, const BatchNormBackwardArgs& a, Index begin, Index end) {
  const auto count = static_cast<float>(s.batch * s.area);
  if (s.area == 1) {
    each_vectors(begin, end, [&](auto vectors, auto whole, Index channel, std::size_t lanes) HWY_ATTR {
      backward_rows<decltype(vectors)::value, decltype(whole)::value>(s, a, channel, lanes);
    });
    return;
  }
  each_plane(
      begin, end,
      [&](Index c) HWY_ATTR {
        const float mean = s.training ? a.save_mean[c] : a.running_mean[c];
        const float invstd = s.training ? a.save_invstd[c] : inverse_root(static_cast<double>(a.running_var[c]), s.eps);
        const auto plane = [&](Index b) { return (b * s.channels + c) * s.area; };
        const V center = set(mean), scale = set(invstd * (a.weight ? a.weight[c] : 1));
        const V shift = set((a.bias ? a.bias[c] : 0) - mean * (invstd * (a.weight ? a.weight[c] : 1)));
        const auto gradient = [&](auto at, Index offset) HWY_ATTR {
          const V g = at.read(a.dy + offset);
          if (!s.relu) return g;
          return where_positive(a.y ? at.read(a.y + offset) : hn::MulAdd(at.read(a.x + offset), scale, shift), g);
        };
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
