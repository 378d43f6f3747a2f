// Scale: a numeric parameter on the continuous scale that samplers compute on.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/distribution.h>

namespace levin::tune {

/**
 * The logarithm for `log`; where there is a step, half a step more on both ends, so that each point has its full share.
 * As Optuna's _SearchSpaceTransform. For numeric distributions.
 */
class LEVIN_API Scale {
 public:
  explicit Scale(const Distribution& distribution);

  double low() const noexcept { return low_; }
  double high() const noexcept { return high_; }
  double width() const noexcept { return high_ - low_; }
  bool contains(double x) const noexcept { return x >= low_ && x <= high_; }

  double to_scale(double internal) const;
  /** The nearest internal value that the distribution contains. */
  double from_scale(double x) const;

  /** The same, with the scale's ends at 0 and 1. */
  double to_unit(double internal) const;
  double from_unit(double u) const { return from_scale(low_ + u * width()); }

 private:
  Distribution distribution_;
  double low_, high_;
};

}  // namespace levin::tune
