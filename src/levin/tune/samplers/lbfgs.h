// Minimisation of a smooth function within bounds.
#pragma once

#include <levin/core/export.h>

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace levin::tune {

/** The value at `x`, its gradient written to `gradient`. */
using SmoothFunction = std::function<double(std::span<const double> x, std::span<double> gradient)>;

struct LbfgsOptions {
  std::vector<double> lower = {}, upper = {};  ///< bounds by coordinate; none by default
  std::int64_t max_iterations = 200;
  double gradient_tolerance = 1e-5;  ///< of the largest element of the projected gradient
  double value_tolerance = 2.2e-9;   ///< of a step's gain, relative to the value
};

struct LbfgsResult {
  std::vector<double> x;
  double value = 0;
  std::int64_t n_iterations = 0;
  bool finite = true;  ///< false when the function was not finite at the start
};

/**
 * Limited-memory BFGS (10 pairs) in the coordinates that are not held at a bound, with a backtracking line search along
 * the projected step (after Byrd et al. 1995, "A limited memory algorithm for bound constrained optimization").
 */
LEVIN_API LbfgsResult minimize_lbfgs(const SmoothFunction& function, std::vector<double> start,
                                     const LbfgsOptions& options = {});

}  // namespace levin::tune
