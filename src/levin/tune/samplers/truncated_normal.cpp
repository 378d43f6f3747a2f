#include <levin/tune/samplers/truncated_normal.h>

#include <boost/math/policies/policy.hpp>
#include <boost/math/special_functions/erf.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace levin::tune {
namespace {

const double half_log_2pi = 0.5 * std::log(2 * std::numbers::pi);

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

// x with normal_cdf(x) = p, for p in (0, 1/2].
double normal_quantile_left(double p) {
  using namespace boost::math::policies;
  using Quiet = policy<domain_error<ignore_error>, overflow_error<ignore_error>, underflow_error<ignore_error>,
                       promote_double<false>>;
  return -std::numbers::sqrt2 * boost::math::erfc_inv(2 * p, Quiet());
}

// x with log_normal_cdf(x) = log_p, where p itself is too small for a double: Newton's method, which converges
// quadratically from the leading term of the tail.
double normal_quantile_tail(double log_p) {
  double x = -std::sqrt(-2 * (log_p + half_log_2pi));
  for (int i = 0; i < 50; ++i) {
    const double log_cdf = log_normal_cdf(x);
    const double step = (log_cdf - log_p) * std::exp(log_cdf + 0.5 * x * x + half_log_2pi);
    x -= step;
    if (std::abs(step) < 1e-14 * std::abs(x)) break;
  }
  return x;
}

// log(exp(x) + exp(y))
double log_sum(double x, double y) {
  const double high = std::max(x, y), low = std::min(x, y);
  return low == -std::numeric_limits<double>::infinity() ? high : high + std::log1p(std::exp(low - high));
}

}  // namespace

double log_normal_cdf(double x) {
  if (x > 6) return -normal_cdf(-x);  // log(1 - tail)
  if (x > -20) return std::log(normal_cdf(x));
  // The asymptotic series of Mills' ratio (Abramowitz and Stegun 26.2.12); at |x| >= 20 it settles in a few terms.
  const double inverse_square = 1 / (x * x);
  double sum = 1, term = 1, before = 0;
  for (int i = 1; std::abs(before - sum) > std::numeric_limits<double>::epsilon(); ++i) {
    before = sum;
    term *= -(2 * i - 1) * inverse_square;
    sum += term;
  }
  return -0.5 * x * x - std::log(-x) - half_log_2pi + std::log(sum);
}

double log_normal_mass(double a, double b) {
  if (a > 0) return log_normal_mass(-b, -a);  // the left tail has the digits
  if (b > 0) return std::log1p(-normal_cdf(a) - normal_cdf(-b));
  const double log_b = log_normal_cdf(b);
  return log_b + std::log1p(-std::exp(log_normal_cdf(a) - log_b));
}

TruncatedNormal::TruncatedNormal(double a, double b)
    : a_(a >= 0 ? -b : a),
      b_(a >= 0 ? -a : b),
      flipped_(a >= 0),
      left_(normal_cdf(a_)),
      right_(b_ == 0 ? 0.5 : normal_cdf(-b_)) {}

double TruncatedNormal::quantile(double q) const {
  if (flipped_) q = 1 - q;
  const auto turned = [&](double x) { return flipped_ ? -x : x; };
  if (q <= 0) return turned(a_);
  if (q >= 1) return turned(b_);
  double x = 0;
  if (b_ > 0 || left_ > 1e-280) {
    // Count from whichever end is nearer, so that no digits of the tail are lost.
    const double mass = b_ > 0 ? 1 - left_ - right_ : normal_cdf(b_) - left_;
    const double below = left_ + q * mass, above = right_ + (1 - q) * mass;
    x = below <= 0.5 ? normal_quantile_left(below) : -normal_quantile_left(above);
  } else {
    x = normal_quantile_tail(log_sum(log_normal_cdf(a_), std::log(q) + log_normal_mass(a_, b_)));
  }
  return turned(std::clamp(x, a_, b_));
}

double TruncatedNormal::log_mass() const {
  if (!flipped_ && b_ > 0) return std::log1p(-left_ - right_);
  return flipped_ ? log_normal_mass(-b_, -a_) : log_normal_mass(a_, b_);
}

double truncated_normal_quantile(double q, double a, double b) { return TruncatedNormal(a, b).quantile(q); }

}  // namespace levin::tune
