#include <levin/compile/kernels/reduce.h>

#include <algorithm>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/reduce.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;
using Kind = Reduce::Kind;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Add {
  static constexpr float start = 0;
  static constexpr bool adds = true;
  static HWY_INLINE V of(V a, V b) { return hn::Add(a, b); }
};
struct Max {
  static constexpr float start = -kInfinity;
  static constexpr bool adds = false;
  static HWY_INLINE V of(V a, V b) { return max_nan(a, b); }
};
struct Min {
  static constexpr float start = kInfinity;
  static constexpr bool adds = false;
  static HWY_INLINE V of(V a, V b) { return min_nan(a, b); }
};

template <class Op>
HWY_INLINE float across(V v) {
  if (Op::adds) return sum(v);
  const float largest = max_of_lanes_nan(std::is_same_v<Op, Min> ? hn::Neg(v) : v);
  return std::is_same_v<Op, Min> ? -largest : largest;
}

/** A run of contiguous elements, in four chains. */
template <class Op>
HWY_INLINE float contiguous(const float* x, Index n) {
  V v[4] = {set(Op::start), set(Op::start), set(Op::start), set(Op::start)};
  Index i = 0;
  for (; i + 4 * kLanesSigned <= n; i += 4 * kLanesSigned) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; u++) v[u] = Op::of(v[u], load(x + i + u * kLanesSigned));
  }
  for (int u = 0; i + kLanesSigned <= n; i += kLanesSigned, u++) v[u] = Op::of(v[u], load(x + i));
  if (i < n) v[3] = Op::of(v[3], load_n_or(x + i, static_cast<std::size_t>(n - i), Op::start));
  return across<Op>(Op::of(Op::of(v[0], v[1]), Op::of(v[2], v[3])));
}

HWY_INLINE float finished(const Reduce& r, float value, float before) {
  if (r.kind == Kind::mean) value /= static_cast<float>(r.reduced);
  return r.accumulate ? before + value : value;
}

constexpr Index kBlock = 4096;  // bounds the error of long sums

/** inner = 1: rows. */
template <class Op>
void rows(const Reduce& r, const float* x, float* y, Index begin, Index end) {
  for (Index o = begin; o < end; o++) {
    const float* from = x + o * r.reduced;
    float value;
    if (r.reduced <= kBlock) {
      value = contiguous<Op>(from, r.reduced);
    } else if (Op::adds) {
      double total = 0;
      for (Index i = 0; i < r.reduced; i += kBlock) {
        total += static_cast<double>(contiguous<Op>(from + i, std::min(kBlock, r.reduced - i)));
      }
      value = static_cast<float>(total);
    } else {
      value = contiguous<Op>(from, r.reduced);
    }
    y[o] = finished(r, value, r.accumulate ? y[o] : 0);
  }
}

/** Several results side by side. Each is four chains of every fourth element, wherever a range begins. */
template <class Op, int vectors, class Whole>
HWY_INLINE void columns(const Reduce& r, Whole whole, const float* x, float* y, std::size_t count) {
  constexpr int chains = 4;
  V v[chains][vectors];
  for (auto& chain : v) {
    for (V& each : chain) each = set(Op::start);
  }
  const auto read = [&](const float* p) HWY_ATTR { return whole ? load(p) : load_n(p, count); };
  Index i = 0;
  const float* p = x;
  for (; i + chains <= r.reduced; i += chains, p += chains * r.inner) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; c++) {
#pragma GCC unroll 4
      for (int j = 0; j < vectors; j++) v[c][j] = Op::of(v[c][j], read(p + c * r.inner + j * kLanesSigned));
    }
  }
  for (; i < r.reduced; i++, p += r.inner) {
#pragma GCC unroll 4
    for (int j = 0; j < vectors; j++) v[0][j] = Op::of(v[0][j], read(p + j * kLanesSigned));
  }
#pragma GCC unroll 4
  for (int j = 0; j < vectors; j++) {
    V value = Op::of(Op::of(v[0][j], v[1][j]), Op::of(v[2][j], v[3][j]));
    if (r.kind == Kind::mean) value = hn::Div(value, set(static_cast<float>(r.reduced)));
    float* to = y + j * kLanesSigned;
    if (r.accumulate) value = hn::Add(read(to), value);
    whole ? store(value, to) : store_n(value, to, count);
  }
}

template <class Op>
void middle(const Reduce& r, const float* x, float* y, Index begin, Index end) {
  // Vectors that begin at the range's start: each result is computed alike in any lane.
  for (Index at = begin; at < end;) {
    const Index o = at / r.inner, i = at - o * r.inner, last = std::min(r.inner, i + end - at);
    const float* from = x + o * r.reduced * r.inner;
    float* to = y + o * r.inner;
    Index j = i;
    for (; j + 4 * kLanesSigned <= last; j += 4 * kLanesSigned)
      columns<Op, 4>(r, std::true_type(), from + j, to + j, kLanes);
    for (; j + kLanesSigned <= last; j += kLanesSigned) columns<Op, 1>(r, std::true_type(), from + j, to + j, kLanes);
    if (j < last) columns<Op, 1>(r, std::false_type(), from + j, to + j, static_cast<std::size_t>(last - j));
    at += last - i;
  }
}

template <class Op>
ReduceFn choose(const Reduce& r) {
  return r.inner == 1 ? rows<Op> : middle<Op>;
}

}  // namespace

ReduceFn SelectReduce(const Reduce& r) {
  switch (r.kind) {
    case Kind::maximum: return choose<Max>(r);
    case Kind::minimum: return choose<Min>(r);
    default: return choose<Add>(r);
  }
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(SelectReduce);
ReduceFn select_reduce(const Reduce& settings) { return LEVIN_BEST(SelectReduce)(settings); }

}  // namespace levin::compile::kernels
#endif
