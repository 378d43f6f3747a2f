// Sums, means, largest and smallest elements over everything, leading, middle or trailing dimensions.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/**
 * Reduces the middle dimension of x[outer, reduced, inner] to y[outer, inner]. Everything: outer = inner = 1; columns
 * (a bias's gradient): outer = 1; rows: inner = 1. `maximum` and `minimum` are NaN where an element is (ATen's amax,
 * amin). Nothing reduced: sum 0, mean NaN, maximum -inf, minimum inf.
 */
struct Reduce {
  enum class Kind { sum, mean, maximum, minimum };
  Kind kind = Kind::sum;
  std::int64_t outer = 1, reduced = 1, inner = 1;
  bool accumulate = false;  ///< of sums and means: adds to what is in y

  std::int64_t results() const { return outer * inner; }
};

/**
 * Computes results [begin, end) of outer * inner; the order of additions does not depend on the range. y must not be
 * x.
 */
using ReduceFn = void (*)(const Reduce&, const float* x, float* y, std::int64_t begin, std::int64_t end);
LEVIN_API ReduceFn select_reduce(const Reduce& settings);

}  // namespace levin::compile::kernels
