// The inner loops of a mixture's log density, written so that the compiler can use vector instructions.
#pragma once

#include <levin/core/export.h>

#include <cstddef>

namespace levin::tune::detail {

/** acc_j[k] -= ((x[j] - center[k]) * inverse_sigma[k])^2 / 2 for four points j at once; the arrays do not overlap. */
void subtract_half_squares(double* __restrict acc0, double* __restrict acc1, double* __restrict acc2,
                           double* __restrict acc3, const double* __restrict x, const double* __restrict center,
                           const double* __restrict inverse_sigma, std::size_t n);

/** log(sum over k of exp(values[k])); values are overwritten. */
LEVIN_API double log_sum_exp(double* values, std::size_t n);

/** acc[k] += x[k]; the arrays do not overlap. */
void add(double* __restrict acc, const double* __restrict x, std::size_t n);

/** excess[k] = max over the four j of accj[k] - floor[j]; returns how many are above 0. */
std::size_t excess_over_floors(double* excess, const double* acc0, const double* acc1, const double* acc2,
                               const double* acc3, const double* floor, std::size_t n);

/** The largest of n >= 1 values. */
double maximum(const double* values, std::size_t n);

}  // namespace levin::tune::detail
