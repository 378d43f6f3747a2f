// The normal distribution cut off at both ends, accurate far into the tails.
#pragma once

#include <levin/core/export.h>

namespace levin::tune {

/** log of the probability that a standard normal variable is below `x`; accurate for any x. */
LEVIN_API double log_normal_cdf(double x);

/** log of the probability that a standard normal variable falls between a and b; a < b, either may be far out. */
LEVIN_API double log_normal_mass(double a, double b);

/** A standard normal variable known to lie in [a, b], for many quantiles of one interval. */
class LEVIN_API TruncatedNormal {
 public:
  TruncatedNormal(double a, double b);
  /** The q-quantile, 0 <= q <= 1. */
  double quantile(double q) const;
  /** log of the probability that a standard normal variable lies in [a, b]: log_normal_mass(a, b). */
  double log_mass() const;

 private:
  double a_, b_;  // turned to the left side of 0 when `flipped_`
  bool flipped_;
  double left_, right_;  // mass below a and above b
};

/**
 * The q-quantile (0 <= q <= 1) of a standard normal variable known to lie in [a, b].
 * The numbers agree with scipy.stats.truncnorm.ppf.
 */
LEVIN_API double truncated_normal_quantile(double q, double a, double b);

}  // namespace levin::tune
