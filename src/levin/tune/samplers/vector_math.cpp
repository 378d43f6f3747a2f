#include <levin/tune/samplers/vector_math.h>

#include <levin/tune/samplers/vector_clones.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace levin::tune::detail {
namespace {

constexpr std::size_t lanes = 8;

[[gnu::always_inline]] inline double largest(const double* values, std::size_t n) {
  double top[lanes];
  std::fill_n(top, lanes, -std::numeric_limits<double>::infinity());
  const std::size_t whole = n / lanes * lanes;
  for (std::size_t k = 0; k < whole; k += lanes) {
    for (std::size_t j = 0; j < lanes; ++j) top[j] = values[k + j] > top[j] ? values[k + j] : top[j];
  }
  double max = top[0];
  for (const double value : top) max = value > max ? value : max;
  for (std::size_t k = whole; k < n; ++k) max = values[k] > max ? values[k] : max;
  return max;
}

}  // namespace

LEVIN_VECTOR_CLONES
void subtract_half_squares(double* __restrict acc0, double* __restrict acc1, double* __restrict acc2,
                           double* __restrict acc3, const double* __restrict x, const double* __restrict center,
                           const double* __restrict inverse_sigma, std::size_t n) {
  const double x0 = x[0], x1 = x[1], x2 = x[2], x3 = x[3];
  for (std::size_t k = 0; k < n; ++k) {
    const double c = center[k], s = inverse_sigma[k];
    const double z0 = (x0 - c) * s, z1 = (x1 - c) * s, z2 = (x2 - c) * s, z3 = (x3 - c) * s;
    acc0[k] -= 0.5 * z0 * z0;
    acc1[k] -= 0.5 * z1 * z1;
    acc2[k] -= 0.5 * z2 * z2;
    acc3[k] -= 0.5 * z3 * z3;
  }
}

LEVIN_VECTOR_CLONES
void add(double* __restrict acc, const double* __restrict x, std::size_t n) {
  for (std::size_t k = 0; k < n; ++k) acc[k] += x[k];
}

LEVIN_VECTOR_CLONES
std::size_t excess_over_floors(double* __restrict excess, const double* __restrict acc0, const double* __restrict acc1,
                               const double* __restrict acc2, const double* __restrict acc3,
                               const double* __restrict floor, std::size_t n) {
  const double f0 = floor[0], f1 = floor[1], f2 = floor[2], f3 = floor[3];
  std::int64_t count = 0;
  for (std::size_t k = 0; k < n; ++k) {
    const double a = acc0[k] - f0, b = acc1[k] - f1, c = acc2[k] - f2, d = acc3[k] - f3;
    const double ab = a > b ? a : b, cd = c > d ? c : d, all = ab > cd ? ab : cd;
    excess[k] = all;
    count += all > 0;
  }
  return static_cast<std::size_t>(count);
}

LEVIN_VECTOR_CLONES
double maximum(const double* values, std::size_t n) { return largest(values, n); }

LEVIN_VECTOR_CLONES
double log_sum_exp(double* values, std::size_t n) {
  const std::size_t whole = n / lanes * lanes;
  const double max = largest(values, n);
  if (std::isinf(max)) return max;

  for (std::size_t k = 0; k < n; ++k) values[k] = fast_exp(values[k] - max);
  double sums[lanes] = {};
  for (std::size_t k = 0; k < whole; k += lanes) {
    for (std::size_t j = 0; j < lanes; ++j) sums[j] += values[k + j];
  }
  double sum = 0;
  for (const double part : sums) sum += part;
  for (std::size_t k = whole; k < n; ++k) sum += values[k];
  return max + std::log(sum);
}

}  // namespace levin::tune::detail
