#include <levin/tune/samplers/vector_math.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

// One build serves all x86-64 processors: the loader picks the version. The sanitizers start too late for that. AVX2
// without fused multiply-add rounds as the plain version does, so results do not depend on the processor.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)
#define LEVIN_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define LEVIN_VECTOR_CLONES
#endif

// Comparisons may be evaluated ahead of their turn: without that GCC vectorises no loop with a choice in it.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-trapping-math")
#endif

namespace levin::tune::detail {
namespace {

constexpr std::size_t lanes = 8;

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
double log_sum_exp(double* values, std::size_t n) {
  double top[lanes];
  std::fill_n(top, lanes, -std::numeric_limits<double>::infinity());
  const std::size_t whole = n / lanes * lanes;
  for (std::size_t k = 0; k < whole; k += lanes) {
    for (std::size_t j = 0; j < lanes; ++j) top[j] = values[k + j] > top[j] ? values[k + j] : top[j];
  }
  double max = *std::max_element(top, top + lanes);
  for (std::size_t k = whole; k < n; ++k) max = std::max(max, values[k]);
  if (std::isinf(max)) return max;

  // exp by 2^i * exp(r), |r| <= ln 2 / 2, with Taylor's polynomial of degree 12 (relative error below 2e-16). What lies
  // 700 below the largest counts as nothing in a double's sum; the clamp keeps 2^i a normal number.
  constexpr double log2e = 1.4426950408889634, ln2_high = 6.93147180369123816490e-01,
                   ln2_low = 1.90821492927058770002e-10;
  constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number in the low bits
  for (std::size_t k = 0; k < n; ++k) {
    const double shifted = values[k] - max;
    const double x = shifted > -700.0 ? shifted : -700.0;
    const double t = x * log2e + shifter;
    const double i = t - shifter;
    const double r = (x - i * ln2_high) - i * ln2_low;
    double p = 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    const std::uint64_t scale = (std::bit_cast<std::uint64_t>(t) + 1023) << 52;
    values[k] = p * std::bit_cast<double>(scale);
  }
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
