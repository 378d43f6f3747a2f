// Optimizers over flat arrays, one pass each, by torch.optim's formulas. Bias corrections are computed in double.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

// In all: elements [begin, end) are updated, and results do not depend on the split. `lr` and `step` are read at each
// call. `step` is the number of the step being made, from 1.

/** Adam and, with `decoupled`, AdamW. */
struct Adam {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = false;  ///< weight decay apart from the gradient: AdamW
  bool amsgrad = false, maximize = false;
};
struct AdamArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* first_moment = nullptr;       ///< exp_avg
  float* second_moment = nullptr;      ///< exp_avg_sq
  float* max_second_moment = nullptr;  ///< of amsgrad
  const double* lr = nullptr;
  const float* step = nullptr;
};
using AdamFn = void (*)(const Adam&, const AdamArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API AdamFn select_adam(const Adam& settings);

struct Sgd {
  double momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false, maximize = false;
};
struct SgdArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* momentum = nullptr;  ///< if `momentum` is not 0; the first step sets it to the gradient
  const double* lr = nullptr;
  const float* step = nullptr;  ///< null: not the first step
};
using SgdFn = void (*)(const Sgd&, const SgdArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API SgdFn select_sgd(const Sgd& settings);

struct RmsProp {
  double alpha = 0.99, eps = 1e-8, weight_decay = 0, momentum = 0;
  bool centered = false, maximize = false;
};
struct RmsPropArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* square_average = nullptr;
  float* gradient_average = nullptr;  ///< if centered
  float* momentum = nullptr;          ///< if `momentum` is not 0
  const double* lr = nullptr;
};
using RmsPropFn = void (*)(const RmsProp&, const RmsPropArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API RmsPropFn select_rms_prop(const RmsProp& settings);

struct Adagrad {
  double lr_decay = 0, weight_decay = 0, eps = 1e-10;
  bool maximize = false;
};
struct AdagradArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* sum = nullptr;
  const double* lr = nullptr;
  const float* step = nullptr;
};
using AdagradFn = void (*)(const Adagrad&, const AdagradArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API AdagradFn select_adagrad(const Adagrad& settings);

struct Adamax {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool maximize = false;
};
struct AdamaxArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* first_moment = nullptr;
  float* infinity_norm = nullptr;
  const double* lr = nullptr;
  const float* step = nullptr;
};
using AdamaxFn = void (*)(const Adamax&, const AdamaxArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API AdamaxFn select_adamax(const Adamax& settings);

struct NAdam {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0, momentum_decay = 0.004;
  bool decoupled = false, maximize = false;
};
struct NAdamArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  const float* mu_product = nullptr;  ///< of this step: see nadam_advance
  const double* lr = nullptr;
  const float* step = nullptr;
};
using NAdamFn = void (*)(const NAdam&, const NAdamArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API NAdamFn select_nadam(const NAdam& settings);
/** Multiplies the step's mu into `mu_product` (which begins at 1): once a step, before its update. */
LEVIN_API void nadam_advance(const NAdam& settings, float step, float* mu_product);

struct RAdam {
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = false, maximize = false;
};
struct RAdamArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* first_moment = nullptr;
  float* second_moment = nullptr;
  const double* lr = nullptr;
  const float* step = nullptr;
};
using RAdamFn = void (*)(const RAdam&, const RAdamArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API RAdamFn select_radam(const RAdam& settings);

struct Adadelta {
  double rho = 0.9, eps = 1e-6, weight_decay = 0;
  bool maximize = false;
};
struct AdadeltaArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* square_average = nullptr;
  float* delta_average = nullptr;  ///< of the squares of the updates
  const double* lr = nullptr;
};
using AdadeltaFn = void (*)(const Adadelta&, const AdadeltaArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API AdadeltaFn select_adadelta(const Adadelta& settings);

struct Rprop {
  double shrink = 0.5, grow = 1.2, smallest = 1e-6, largest = 50;  ///< etas and step_sizes
  bool maximize = false;
};
struct RpropArgs {
  float* parameter = nullptr;
  const float* gradient = nullptr;
  float* previous = nullptr;   ///< the last gradient; 0 where its sign has turned
  float* step_size = nullptr;  ///< begins at the learning rate
};
using RpropFn = void (*)(const Rprop&, const RpropArgs&, std::int64_t begin, std::int64_t end);
LEVIN_API RpropFn select_rprop(const Rprop& settings);

// Clipping.

/** The sum of squares of n elements, accumulated in blocks whose sums are added in double. */
using SumOfSquaresFn = double (*)(const float* x, std::int64_t n);
LEVIN_API SumOfSquaresFn select_sum_of_squares();
/** The largest magnitude of n elements; NaN if one is. 0 of none. */
using MaxMagnitudeFn = float (*)(const float* x, std::int64_t n);
LEVIN_API MaxMagnitudeFn select_max_magnitude();
/** x *= *factor. */
using ScaleFn = void (*)(float* x, const float* factor, std::int64_t n);
LEVIN_API ScaleFn select_scale();
/** x = min(max(x, low), high); NaN stays. */
using ClampFn = void (*)(float* x, float low, float high, std::int64_t n);
LEVIN_API ClampFn select_clamp();

}  // namespace levin::compile::kernels
