#include <levin/compile/kernels/mlp.h>

#include <algorithm>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/mlp.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

/** `vectors` vectors of rows in lanes, over all hidden units: no sum over lanes anywhere. */
template <int inputs, int vectors, class Whole>
HWY_INLINE void forward_rows(const Mlp& m, const MlpForwardArgs& a, Whole whole, Index row, std::size_t count) {
  V x[vectors][inputs], y[vectors];
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) {
    const float* from = a.x + (row + v * kLanesSigned) * inputs;
    y[v] = set(a.b2 ? *a.b2 : 0);
    if constexpr (inputs == 1) {
      x[v][0] = whole ? load(from) : load_n(from, count);
    } else {
#pragma GCC unroll 4
      for (int i = 0; i < inputs; i++) {
        HWY_ALIGN float lanes[kLanes] = {};
        for (std::size_t l = 0; l < count; l++) lanes[l] = from[l * inputs + static_cast<std::size_t>(i)];
        x[v][i] = hn::Load(kFloats, lanes);
      }
    }
  }
  const float* w = a.w1;
  for (Index h = 0; h < m.width; h++, w += inputs) {
    const V bias = set(a.b1 ? a.b1[h] : 0), w2 = set(a.w2[h]);
    V w1[inputs];
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) w1[i] = set(w[i]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
      V hidden = bias;
#pragma GCC unroll 4
      for (int i = 0; i < inputs; i++) hidden = hn::MulAdd(w1[i], x[v][i], hidden);
      y[v] = hn::MulAdd(w2, relu(hidden), y[v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < vectors; v++) {
    float* to = a.y + row + v * kLanesSigned;
    whole ? store(y[v], to) : store_n(y[v], to, count);
  }
}

template <int inputs>
void forward(const Mlp& m, const MlpForwardArgs& a) {
  Index row = 0;
  for (; row + 4 * kLanesSigned <= m.rows; row += 4 * kLanesSigned)
    forward_rows<inputs, 4>(m, a, std::true_type(), row, kLanes);
  for (; row + 2 * kLanesSigned <= m.rows; row += 2 * kLanesSigned)
    forward_rows<inputs, 2>(m, a, std::true_type(), row, kLanes);
  for (; row + kLanesSigned <= m.rows; row += kLanesSigned)
    forward_rows<inputs, 1>(m, a, std::true_type(), row, kLanes);
  if (row < m.rows) forward_rows<inputs, 1>(m, a, std::false_type(), row, static_cast<std::size_t>(m.rows - row));
}

/** Hidden units in lanes, all rows, in `chains` sums of every so many rows. */
template <int inputs, class Whole>
HWY_INLINE void backward_units(const Mlp& m, const MlpBackwardArgs& a, Whole whole, Index unit, std::size_t count) {
  constexpr int chains = inputs == 1 ? 4 : 2;
  const auto read = [&](const float* p) HWY_ATTR { return whole ? load(p) : load_n(p, count); };
  V w1[inputs];
  if constexpr (inputs == 1) {
    w1[0] = read(a.w1 + unit);
  } else {
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) {
      HWY_ALIGN float lanes[kLanes] = {};
      for (std::size_t l = 0; l < count; l++) {
        lanes[l] = a.w1[(static_cast<std::size_t>(unit) + l) * inputs + static_cast<std::size_t>(i)];
      }
      w1[i] = hn::Load(kFloats, lanes);
    }
  }
  const V b1 = a.b1 ? read(a.b1 + unit) : zero(), w2 = read(a.w2 + unit);
  V dw1[chains][inputs], db1[chains], dw2[chains];
#pragma GCC unroll 4
  for (int c = 0; c < chains; c++) {
    db1[c] = dw2[c] = zero();
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) dw1[c][i] = zero();
  }
  const auto row = [&](Index r, int c) HWY_ATTR {
    const V dy = set(a.dy[r]);
    V x[inputs], hidden = b1;
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) {
      x[i] = set(a.x[r * inputs + i]);
      hidden = hn::MulAdd(w1[i], x[i], hidden);
    }
    dw2[c] = hn::MulAdd(dy, relu(hidden), dw2[c]);
    // The gradient of the hidden units but for the factor w2, which all rows share.
    const V d = where_positive(hidden, dy);
    db1[c] = hn::Add(db1[c], d);
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) dw1[c][i] = hn::MulAdd(d, x[i], dw1[c][i]);
  };
  Index r = 0;
  for (; r + chains <= m.rows; r += chains) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; c++) row(r + c, c);
  }
  for (; r < m.rows; r++) row(r, 0);
#pragma GCC unroll 4
  for (int step = chains / 2; step >= 1; step /= 2) {
#pragma GCC unroll 4
    for (int c = 0; c < step; c++) {
      db1[c] = hn::Add(db1[c], db1[c + step]);
      dw2[c] = hn::Add(dw2[c], dw2[c + step]);
#pragma GCC unroll 4
      for (int i = 0; i < inputs; i++) dw1[c][i] = hn::Add(dw1[c][i], dw1[c + step][i]);
    }
  }
  const auto write = [&](V value, float* p) HWY_ATTR {
    if (a.accumulate) value = hn::Add(read(p), value);
    whole ? store(value, p) : store_n(value, p, count);
  };
  write(dw2[0], a.dw2 + unit);
  if (a.db1) write(hn::Mul(db1[0], w2), a.db1 + unit);
  if constexpr (inputs == 1) {
    write(hn::Mul(dw1[0][0], w2), a.dw1 + unit);
  } else {
#pragma GCC unroll 4
    for (int i = 0; i < inputs; i++) {
      HWY_ALIGN float lanes[kLanes];
      hn::Store(hn::Mul(dw1[0][i], w2), kFloats, lanes);
      for (std::size_t l = 0; l < count; l++) {
        float& to = a.dw1[(static_cast<std::size_t>(unit) + l) * inputs + static_cast<std::size_t>(i)];
        to = a.accumulate ? to + lanes[l] : lanes[l];
      }
    }
  }
}

template <int inputs>
void backward(const Mlp& m, const MlpBackwardArgs& a) {
  Index unit = 0;
  for (; unit + kLanesSigned <= m.width; unit += kLanesSigned)
    backward_units<inputs>(m, a, std::true_type(), unit, kLanes);
  if (unit < m.width) backward_units<inputs>(m, a, std::false_type(), unit, static_cast<std::size_t>(m.width - unit));
  if (a.db2) {
    Sums sums;
    Index r = 0;
    for (int u = 0; r + kLanesSigned <= m.rows; r += kLanesSigned, u++)
      sums.v[u % 4] = hn::Add(sums.v[u % 4], load(a.dy + r));
    if (r < m.rows) sums.v[3] = hn::Add(sums.v[3], load_n(a.dy + r, static_cast<std::size_t>(m.rows - r)));
    *a.db2 = (a.accumulate ? *a.db2 : 0) + sums.total();
  }
}

}  // namespace

MlpForwardFn SelectForward(const Mlp& m) {
  constexpr MlpForwardFn all[] = {forward<1>, forward<2>, forward<3>, forward<4>};
  return mlp_is_fused(m) ? all[m.inputs - 1] : nullptr;
}
MlpBackwardFn SelectBackward(const Mlp& m) {
  constexpr MlpBackwardFn all[] = {backward<1>, backward<2>, backward<3>, backward<4>};
  return mlp_is_fused(m) ? all[m.inputs - 1] : nullptr;
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include <levin/compile/kernels/refuse_impl.h>

namespace levin::compile::kernels {
namespace {

template <class Fn>
Fn served(Fn fn, const Mlp& m) {
  if (fn) return fn;
  refuse("no fused kernel for a network of so many inputs", std::to_string(m.inputs),
         "a small network (see mlp_is_fused)");
}

}  // namespace

HWY_EXPORT(SelectForward);
HWY_EXPORT(SelectBackward);

MlpForwardFn select_mlp_forward(const Mlp& m) { return served(LEVIN_BEST(SelectForward)(m), m); }
MlpBackwardFn select_mlp_backward(const Mlp& m) { return served(LEVIN_BEST(SelectBackward)(m), m); }

}  // namespace levin::compile::kernels
#endif
