// What all kernels share, compiled anew for each instruction set: partial loads and stores, sums, ATen's maximum.
// Include it last, behind <hwy/foreach_target.h>. A lambda that touches vectors needs HWY_ATTR.
#if defined(LEVIN_KERNELS_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LEVIN_KERNELS_SIMD_INL_H
#undef LEVIN_KERNELS_SIMD_INL_H
#else
#define LEVIN_KERNELS_SIMD_INL_H
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <limits>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;
inline constexpr D kFloats;
/** Floats of a vector. */
inline constexpr std::size_t kLanes = hn::MaxLanes(D());
inline constexpr auto kLanesSigned = static_cast<std::int64_t>(kLanes);

// Masked loads and stores never touch what they leave out on these sets; on others (and under sanitizers) they may.
#undef LEVIN_MASKED_MEMORY
#if (HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3) && !defined(__SANITIZE_ADDRESS__)
#define LEVIN_MASKED_MEMORY 1
#else
#define LEVIN_MASKED_MEMORY 0
#endif

/** The first n < kLanes floats, then zeros. */
HWY_INLINE V load_n(const float* p, std::size_t n) {
#if LEVIN_MASKED_MEMORY
  return hn::MaskedLoad(hn::FirstN(kFloats, n), kFloats, p);
#else
  HWY_ALIGN float lanes[kLanes] = {};
  for (std::size_t i = 0; i < n && i < kLanes; i++) lanes[i] = p[i];
  return hn::Load(kFloats, lanes);
#endif
}

/** Writes the first n < kLanes lanes. */
HWY_INLINE void store_n(V v, float* p, std::size_t n) {
#if LEVIN_MASKED_MEMORY
  hn::BlendedStore(v, hn::FirstN(kFloats, n), kFloats, p);
#else
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, kFloats, lanes);
  for (std::size_t i = 0; i < n && i < kLanes; i++) p[i] = lanes[i];
#endif
}

/** The first n < kLanes floats, then `fill`. */
HWY_INLINE V load_n_or(const float* p, std::size_t n, float fill) {
  return hn::IfThenElse(hn::FirstN(kFloats, n), load_n(p, n), hn::Set(kFloats, fill));
}

HWY_INLINE V load(const float* p) { return hn::LoadU(kFloats, p); }
HWY_INLINE void store(V v, float* p) { hn::StoreU(v, kFloats, p); }
HWY_INLINE V set(float value) { return hn::Set(kFloats, value); }
HWY_INLINE V zero() { return hn::Zero(kFloats); }
HWY_INLINE float sum(V v) { return hn::GetLane(hn::SumOfLanes(kFloats, v)); }

/** Vectors at a place of a run of elements: whole ones, or the `count` that are left at its end. */
template <bool whole>
struct Place {
  std::int64_t i;
  std::size_t count;
  HWY_INLINE V read(const float* p) const { return whole ? load(p + i) : load_n(p + i, count); }
  /** `fill` behind the end. */
  HWY_INLINE V read_or(const float* p, float fill) const { return whole ? load(p + i) : load_n_or(p + i, count, fill); }
  HWY_INLINE void write(V v, float* p) const { whole ? store(v, p + i) : store_n(v, p + i, count); }
  /** Zeros behind the end. */
  HWY_INLINE V cut(V v) const { return whole ? v : hn::IfThenElseZero(hn::FirstN(kFloats, count), v); }
};

/** Calls f(place) for all of [begin, end). */
template <class F>
HWY_INLINE void each_place(std::int64_t begin, std::int64_t end, F f) {
  std::int64_t i = begin;
  for (; i + kLanesSigned <= end; i += kLanesSigned) f(Place<true>{i, kLanes});
  if (i < end) f(Place<false>{i, static_cast<std::size_t>(end - i)});
}

/** The larger, or NaN if one of both is: ATen's maximum. */
HWY_INLINE V max_nan(V a, V b) {
  // Max gives b when the operands do not compare.
  const V larger = hn::IfThenElse(hn::Gt(a, b), a, b);
  return hn::IfThenElse(hn::IsNaN(a), a, larger);
}
HWY_INLINE V min_nan(V a, V b) {
  const V smaller = hn::IfThenElse(hn::Lt(a, b), a, b);
  return hn::IfThenElse(hn::IsNaN(a), a, smaller);
}
/** max(x, 0); NaN stays NaN: where operands do not compare, x86 gives the second, and Arm gives NaN. */
HWY_INLINE V relu(V x) { return hn::Max(zero(), x); }
/** 0 where mask <= 0, else x: what ATen's threshold_backward makes of a NaN in the mask. */
HWY_INLINE V where_positive(V mask, V x) { return hn::IfThenElse(hn::Le(mask, zero()), zero(), x); }

/** The largest lane; NaN if one is. */
HWY_INLINE float max_of_lanes_nan(V v) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, kFloats, lanes);
  float result = lanes[0];
  for (std::size_t i = 1; i < kLanes; i++) {
    if (lanes[i] > result || lanes[i] != lanes[i]) result = lanes[i];
    if (result != result) break;
  }
  return result;
}

/** Partial sums of four vectors, so that additions do not wait for one another. The order is the same everywhere. */
struct Sums {
  V v[4];
  HWY_INLINE Sums() {
    for (V& each : v) each = zero();
  }
  HWY_INLINE V combined() const { return hn::Add(hn::Add(v[0], v[1]), hn::Add(v[2], v[3])); }
  HWY_INLINE float total() const { return sum(combined()); }
};

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // LEVIN_KERNELS_SIMD_INL_H
