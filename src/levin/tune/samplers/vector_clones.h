// How loops for vector instructions are compiled. For .cpp files of this folder alone: it changes their optimisation.
#pragma once

#include <cstdint>

// One build serves all x86-64 processors: the loader picks the version. The sanitizers start too late for that. AVX2
// without fused multiply-add rounds as the plain version does, so results do not depend on the processor.
#if defined(__has_feature)  // clang
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define LEVIN_SANITIZED
#endif
#elif defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define LEVIN_SANITIZED
#endif
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(LEVIN_SANITIZED)
#define LEVIN_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define LEVIN_VECTOR_CLONES
#endif

// Comparisons may be evaluated ahead of their turn: without that GCC vectorises no loop with a choice in it; and a
// square root need not set errno.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3,no-trapping-math,no-math-errno")
#endif

namespace levin::tune::detail {

/**
 * exp(x) for x <= 0 by 2^i * exp(r), |r| <= ln 2 / 2, with Taylor's polynomial of degree 12 (relative error below
 * 2e-16); what lies below -700 counts as -700, so that 2^i stays a normal number.
 */
[[gnu::always_inline]] inline double fast_exp(double value) {
  constexpr double log2e = 1.4426950408889634, ln2_high = 6.93147180369123816490e-01,
                   ln2_low = 1.90821492927058770002e-10;
  constexpr double shifter = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to a whole number in the low bits
  const double x = value > -700.0 ? value : -700.0;
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
  // The builtin, since std::bit_cast stays a call in functions with a target of their own.
  return p * __builtin_bit_cast(double, (__builtin_bit_cast(std::uint64_t, t) + 1023) << 52);
}

}  // namespace levin::tune::detail
