#include <levin/tune/samplers/dense.h>

#include <levin/tune/samplers/vector_clones.h>

#include <algorithm>
#include <cmath>

namespace levin::tune::detail {
namespace {

constexpr std::size_t lanes = 8;

// The loops below, inlined into their callers so that these are vectorised as wholes.
inline void add_scaled_inline(double a, const double* __restrict x, double* __restrict y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] += a * x[i];
}

inline double dot_inline(const double* a, const double* b, std::size_t n) {
  double sums[lanes] = {};
  const std::size_t whole = n / lanes * lanes;
  for (std::size_t i = 0; i < whole; i += lanes) {
    for (std::size_t j = 0; j < lanes; ++j) sums[j] += a[i + j] * b[i + j];
  }
  double sum = ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
  for (std::size_t i = whole; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

LEVIN_VECTOR_CLONES
bool cholesky(double* a, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    double* row = a + i * n;
    for (std::size_t j = 0; j < i; ++j) row[j] = (row[j] - dot_inline(row, a + j * n, j)) / a[j * n + j];
    const double rest = row[i] - dot_inline(row, row, i);
    if (!(rest > 0)) return false;
    row[i] = std::sqrt(rest);
  }
  return true;
}

LEVIN_VECTOR_CLONES
void invert_lower(const double* l, double* inv, std::size_t n) {
  std::fill(inv, inv + n * n, 0.0);
  for (std::size_t i = 0; i < n; ++i) {
    double* row = inv + i * n;
    for (std::size_t k = 0; k < i; ++k) add_scaled_inline(-l[i * n + k], inv + k * n, row, k + 1);
    row[i] = 1;
    const double scale = 1 / l[i * n + i];
    for (std::size_t j = 0; j <= i; ++j) row[j] *= scale;
  }
}

LEVIN_VECTOR_CLONES
void gram_of_lower(const double* l, double* out, std::size_t n) {
  std::fill(out, out + n * n, 0.0);
  for (std::size_t k = 0; k < n; ++k) {
    const double* row = l + k * n;
    for (std::size_t i = 0; i <= k; ++i) add_scaled_inline(row[i], row, out + i * n, i + 1);
  }
}

LEVIN_VECTOR_CLONES
void lower_times(const double* l, const double* x, double* y, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) y[i] = dot_inline(l + i * n, x, i + 1);
}

LEVIN_VECTOR_CLONES
void lower_transposed_times(const double* l, const double* x, double* y, std::size_t n) {
  std::fill(y, y + n, 0.0);
  for (std::size_t i = 0; i < n; ++i) add_scaled_inline(x[i], l + i * n, y, i + 1);
}

LEVIN_VECTOR_CLONES
void lower_squared_norms(const double* l, const double* x, double* out, std::size_t n) {
  double norms[block] = {};
  for (std::size_t i = 0; i < n; ++i) {
    double sums[block] = {};
    const double* row = l + i * n;
    for (std::size_t k = 0; k <= i; ++k) {
      for (std::size_t j = 0; j < block; ++j) sums[j] += row[k] * x[k * block + j];
    }
    for (std::size_t j = 0; j < block; ++j) norms[j] += sums[j] * sums[j];
  }
  std::copy(norms, norms + block, out);
}

LEVIN_VECTOR_CLONES
double dot(const double* a, const double* b, std::size_t n) { return dot_inline(a, b, n); }

LEVIN_VECTOR_CLONES
void add_scaled(double a, const double* x, double* y, std::size_t n) { add_scaled_inline(a, x, y, n); }

LEVIN_VECTOR_CLONES
void add_squares(double weight, double x, const double* __restrict center, double* __restrict r2, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const double difference = x - center[i];
    r2[i] += weight * difference * difference;
  }
}

LEVIN_VECTOR_CLONES
void matern(double scale, double* __restrict r2, double* __restrict slope, std::size_t n) {
  if (slope == nullptr) {
    for (std::size_t i = 0; i < n; ++i) {
      const double root = std::sqrt(5 * r2[i]);
      r2[i] = scale * (5.0 / 3 * r2[i] + root + 1) * fast_exp(-root);
    }
    return;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const double root = std::sqrt(5 * r2[i]);
    const double e = scale * fast_exp(-root);
    slope[i] = -5.0 / 6 * (root + 1) * e;
    r2[i] = (5.0 / 3 * r2[i] + root + 1) * e;
  }
}

}  // namespace levin::tune::detail
