#include <levin/compile/kernels/optimizer.h>

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/optimizer.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

/** 1 - beta^step. Where the power is below half a unit of 1 it is left out: it would cost a slow underflow. */
HWY_INLINE double one_less_power(double beta, double step) {
  return (1 - beta) * step > 40 ? 1 : 1 - std::pow(beta, step);
}

HWY_INLINE V set_double(double value) { return set(static_cast<float>(value)); }

/** A moving average: m + weight (g - m), from the nearer end as ATen's lerp. */
struct Average {
  V weight, complement;
  bool from_mean;
  HWY_INLINE explicit Average(double w)
      : weight(set_double(w)), complement(set_double(1 - w)), from_mean(std::abs(w) < 0.5) {}
  HWY_INLINE V operator()(V mean, V g) const {
    const V difference = hn::Sub(g, mean);
    return from_mean ? hn::MulAdd(weight, difference, mean) : hn::NegMulAdd(complement, difference, g);
  }
};

/** The gradient with its sign for `maximize` and weight decay added. */
struct Gradient {
  V sign, decay;
  bool flip, decays;
  HWY_INLINE Gradient(bool maximize, double weight_decay)
      : sign(set(maximize ? -1.F : 1.F)), decay(set_double(weight_decay)), flip(maximize), decays(weight_decay != 0) {}
  HWY_INLINE V operator()(V g, V parameter) const {
    if (flip) g = hn::Neg(g);
    return decays ? hn::MulAdd(decay, parameter, g) : g;
  }
};

/** v beta + (1 - beta) g^2. */
struct SquareAverage {
  V beta, complement;
  HWY_INLINE explicit SquareAverage(double b) : beta(set_double(b)), complement(set_double(1 - b)) {}
  HWY_INLINE V operator()(V v, V g) const { return hn::MulAdd(v, beta, hn::Mul(hn::Mul(complement, g), g)); }
};

template <bool decoupled, bool amsgrad>
void adam(const Adam& s, const AdamArgs& x, Index begin, Index end) {
  const double step = static_cast<double>(*x.step), lr = *x.lr;
  const double correction1 = one_less_power(s.beta1, step), correction2 = one_less_power(s.beta2, step);
  const V minus_size = set_double(-lr / correction1), inverse_root = set_double(1 / std::sqrt(correction2));
  const V eps = set_double(s.eps), keep = set_double(1 - lr * s.weight_decay);
  const Gradient gradient(s.maximize, decoupled ? 0 : s.weight_decay);
  const Average first(1 - s.beta1);
  const SquareAverage second(s.beta2);
  const bool shrinks = decoupled && s.weight_decay != 0;
  each_place(begin, end, [&](auto at) HWY_ATTR {
    V p = at.read(x.parameter);
    if (shrinks) p = hn::Mul(p, keep);
    const V g = gradient(at.read(x.gradient), p);
    const V m = first(at.read(x.first_moment), g);
    V v = second(at.read(x.second_moment), g);
    at.write(m, x.first_moment);
    at.write(v, x.second_moment);
    if (amsgrad) {
      v = max_nan(at.read(x.max_second_moment), v);
      at.write(v, x.max_second_moment);
    }
    const V denominator = hn::MulAdd(hn::Sqrt(v), inverse_root, eps);
    at.write(hn::Add(p, hn::Div(hn::Mul(minus_size, m), denominator)), x.parameter);
  });
}

void sgd(const Sgd& s, const SgdArgs& x, Index begin, Index end) {
  const V lr = set_double(*x.lr), momentum = set_double(s.momentum), undamped = set_double(1 - s.dampening);
  const Gradient gradient(s.maximize, s.weight_decay);
  const bool first = x.step && *x.step == 1;
  if (s.momentum == 0) {
    each_place(begin, end, [&](auto at) HWY_ATTR {
      const V p = at.read(x.parameter);
      at.write(hn::NegMulAdd(lr, gradient(at.read(x.gradient), p), p), x.parameter);
    });
    return;
  }
  each_place(begin, end, [&](auto at) HWY_ATTR {
    const V p = at.read(x.parameter);
    V g = gradient(at.read(x.gradient), p);
    const V buffer = first ? g : hn::MulAdd(momentum, at.read(x.momentum), hn::Mul(undamped, g));
    at.write(buffer, x.momentum);
    g = s.nesterov ? hn::MulAdd(momentum, buffer, g) : buffer;
    at.write(hn::NegMulAdd(lr, g, p), x.parameter);
  });
}

void rms_prop(const RmsProp& s, const RmsPropArgs& x, Index begin, Index end) {
  const V lr = set_double(*x.lr), momentum = set_double(s.momentum), eps = set_double(s.eps);
  const Gradient gradient(s.maximize, s.weight_decay);
  const SquareAverage square(s.alpha);
  const Average mean(1 - s.alpha);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    const V p = at.read(x.parameter);
    const V g = gradient(at.read(x.gradient), p);
    const V v = square(at.read(x.square_average), g);
    at.write(v, x.square_average);
    V variance = v;
    if (s.centered) {
      const V average = mean(at.read(x.gradient_average), g);
      at.write(average, x.gradient_average);
      variance = hn::NegMulAdd(average, average, v);
    }
    V update = hn::Div(g, hn::Add(hn::Sqrt(variance), eps));
    if (s.momentum != 0) {
      update = hn::MulAdd(momentum, at.read(x.momentum), update);
      at.write(update, x.momentum);
    }
    at.write(hn::NegMulAdd(lr, update, p), x.parameter);
  });
}

void adagrad(const Adagrad& s, const AdagradArgs& x, Index begin, Index end) {
  const double step = static_cast<double>(*x.step);
  const V lr = set_double(*x.lr / (1 + (step - 1) * s.lr_decay)), eps = set_double(s.eps);
  const Gradient gradient(s.maximize, s.weight_decay);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    const V p = at.read(x.parameter);
    const V g = gradient(at.read(x.gradient), p);
    const V sum = hn::MulAdd(g, g, at.read(x.sum));
    at.write(sum, x.sum);
    at.write(hn::Sub(p, hn::Div(hn::Mul(lr, g), hn::Add(hn::Sqrt(sum), eps))), x.parameter);
  });
}

void adamax(const Adamax& s, const AdamaxArgs& x, Index begin, Index end) {
  const double step = static_cast<double>(*x.step);
  const V size = set_double(*x.lr / one_less_power(s.beta1, step)), beta2 = set_double(s.beta2),
          eps = set_double(s.eps);
  const Gradient gradient(s.maximize, s.weight_decay);
  const Average first(1 - s.beta1);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    const V p = at.read(x.parameter);
    const V g = gradient(at.read(x.gradient), p);
    const V m = first(at.read(x.first_moment), g);
    at.write(m, x.first_moment);
    const V norm = max_nan(hn::Mul(at.read(x.infinity_norm), beta2), hn::Add(absolute(g), eps));
    at.write(norm, x.infinity_norm);
    at.write(hn::Sub(p, hn::Div(hn::Mul(size, m), norm)), x.parameter);
  });
}

double nadam_mu(const NAdam& s, double step) { return s.beta1 * (1 - 0.5 * std::pow(0.96, step * s.momentum_decay)); }

void nadam(const NAdam& s, const NAdamArgs& x, Index begin, Index end) {
  const double step = static_cast<double>(*x.step), lr = *x.lr;
  const double mu = nadam_mu(s, step), next_mu = nadam_mu(s, step + 1), product = static_cast<double>(*x.mu_product);
  const double correction2 = one_less_power(s.beta2, step);
  const V of_gradient = set_double(-lr * (1 - mu) / (1 - product));
  const V of_moment = set_double(-lr * next_mu / (1 - product * next_mu));
  const V inverse_root = set_double(1 / std::sqrt(correction2)), eps = set_double(s.eps);
  const V keep = set_double(1 - lr * s.weight_decay);
  const Gradient gradient(s.maximize, s.decoupled ? 0 : s.weight_decay);
  const bool shrinks = s.decoupled && s.weight_decay != 0;
  const Average first(1 - s.beta1);
  const SquareAverage second(s.beta2);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    V p = at.read(x.parameter);
    if (shrinks) p = hn::Mul(p, keep);
    const V g = gradient(at.read(x.gradient), p);
    const V m = first(at.read(x.first_moment), g);
    const V v = second(at.read(x.second_moment), g);
    at.write(m, x.first_moment);
    at.write(v, x.second_moment);
    const V denominator = hn::MulAdd(hn::Sqrt(v), inverse_root, eps);
    p = hn::Add(p, hn::Div(hn::Mul(of_gradient, g), denominator));
    at.write(hn::Add(p, hn::Div(hn::Mul(of_moment, m), denominator)), x.parameter);
  });
}

void radam(const RAdam& s, const RAdamArgs& x, Index begin, Index end) {
  const double step = static_cast<double>(*x.step), lr = *x.lr;
  const double correction1 = one_less_power(s.beta1, step), correction2 = one_less_power(s.beta2, step);
  const double beta2_power = 1 - correction2;
  // The length of the approximated moving average; up to 5 the variance is not to be had.
  const double longest = 2 / (1 - s.beta2) - 1, length = longest - 2 * step * beta2_power / correction2;
  const bool rectified = length > 5;
  const double rectification =
      rectified ? std::sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)) : 1;
  const V size = set_double(lr * rectification * (rectified ? std::sqrt(correction2) : 1) / correction1);
  const V eps = set_double(s.eps), keep = set_double(1 - lr * s.weight_decay);
  const Gradient gradient(s.maximize, s.decoupled ? 0 : s.weight_decay);
  const bool shrinks = s.decoupled && s.weight_decay != 0;
  const Average first(1 - s.beta1);
  const SquareAverage second(s.beta2);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    V p = at.read(x.parameter);
    if (shrinks) p = hn::Mul(p, keep);
    const V g = gradient(at.read(x.gradient), p);
    const V m = first(at.read(x.first_moment), g);
    const V v = second(at.read(x.second_moment), g);
    at.write(m, x.first_moment);
    at.write(v, x.second_moment);
    V update = hn::Mul(size, m);
    if (rectified) update = hn::Div(update, hn::Add(hn::Sqrt(v), eps));
    at.write(hn::Sub(p, update), x.parameter);
  });
}

void adadelta(const Adadelta& s, const AdadeltaArgs& x, Index begin, Index end) {
  const V lr = set_double(*x.lr), eps = set_double(s.eps);
  const Gradient gradient(s.maximize, s.weight_decay);
  const SquareAverage average(s.rho);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    const V p = at.read(x.parameter);
    const V g = gradient(at.read(x.gradient), p);
    const V v = average(at.read(x.square_average), g), d = at.read(x.delta_average);
    at.write(v, x.square_average);
    const V delta = hn::Mul(hn::Div(hn::Sqrt(hn::Add(d, eps)), hn::Sqrt(hn::Add(v, eps))), g);
    at.write(average(d, delta), x.delta_average);
    at.write(hn::NegMulAdd(lr, delta, p), x.parameter);
  });
}

void rprop(const Rprop& s, const RpropArgs& x, Index begin, Index end) {
  const V shrink = set_double(s.shrink), grow = set_double(s.grow), smallest = set_double(s.smallest),
          largest = set_double(s.largest);
  const Gradient gradient(s.maximize, 0);
  each_place(begin, end, [&](auto at) HWY_ATTR {
    const V p = at.read(x.parameter), g = gradient(at.read(x.gradient), p);
    const V agreement = hn::Mul(g, at.read(x.previous));
    const auto turned = hn::Lt(agreement, zero());
    const V factor = hn::IfThenElse(turned, shrink, hn::IfThenElse(hn::Gt(agreement, zero()), grow, set(1.F)));
    const V size = clamp(hn::Mul(at.read(x.step_size), factor), smallest, largest);
    at.write(size, x.step_size);
    const V kept = hn::IfThenElse(turned, zero(), g);
    at.write(kept, x.previous);
    const V step = hn::IfThenElse(hn::Eq(kept, zero()), zero(), hn::CopySign(size, kept));
    at.write(hn::Sub(p, step), x.parameter);
  });
}

}  // namespace

AdamFn SelectAdam(const Adam& s) {
  if (s.decoupled) return s.amsgrad ? adam<true, true> : adam<true, false>;
  return s.amsgrad ? adam<false, true> : adam<false, false>;
}
void RunSgd(const Sgd& s, const SgdArgs& x, Index begin, Index end) { sgd(s, x, begin, end); }
void RunRmsProp(const RmsProp& s, const RmsPropArgs& x, Index begin, Index end) { rms_prop(s, x, begin, end); }
void RunAdagrad(const Adagrad& s, const AdagradArgs& x, Index begin, Index end) { adagrad(s, x, begin, end); }
void RunAdamax(const Adamax& s, const AdamaxArgs& x, Index begin, Index end) { adamax(s, x, begin, end); }
void RunNAdam(const NAdam& s, const NAdamArgs& x, Index begin, Index end) { nadam(s, x, begin, end); }
void RunAdadelta(const Adadelta& s, const AdadeltaArgs& x, Index begin, Index end) { adadelta(s, x, begin, end); }
void RunRprop(const Rprop& s, const RpropArgs& x, Index begin, Index end) { rprop(s, x, begin, end); }
void RunRAdam(const RAdam& s, const RAdamArgs& x, Index begin, Index end) { radam(s, x, begin, end); }

double SumOfSquares(const float* x, Index n) {
  double total = 0;
  constexpr Index block = 4096;
  for (Index i = 0; i < n; i += block) {
    const Index end = std::min(n, i + block);
    Sums sums;
    Index j = i;
    for (; j + 4 * kLanesSigned <= end; j += 4 * kLanesSigned) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; u++) {
        const V v = load(x + j + u * kLanesSigned);
        sums.v[u] = hn::MulAdd(v, v, sums.v[u]);
      }
    }
    for (int u = 0; j + kLanesSigned <= end; j += kLanesSigned, u++) {
      const V v = load(x + j);
      sums.v[u] = hn::MulAdd(v, v, sums.v[u]);
    }
    if (j < end) {
      const V v = load_n(x + j, static_cast<std::size_t>(end - j));
      sums.v[3] = hn::MulAdd(v, v, sums.v[3]);
    }
    total += static_cast<double>(sums.total());
  }
  return total;
}

float MaxMagnitude(const float* x, Index n) {
  V largest = zero();
  each_place(0, n, [&](auto at) HWY_ATTR { largest = max_nan(largest, absolute(at.read(x))); });
  return max_of_lanes_nan(largest);
}

void Scale(float* x, const float* factor, Index n) {
  const V f = set(*factor);
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(hn::Mul(at.read(x), f), x); });
}

void ClampArray(float* x, float low, float high, Index n) {
  const V l = set(low), h = set(high);
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(clamp(at.read(x), l, h), x); });
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(SelectAdam);
HWY_EXPORT(RunSgd);
HWY_EXPORT(RunRmsProp);
HWY_EXPORT(RunAdagrad);
HWY_EXPORT(RunAdamax);
HWY_EXPORT(RunNAdam);
HWY_EXPORT(RunRAdam);
HWY_EXPORT(RunAdadelta);
HWY_EXPORT(RunRprop);
HWY_EXPORT(SumOfSquares);
HWY_EXPORT(MaxMagnitude);
HWY_EXPORT(Scale);
HWY_EXPORT(ClampArray);

AdamFn select_adam(const Adam& settings) { return LEVIN_BEST(SelectAdam)(settings); }
SgdFn select_sgd(const Sgd&) { return LEVIN_BEST(RunSgd); }
RmsPropFn select_rms_prop(const RmsProp&) { return LEVIN_BEST(RunRmsProp); }
AdagradFn select_adagrad(const Adagrad&) { return LEVIN_BEST(RunAdagrad); }
AdamaxFn select_adamax(const Adamax&) { return LEVIN_BEST(RunAdamax); }
NAdamFn select_nadam(const NAdam&) { return LEVIN_BEST(RunNAdam); }
RAdamFn select_radam(const RAdam&) { return LEVIN_BEST(RunRAdam); }
AdadeltaFn select_adadelta(const Adadelta&) { return LEVIN_BEST(RunAdadelta); }
RpropFn select_rprop(const Rprop&) { return LEVIN_BEST(RunRprop); }
SumOfSquaresFn select_sum_of_squares() { return LEVIN_BEST(SumOfSquares); }
MaxMagnitudeFn select_max_magnitude() { return LEVIN_BEST(MaxMagnitude); }
ScaleFn select_scale() { return LEVIN_BEST(Scale); }
ClampFn select_clamp() { return LEVIN_BEST(ClampArray); }

void nadam_advance(const NAdam& s, float step, float* mu_product) {
  const double mu = s.beta1 * (1 - 0.5 * std::pow(0.96, static_cast<double>(step) * s.momentum_decay));
  *mu_product = static_cast<float>(static_cast<double>(*mu_product) * mu);
}

}  // namespace levin::compile::kernels
#endif
