// Arithmetic, comparisons and what is made of them.
#include <levin/compile/kernels/pointwise_ops_impl.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/pointwise_basic.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/pointwise_loop-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE V one_if(M mask) { return hn::IfThenElseZero(mask, set(1.F)); }
// Highway's Ne is false for NaN on some sets.
HWY_INLINE M not_zero(V x) { return hn::Not(hn::Eq(x, zero())); }

LEVIN_UNARY(Copy, { return a; })
LEVIN_BINARY(Add, { return hn::Add(a, b); })
LEVIN_BINARY(Sub, { return hn::Sub(a, b); })
LEVIN_BINARY(Mul, { return hn::Mul(a, b); })
LEVIN_BINARY(Div, { return hn::Div(a, b); })
LEVIN_BINARY(AddScaled, { return hn::MulAdd(p.p, b, a); })
LEVIN_BINARY(SubScaled, { return hn::NegMulAdd(p.p, b, a); })
LEVIN_UNARY(ScaleShift, { return hn::MulAdd(p.p, a, p.q); })
LEVIN_TERNARY(AddProduct, { return hn::MulAdd(hn::Mul(p.p, b), c, a); })
LEVIN_TERNARY(AddQuotient, { return hn::Add(a, hn::Div(hn::Mul(p.p, b), c)); })
LEVIN_BINARY(Lerp, {
  const V difference = hn::Sub(b, a);
  const V near_b = hn::NegMulAdd(difference, hn::Sub(set(1.F), p.p), b);
  return hn::IfThenElse(hn::Lt(absolute(p.p), set(0.5F)), hn::MulAdd(p.p, difference, a), near_b);
})
LEVIN_UNARY(Neg, { return hn::Neg(a); })
LEVIN_UNARY(Abs, { return absolute(a); })
LEVIN_UNARY(Sign, { return hn::Sub(one_if(hn::Gt(a, zero())), one_if(hn::Lt(a, zero()))); })
LEVIN_UNARY(Square, { return hn::Mul(a, a); })
LEVIN_UNARY(Cube, { return hn::Mul(hn::Mul(a, a), a); })
LEVIN_UNARY(Reciprocal, { return hn::Div(set(1.F), a); })
LEVIN_UNARY(ReciprocalSquare, { return hn::Div(set(1.F), hn::Mul(a, a)); })
LEVIN_UNARY(Sqrt, { return hn::Sqrt(a); })
LEVIN_UNARY(Rsqrt, { return hn::Div(set(1.F), hn::Sqrt(a)); })
LEVIN_UNARY(One, { return set(1.F); })
LEVIN_BINARY(Minimum, { return min_nan(a, b); })
LEVIN_BINARY(Maximum, { return max_nan(a, b); })
LEVIN_UNARY(Clamp, { return clamp(a, p.p, p.q); })
LEVIN_UNARY(Floor, { return hn::Floor(a); })
LEVIN_UNARY(Ceil, { return hn::Ceil(a); })
LEVIN_UNARY(Round, { return hn::Round(a); })
LEVIN_UNARY(Trunc, { return hn::Trunc(a); })
LEVIN_UNARY(Frac, { return hn::Sub(a, hn::Trunc(a)); })
LEVIN_BINARY(Equal, { return one_if(hn::Eq(a, b)); })
LEVIN_BINARY(NotEqual, { return one_if(hn::Not(hn::Eq(a, b))); })
LEVIN_BINARY(Less, { return one_if(hn::Lt(a, b)); })
LEVIN_BINARY(LessEqual, { return one_if(hn::Le(a, b)); })
LEVIN_BINARY(Greater, { return one_if(hn::Gt(a, b)); })
LEVIN_BINARY(GreaterEqual, { return one_if(hn::Ge(a, b)); })
LEVIN_UNARY(IsNan, { return one_if(hn::IsNaN(a)); })
LEVIN_UNARY(LogicalNot, { return one_if(hn::Eq(a, zero())); })
LEVIN_BINARY(LogicalAnd, { return one_if(hn::And(not_zero(a), not_zero(b))); })
LEVIN_BINARY(LogicalOr, { return one_if(hn::Or(not_zero(a), not_zero(b))); })
LEVIN_TERNARY(Where, { return hn::IfThenElse(not_zero(a), b, c); })
LEVIN_UNARY(Relu, { return relu(a); })
LEVIN_UNARY(Threshold, { return hn::IfThenElse(hn::Le(a, p.p), p.q, a); })
LEVIN_BINARY(ThresholdBackward, { return hn::IfThenElse(hn::Le(b, p.p), zero(), a); })
LEVIN_BINARY(TanhBackward, { return hn::Mul(a, hn::NegMulAdd(b, b, set(1.F))); })
LEVIN_BINARY(SigmoidBackward, { return hn::Mul(hn::Mul(a, hn::Sub(set(1.F), b)), b); })
LEVIN_UNARY(LeakyRelu, { return hn::IfThenElse(hn::Gt(a, zero()), a, hn::Mul(a, p.p)); })
LEVIN_BINARY(LeakyReluBackward, { return hn::IfThenElse(hn::Gt(b, zero()), a, hn::Mul(a, p.p)); })
LEVIN_BINARY(HardtanhBackward, { return hn::IfThenElse(hn::Or(hn::Le(b, p.p), hn::Ge(b, p.q)), zero(), a); })
LEVIN_BINARY(ClampBackward, { return hn::IfThenElseZero(hn::And(hn::Ge(b, p.p), hn::Le(b, p.q)), a); })
LEVIN_UNARY(Hardswish, { return hn::Div(hn::Mul(a, clamp(hn::Add(a, set(3.F)), zero(), set(6.F))), set(6.F)); })
LEVIN_BINARY(HardswishBackward, {
  const V middle = hn::Mul(a, hn::Add(hn::Div(b, set(3.F)), set(0.5F)));
  const V right = hn::IfThenElse(hn::Lt(b, set(3.F)), middle, a);
  return hn::IfThenElse(hn::Le(b, set(-3.F)), zero(), right);
})
LEVIN_UNARY(Hardsigmoid, { return hn::Div(clamp(hn::Add(a, set(3.F)), zero(), set(6.F)), set(6.F)); })
LEVIN_BINARY(HardsigmoidBackward,
             { return hn::IfThenElseZero(hn::And(hn::Gt(b, set(-3.F)), hn::Lt(b, set(3.F))), hn::Div(a, set(6.F))); })
LEVIN_UNARY(Softsign, { return hn::Div(a, hn::Add(set(1.F), absolute(a))); })
HWY_INLINE M is_shrunk(V x, V lambda) { return hn::And(hn::Ge(x, hn::Neg(lambda)), hn::Le(x, lambda)); }
LEVIN_UNARY(Hardshrink, { return hn::IfThenElse(is_shrunk(a, p.p), zero(), a); })
LEVIN_UNARY(Softshrink, {
  const V below = hn::IfThenElse(hn::Lt(a, hn::Neg(p.p)), hn::Add(a, p.p), hn::Mul(a, zero()));
  return hn::IfThenElse(hn::Gt(a, p.p), hn::Sub(a, p.p), below);
})
LEVIN_BINARY(ShrinkBackward, { return hn::IfThenElse(is_shrunk(b, p.p), zero(), a); })
LEVIN_BINARY(SquaredError, {
  const V error = hn::Sub(a, b);
  return hn::Mul(error, error);
})
LEVIN_BINARY(AbsoluteError, { return absolute(hn::Sub(a, b)); })
LEVIN_BINARY(Huber, {
  const V z = absolute(hn::Sub(a, b));
  const V half = set(0.5F);
  return hn::IfThenElse(hn::Lt(z, p.p), hn::Mul(hn::Mul(half, z), z), hn::Mul(p.p, hn::NegMulAdd(half, p.p, z)));
})
LEVIN_BINARY(SmoothL1, {
  const V z = absolute(hn::Sub(a, b));
  const V half = set(0.5F);
  return hn::IfThenElse(hn::Lt(z, p.p), hn::Div(hn::Mul(hn::Mul(half, z), z), p.p), hn::NegMulAdd(half, p.p, z));
})
LEVIN_TERNARY(HuberBackward, { return hn::Mul(c, clamp(hn::Sub(a, b), hn::Neg(p.p), p.p)); })
LEVIN_TERNARY(SmoothL1Backward, {
  const V x = hn::Sub(a, b);
  const V outside = hn::CopySign(set(1.F), x);
  return hn::Mul(c, hn::IfThenElse(hn::Ge(absolute(x), p.p), outside, hn::Div(x, p.p)));
})
LEVIN_TERNARY(BceBackward, {
  const V variance = hn::Mul(hn::Sub(set(1.F), a), a);
  return hn::Div(hn::Mul(c, hn::Sub(a, b)), max_nan(variance, set(1e-12F)));
})

float sum_of(const float* x, std::size_t n) {
  Sums sums;
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (std::size_t u = 0; u < 4; u++) sums.v[u] = hn::Add(sums.v[u], load(x + i + u * kLanes));
  }
  for (std::size_t u = 0; i + kLanes <= n; i += kLanes, u++) sums.v[u] = hn::Add(sums.v[u], load(x + i));
  if (i < n) sums.v[3] = hn::Add(sums.v[3], load_n(x + i, n - i));
  return sums.total();
}

}  // namespace

PointwiseLoop BasicLoop(const PointwiseOp& op) {
  switch (op.code) {
    case Opcode::copy: return pointwise_loop<Copy>;
    case Opcode::add: return pointwise_loop<Add>;
    case Opcode::sub: return pointwise_loop<Sub>;
    case Opcode::mul: return pointwise_loop<Mul>;
    case Opcode::div: return pointwise_loop<Div>;
    case Opcode::add_scaled: return pointwise_loop<AddScaled>;
    case Opcode::sub_scaled: return pointwise_loop<SubScaled>;
    case Opcode::scale_shift: return pointwise_loop<ScaleShift>;
    case Opcode::add_product: return pointwise_loop<AddProduct>;
    case Opcode::add_quotient: return pointwise_loop<AddQuotient>;
    case Opcode::lerp: return pointwise_loop<Lerp>;
    case Opcode::neg: return pointwise_loop<Neg>;
    case Opcode::abs: return pointwise_loop<Abs>;
    case Opcode::sign: return pointwise_loop<Sign>;
    case Opcode::square: return pointwise_loop<Square>;
    case Opcode::reciprocal: return pointwise_loop<Reciprocal>;
    case Opcode::sqrt: return pointwise_loop<Sqrt>;
    case Opcode::rsqrt: return pointwise_loop<Rsqrt>;
    case Opcode::minimum: return pointwise_loop<Minimum>;
    case Opcode::maximum: return pointwise_loop<Maximum>;
    case Opcode::clamp: return pointwise_loop<Clamp>;
    case Opcode::floor: return pointwise_loop<Floor>;
    case Opcode::ceil: return pointwise_loop<Ceil>;
    case Opcode::round: return pointwise_loop<Round>;
    case Opcode::trunc: return pointwise_loop<Trunc>;
    case Opcode::frac: return pointwise_loop<Frac>;
    case Opcode::equal: return pointwise_loop<Equal>;
    case Opcode::not_equal: return pointwise_loop<NotEqual>;
    case Opcode::less: return pointwise_loop<Less>;
    case Opcode::less_equal: return pointwise_loop<LessEqual>;
    case Opcode::greater: return pointwise_loop<Greater>;
    case Opcode::greater_equal: return pointwise_loop<GreaterEqual>;
    case Opcode::is_nan: return pointwise_loop<IsNan>;
    case Opcode::logical_not: return pointwise_loop<LogicalNot>;
    case Opcode::logical_and: return pointwise_loop<LogicalAnd>;
    case Opcode::logical_or: return pointwise_loop<LogicalOr>;
    case Opcode::where: return pointwise_loop<Where>;
    case Opcode::pow_scalar:
      // The powers that ATen, too, computes without logarithms.
      if (op.p == 0) return pointwise_loop<One>;
      if (op.p == 0.5F) return pointwise_loop<Sqrt>;
      if (op.p == -0.5F) return pointwise_loop<Rsqrt>;
      if (op.p == 1) return pointwise_loop<Copy>;
      if (op.p == 2) return pointwise_loop<Square>;
      if (op.p == 3) return pointwise_loop<Cube>;
      if (op.p == -1) return pointwise_loop<Reciprocal>;
      if (op.p == -2) return pointwise_loop<ReciprocalSquare>;
      return nullptr;
    case Opcode::relu: return pointwise_loop<Relu>;
    case Opcode::threshold: return pointwise_loop<Threshold>;
    case Opcode::threshold_backward: return pointwise_loop<ThresholdBackward>;
    case Opcode::tanh_backward: return pointwise_loop<TanhBackward>;
    case Opcode::sigmoid_backward: return pointwise_loop<SigmoidBackward>;
    case Opcode::leaky_relu: return pointwise_loop<LeakyRelu>;
    case Opcode::leaky_relu_backward: return pointwise_loop<LeakyReluBackward>;
    case Opcode::hardtanh_backward: return pointwise_loop<HardtanhBackward>;
    case Opcode::clamp_backward: return pointwise_loop<ClampBackward>;
    case Opcode::hardswish: return pointwise_loop<Hardswish>;
    case Opcode::hardswish_backward: return pointwise_loop<HardswishBackward>;
    case Opcode::hardsigmoid: return pointwise_loop<Hardsigmoid>;
    case Opcode::hardsigmoid_backward: return pointwise_loop<HardsigmoidBackward>;
    case Opcode::softsign: return pointwise_loop<Softsign>;
    case Opcode::hardshrink: return pointwise_loop<Hardshrink>;
    case Opcode::softshrink: return pointwise_loop<Softshrink>;
    case Opcode::shrink_backward: return pointwise_loop<ShrinkBackward>;
    case Opcode::squared_error: return pointwise_loop<SquaredError>;
    case Opcode::absolute_error: return pointwise_loop<AbsoluteError>;
    case Opcode::huber: return pointwise_loop<Huber>;
    case Opcode::smooth_l1: return pointwise_loop<SmoothL1>;
    case Opcode::huber_backward: return pointwise_loop<HuberBackward>;
    case Opcode::smooth_l1_backward: return pointwise_loop<SmoothL1Backward>;
    case Opcode::bce_backward: return pointwise_loop<BceBackward>;
    default: return nullptr;
  }
}

SumLoop BasicSum() { return sum_of; }

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(BasicLoop);
HWY_EXPORT(BasicSum);

PointwiseLoop basic_loop(const PointwiseOp& op) { return LEVIN_BEST(BasicLoop)(op); }
SumLoop sum_loop() { return LEVIN_BEST(BasicSum)(); }

}  // namespace levin::compile::kernels
#endif
