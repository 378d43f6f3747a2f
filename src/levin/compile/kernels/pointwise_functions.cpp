// Elementary functions.
#include <levin/compile/kernels/pointwise_ops_impl.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/pointwise_functions.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/pointwise_loop-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

LEVIN_UNARY(Exp, { return exp(a); })
LEVIN_UNARY(Exp2, { return each_lane(a, [](float x) { return std::exp2(x); }); })
LEVIN_UNARY(Expm1, { return expm1(a); })
LEVIN_UNARY(Log, { return log(a); })
LEVIN_UNARY(Log2, { return mend_logarithm(a, hn::Log2(kFloats, a)); })
LEVIN_UNARY(Log10, { return mend_logarithm(a, hn::Log10(kFloats, a)); })
LEVIN_UNARY(Log1p, { return log1p(a); })
LEVIN_UNARY(Sin, { return sin(a); })
LEVIN_UNARY(Cos, { return cos(a); })
LEVIN_UNARY(Tan, { return each_lane(a, [](float x) { return std::tan(x); }); })
LEVIN_UNARY(Sinh, { return each_lane(a, [](float x) { return std::sinh(x); }); })
LEVIN_UNARY(Cosh, { return each_lane(a, [](float x) { return std::cosh(x); }); })
LEVIN_UNARY(Atan, { return each_lane(a, [](float x) { return std::atan(x); }); })
LEVIN_UNARY(Erf, { return erf(a); })
LEVIN_UNARY(Tanh, { return tanh(a); })
LEVIN_UNARY(Sigmoid, { return sigmoid(a); })
LEVIN_BINARY(Pow, { return each_lane(a, b, [](float x, float y) { return std::pow(x, y); }); })
LEVIN_UNARY(PowScalar, { return each_lane(a, p.p, [](float x, float y) { return std::pow(x, y); }); })

}  // namespace

PointwiseLoop FunctionLoop(const PointwiseOp& op) {
  switch (op.code) {
    case Opcode::exp: return pointwise_loop<Exp>;
    case Opcode::exp2: return pointwise_loop<Exp2>;
    case Opcode::expm1: return pointwise_loop<Expm1>;
    case Opcode::log: return pointwise_loop<Log>;
    case Opcode::log2: return pointwise_loop<Log2>;
    case Opcode::log10: return pointwise_loop<Log10>;
    case Opcode::log1p: return pointwise_loop<Log1p>;
    case Opcode::sin: return pointwise_loop<Sin>;
    case Opcode::cos: return pointwise_loop<Cos>;
    case Opcode::tan: return pointwise_loop<Tan>;
    case Opcode::sinh: return pointwise_loop<Sinh>;
    case Opcode::cosh: return pointwise_loop<Cosh>;
    case Opcode::atan: return pointwise_loop<Atan>;
    case Opcode::erf: return pointwise_loop<Erf>;
    case Opcode::tanh: return pointwise_loop<Tanh>;
    case Opcode::sigmoid: return pointwise_loop<Sigmoid>;
    case Opcode::pow: return pointwise_loop<Pow>;
    case Opcode::pow_scalar: return pointwise_loop<PowScalar>;
    default: return nullptr;
  }
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(FunctionLoop);

PointwiseLoop function_loop(const PointwiseOp& op) { return LEVIN_BEST(FunctionLoop)(op); }

}  // namespace levin::compile::kernels
#endif
