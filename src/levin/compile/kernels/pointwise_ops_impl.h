// The loops of single pointwise operations. Internal to the kernels.
#pragma once

#include <levin/compile/kernels/pointwise.h>

#include <cstddef>

namespace levin::compile::kernels {

struct PointwiseParameters {
  float p = 0, q = 0, r = 0;
};

/**
 * out[i] = f(a[i], b[i], c[i]) for i < n. Operands that an operation does not have are not read. out may be an
 * operand.
 */
using PointwiseLoop = void (*)(const float* a, const float* b, const float* c, float* out, std::size_t n,
                               const PointwiseParameters& parameters);

/** The loop of an operation; null where the other file has it. */
PointwiseLoop basic_loop(const PointwiseOp& op);
PointwiseLoop function_loop(const PointwiseOp& op);
PointwiseLoop activation_loop(const PointwiseOp& op);

/** The sum of n elements. */
using SumLoop = float (*)(const float* x, std::size_t n);
SumLoop sum_loop();

}  // namespace levin::compile::kernels
