// Elementary functions of float vectors, to 1-3 units of the last place, with IEEE's answers for NaN, infinities and
// arguments out of range. Compiled anew for each instruction set.
#if defined(LEVIN_KERNELS_MATH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef LEVIN_KERNELS_MATH_INL_H
#undef LEVIN_KERNELS_MATH_INL_H
#else
#define LEVIN_KERNELS_MATH_INL_H
#endif

#include <hwy/contrib/math/math-inl.h>

#include <levin/compile/kernels/simd-inl.h>

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {

using Ints = hn::Rebind<std::int32_t, D>;

HWY_INLINE V infinity() { return set(std::numeric_limits<float>::infinity()); }
HWY_INLINE V nan() { return set(std::numeric_limits<float>::quiet_NaN()); }
/** x cut to [low, high]; NaN stays, since it is the second operand (see relu). */
HWY_INLINE V clamp(V x, V low, V high) { return hn::Max(low, hn::Min(high, x)); }
HWY_INLINE V absolute(V x) { return hn::Abs(x); }

/** 2^n for whole n in [-126, 127]. */
HWY_INLINE V power_of_two(V n) {
  const Ints ints;
  return hn::BitCast(kFloats, hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(ints, n), hn::Set(ints, 127))));
}

/** exp(r) - 1 - r for |r| <= ln(2) / 2, over r^2: Cephes' polynomial. */
HWY_INLINE V exp_polynomial(V r) {
  V y = set(1.9875691500e-4F);
  y = hn::MulAdd(y, r, set(1.3981999507e-3F));
  y = hn::MulAdd(y, r, set(8.3334519073e-3F));
  y = hn::MulAdd(y, r, set(4.1665795894e-2F));
  y = hn::MulAdd(y, r, set(1.6666665459e-1F));
  return hn::MulAdd(y, r, set(5.0000001201e-1F));
}

/** x = n ln(2) + r. */
HWY_INLINE V reduce_by_ln2(V x, V& n) {
  n = hn::Round(hn::Mul(x, set(1.44269504088896341F)));
  const V r = hn::NegMulAdd(n, set(0.693359375F), x);
  return hn::NegMulAdd(n, set(-2.12194440e-4F), r);
}

/** y 2^n for whole n in [-151, 129] and y in [0.5, 2]: to 0 and infinity where that is out of range. */
HWY_INLINE V scale_by_power(V y, V n) {
#if HWY_TARGET == HWY_AVX3
  return V{_mm512_scalef_ps(y.raw, n.raw)};
#else
  // In two steps: 2^n itself may be out of range.
  const Ints ints;
  const auto whole = hn::ConvertTo(ints, n);
  const auto half = hn::ShiftRight<1>(whole), bias = hn::Set(ints, 127);
  const V first = hn::BitCast(kFloats, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const V second = hn::BitCast(kFloats, hn::ShiftLeft<23>(hn::Add(hn::Sub(whole, half), bias)));
  return hn::Mul(hn::Mul(y, first), second);
#endif
}

HWY_INLINE V exp(V x) {
  V n;
  const V r = reduce_by_ln2(clamp(x, set(-104.F), set(89.F)), n);
  return scale_by_power(hn::Add(hn::MulAdd(exp_polynomial(r), hn::Mul(r, r), r), set(1.F)), n);
}

/** exp for arguments that are never above 0 (or NaN) and whose result may be 0 below -87: softmax's. */
HWY_INLINE V exp_nonpositive(V x) {
#if HWY_TARGET == HWY_AVX3
  return exp(x);
#else
  V n;
  const V r = reduce_by_ln2(clamp(x, set(-87.3F), zero()), n);
  const V y = hn::Add(hn::MulAdd(exp_polynomial(r), hn::Mul(r, r), r), set(1.F));
  return hn::IfThenElse(hn::Lt(x, set(-87.3F)), zero(), hn::Mul(y, power_of_two(n)));
#endif
}

HWY_INLINE V expm1(V x) {
  V n;
  const V r = reduce_by_ln2(clamp(x, set(-25.F), set(89.F)), n);
  const V q = hn::MulAdd(exp_polynomial(r), hn::Mul(r, r), r);
  const V half = power_of_two(hn::Sub(n, set(1.F)));  // 2^(n-1): 2^128 would not be finite
  const V result = hn::Mul(set(2.F), hn::MulAdd(half, q, hn::Sub(half, set(0.5F))));
  // r is exact where n = 0, and the sum of halves is not.
  return hn::IfThenElse(hn::Eq(n, zero()), hn::IfThenElse(hn::Eq(x, zero()), x, q), result);
}

/** What logarithms are of 0, infinity, NaN and less than 0. */
HWY_INLINE V mend_logarithm(V x, V result) {
  result = hn::IfThenElse(hn::Eq(x, zero()), hn::Neg(infinity()), result);
  result = hn::IfThenElse(hn::Lt(x, zero()), nan(), result);
  result = hn::IfThenElse(hn::Eq(x, infinity()), x, result);
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}
HWY_INLINE V log(V x) { return mend_logarithm(x, hn::Log(kFloats, x)); }

HWY_INLINE V log1p(V x) {
  const V one = set(1.F), u = hn::Add(one, x);
  // log(u) is off by what the sum lost; the quotient puts it back.
  const V result = hn::Mul(hn::Log(kFloats, u), hn::Div(x, hn::Sub(u, one)));
  return mend_logarithm(u, hn::IfThenElse(hn::Eq(u, one), x, result));
}

/** Near 0 an odd polynomial (Cephes'), else 1 - 2 / (exp(2 |x|) + 1). */
HWY_INLINE V tanh(V x) {
  const V t = absolute(x), s = hn::Mul(x, x);
  V inner = hn::MulAdd(set(-5.70498872745e-3F), s, set(2.06390887954e-2F));
  inner = hn::MulAdd(inner, s, set(-5.37397155531e-2F));
  inner = hn::MulAdd(inner, s, set(1.33314422036e-1F));
  inner = hn::MulAdd(inner, s, set(-3.33332819422e-1F));
  inner = hn::MulAdd(hn::Mul(inner, s), x, x);
  const V e = exp(hn::Add(t, t));
  const V outer = hn::CopySign(hn::Sub(set(1.F), hn::Div(set(2.F), hn::Add(e, set(1.F)))), x);
  return hn::IfThenElse(hn::Lt(t, set(0.625F)), inner, outer);
}

HWY_INLINE V sigmoid(V x) { return hn::Div(set(1.F), hn::Add(set(1.F), exp(hn::Neg(x)))); }

/** By two polynomials, the outer one in the exponent (after N. Juffa). */
HWY_INLINE V erf(V x) {
  const V t = absolute(x), s = hn::Mul(x, x);
  V outer = hn::MulAdd(set(-1.72853470e-5F), t, set(3.83197126e-4F));
  outer = hn::MulAdd(outer, s, hn::MulAdd(set(-3.88396438e-3F), t, set(2.42546219e-2F)));
  outer = hn::MulAdd(outer, t, set(-1.06777877e-1F));
  outer = hn::MulAdd(outer, t, set(-6.34846687e-1F));
  outer = hn::MulAdd(outer, t, set(-1.28717512e-1F));
  outer = hn::MulAdd(outer, t, hn::Neg(t));
  outer = hn::CopySign(hn::Sub(set(1.F), exp(outer)), x);
  V inner = hn::MulAdd(set(-5.96761703e-4F), s, set(4.99119423e-3F));
  inner = hn::MulAdd(inner, s, set(-2.67681349e-2F));
  inner = hn::MulAdd(inner, s, set(1.12819925e-1F));
  inner = hn::MulAdd(inner, s, set(-3.76125336e-1F));
  inner = hn::MulAdd(inner, s, set(1.28379166e-1F));
  inner = hn::MulAdd(inner, x, x);
  return hn::IfThenElse(hn::Gt(t, set(0.927734375F)), outer, inner);
}

/** f of each lane by the C library: for functions that are rare. */
template <class F>
HWY_INLINE V each_lane(V x, F f) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(x, kFloats, lanes);
  for (float& lane : lanes) lane = f(lane);
  return hn::Load(kFloats, lanes);
}
template <class F>
HWY_INLINE V each_lane(V x, V y, F f) {
  HWY_ALIGN float a[kLanes];
  HWY_ALIGN float b[kLanes];
  hn::Store(x, kFloats, a);
  hn::Store(y, kFloats, b);
  for (std::size_t i = 0; i < kLanes; i++) a[i] = f(a[i], b[i]);
  return hn::Load(kFloats, a);
}

/** Beyond this Highway's reduction of angles loses digits. */
HWY_INLINE bool angles_are_small(V x) { return hn::AllTrue(kFloats, hn::Le(absolute(x), set(30000.F))); }
HWY_INLINE V sin(V x) {
  return angles_are_small(x) ? hn::Sin(kFloats, x) : each_lane(x, [](float v) { return std::sin(v); });
}
HWY_INLINE V cos(V x) {
  return angles_are_small(x) ? hn::Cos(kFloats, x) : each_lane(x, [](float v) { return std::cos(v); });
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // LEVIN_KERNELS_MATH_INL_H
