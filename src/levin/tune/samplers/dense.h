// The few loops over dense matrices and kernel values that Gaussian processes spend their time in, written so that the
// compiler can use vector instructions. Matrices are square with n rows, by rows; of symmetric ones the lower half
// counts.
#pragma once

#include <levin/core/export.h>

#include <cstddef>

namespace levin::tune::detail {

/** A = L L', in place of A's lower half; false when A is not positive definite. */
LEVIN_API bool cholesky(double* a, std::size_t n);
/** inv = L^-1, its upper half 0. */
LEVIN_API void invert_lower(const double* l, double* inv, std::size_t n);
/** out = L' L for a lower triangular L, lower half. */
LEVIN_API void gram_of_lower(const double* l, double* out, std::size_t n);
/** y = L x and y = L' x for a lower triangular L. */
LEVIN_API void lower_times(const double* l, const double* x, double* y, std::size_t n);
LEVIN_API void lower_transposed_times(const double* l, const double* x, double* y, std::size_t n);

/** Columns that `lower_squared_norms` takes at once. */
inline constexpr std::size_t block = 8;
/** out[j] = |L x_j|^2 for the columns x_j of an n x block matrix. */
LEVIN_API void lower_squared_norms(const double* l, const double* x, double* out, std::size_t n);

LEVIN_API double dot(const double* a, const double* b, std::size_t n);
/** y += a x */
LEVIN_API void add_scaled(double a, const double* x, double* y, std::size_t n);
/** r2[i] += weight * (x - center[i])^2 */
LEVIN_API void add_squares(double weight, double x, const double* center, double* r2, std::size_t n);

/**
 * Matern's kernel (nu = 5/2) of squared distances, times `scale`: r2 becomes the value. `slope` gets the derivative by
 * the squared distance; it may be null.
 */
LEVIN_API void matern(double scale, double* r2, double* slope, std::size_t n);

}  // namespace levin::tune::detail
