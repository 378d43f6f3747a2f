// The normal distribution cut off at both ends, accurate far into the tails.
#pragma once

#include <levin/core/export.h>

namespace levin::tune {

/** log of the probability that a standard normal variable is below `x`; accurate for any x. */
LEVIN_API double log_normal_cdf(double x);

/** log of the probability that a standard normal variable falls between a and b; a < b, either may be far out. */
LEVIN_API double log_normal_mass(double a, double b);

/**
 * The q-quantile (0 <= q <= 1) of a standard normal variable known to lie in [a, b].
 * The numbers agree with scipy.stats.truncnorm.ppf.
 */
LEVIN_API double truncated_normal_quantile(double q, double a, double b);

}  // namespace levin::tune
