// Activations and losses that need elementary functions, by ATen's formulas.
#include <levin/compile/kernels/pointwise_ops_impl.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/pointwise_activations.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/pointwise_loop-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

/** log(1 + exp(-|x|)). */
HWY_INLINE V log_of_one_and_exp(V x) { return log1p(exp(hn::Neg(absolute(x)))); }
HWY_INLINE V log_sigmoid(V x) { return hn::Sub(hn::IfThenElse(hn::Gt(x, zero()), zero(), x), log_of_one_and_exp(x)); }

LEVIN_UNARY(LogSigmoid, { return log_sigmoid(a); })
LEVIN_BINARY(LogSigmoidBackward, {
  const V z = exp(hn::Neg(absolute(b)));
  const V tail = hn::Div(z, hn::Add(set(1.F), z));  // sigmoid(-|b|)
  return hn::Mul(a, hn::IfThenElse(hn::Lt(b, zero()), hn::Sub(set(1.F), tail), tail));
})
LEVIN_UNARY(Elu, { return hn::IfThenElse(hn::Le(a, zero()), hn::Mul(expm1(hn::Mul(a, p.r)), p.p), hn::Mul(a, p.q)); })
LEVIN_BINARY(EluBackward, {
  const V left = hn::Mul(hn::Mul(hn::Mul(a, p.r), p.p), exp(hn::Mul(b, p.r)));
  return hn::IfThenElse(hn::Le(b, zero()), left, hn::Mul(a, p.q));
})
LEVIN_BINARY(EluBackwardResult,
             { return hn::IfThenElse(hn::Le(b, zero()), hn::Mul(hn::Mul(a, p.r), hn::Add(b, p.p)), hn::Mul(a, p.q)); })

constexpr float kSqrtHalf = 0.70710678118654752440F;
constexpr float kInverseSqrtTwoPi = 0.39894228040143267794F;
constexpr float kSqrtTwoOverPi = 0.79788456080286535588F;
constexpr float kGeluCubic = 0.044715F;

HWY_INLINE V normal_cdf(V x) { return hn::Mul(set(0.5F), hn::Add(set(1.F), erf(hn::Mul(x, set(kSqrtHalf))))); }
LEVIN_UNARY(Gelu, { return hn::Mul(a, normal_cdf(a)); })
LEVIN_BINARY(GeluBackward, {
  const V density = hn::Mul(exp(hn::Mul(set(-0.5F), hn::Mul(b, b))), set(kInverseSqrtTwoPi));
  return hn::Mul(a, hn::MulAdd(b, density, normal_cdf(b)));
})
HWY_INLINE V gelu_inner(V x) {
  return hn::Mul(set(kSqrtTwoOverPi), hn::MulAdd(hn::Mul(set(kGeluCubic), hn::Mul(x, x)), x, x));
}
LEVIN_UNARY(GeluTanh, { return hn::Mul(hn::Mul(set(0.5F), a), hn::Add(set(1.F), tanh(gelu_inner(a)))); })
LEVIN_BINARY(GeluTanhBackward, {
  const V one = set(1.F);
  const V t = tanh(gelu_inner(b));
  const V slope = hn::Mul(set(kSqrtTwoOverPi), hn::MulAdd(set(3 * kGeluCubic), hn::Mul(b, b), one));
  const V left = hn::Mul(set(0.5F), hn::Add(one, t));
  const V right = hn::Mul(hn::Mul(hn::Mul(set(0.5F), b), hn::NegMulAdd(t, t, one)), slope);
  return hn::Mul(a, hn::Add(left, right));
})
LEVIN_UNARY(Silu, { return hn::Div(a, hn::Add(set(1.F), exp(hn::Neg(a)))); })
LEVIN_BINARY(SiluBackward, {
  const V one = set(1.F);
  const V s = sigmoid(b);
  return hn::Mul(hn::Mul(a, s), hn::MulAdd(b, hn::Sub(one, s), one));
})
/** tanh(softplus(x)) = n / (n + 2). */
HWY_INLINE V mish_n(V x) {
  const V e = exp(hn::IfThenElse(hn::Gt(x, set(20.F)), set(20.F), x));
  return hn::Mul(e, hn::Add(e, set(2.F)));
}
LEVIN_UNARY(Mish, {
  const V n = mish_n(a);
  return hn::Mul(a, hn::Div(n, hn::Add(n, set(2.F))));
})
LEVIN_BINARY(MishBackward, {
  const V n = mish_n(b);
  const V inverse = hn::Div(set(1.F), hn::Add(n, set(2.F)));
  const V t = hn::Mul(n, inverse);
  const V one_less_square = hn::Mul(hn::Mul(set(2.F), inverse), hn::Add(set(1.F), t));
  return hn::Mul(a, hn::MulAdd(hn::Mul(b, sigmoid(b)), one_less_square, t));
})
LEVIN_UNARY(Softplus, {
  const V x = hn::Mul(a, p.p);
  return hn::IfThenElse(hn::Gt(x, p.q), a, hn::Div(log1p(exp(x)), p.p));
})
LEVIN_BINARY(SoftplusBackward, {
  const V x = hn::Mul(b, p.p);
  const V z = exp(x);
  return hn::IfThenElse(hn::Gt(x, p.q), a, hn::Mul(a, hn::Div(z, hn::Add(z, set(1.F)))));
})
LEVIN_BINARY(Bce, {
  const V cut = set(-100.F);
  const V log_one_less = max_nan(log1p(hn::Neg(a)), cut);
  const V log_a = max_nan(log(a), cut);
  return hn::NegMulAdd(b, log_a, hn::Mul(hn::Sub(b, set(1.F)), log_one_less));
})
LEVIN_BINARY(BceLogits, { return hn::Sub(hn::Mul(hn::Sub(set(1.F), b), a), log_sigmoid(a)); })
LEVIN_TERNARY(BceLogitsBackward, { return hn::Mul(hn::Sub(sigmoid(a), b), c); })

}  // namespace

PointwiseLoop ActivationLoop(const PointwiseOp& op) {
  switch (op.code) {
    case Opcode::log_sigmoid: return pointwise_loop<LogSigmoid>;
    case Opcode::log_sigmoid_backward: return pointwise_loop<LogSigmoidBackward>;
    case Opcode::elu: return pointwise_loop<Elu>;
    case Opcode::elu_backward: return pointwise_loop<EluBackward>;
    case Opcode::elu_backward_result: return pointwise_loop<EluBackwardResult>;
    case Opcode::gelu: return pointwise_loop<Gelu>;
    case Opcode::gelu_backward: return pointwise_loop<GeluBackward>;
    case Opcode::gelu_tanh: return pointwise_loop<GeluTanh>;
    case Opcode::gelu_tanh_backward: return pointwise_loop<GeluTanhBackward>;
    case Opcode::silu: return pointwise_loop<Silu>;
    case Opcode::silu_backward: return pointwise_loop<SiluBackward>;
    case Opcode::mish: return pointwise_loop<Mish>;
    case Opcode::mish_backward: return pointwise_loop<MishBackward>;
    case Opcode::softplus: return pointwise_loop<Softplus>;
    case Opcode::softplus_backward: return pointwise_loop<SoftplusBackward>;
    case Opcode::bce: return pointwise_loop<Bce>;
    case Opcode::bce_logits: return pointwise_loop<BceLogits>;
    case Opcode::bce_logits_backward: return pointwise_loop<BceLogitsBackward>;
    default: return nullptr;
  }
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(ActivationLoop);

PointwiseLoop activation_loop(const PointwiseOp& op) { return LEVIN_BEST(ActivationLoop)(op); }

}  // namespace levin::compile::kernels
#endif
