// TimeVaryingProcess: a Gaussian process whose past matters less and less.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/samplers/gaussian_process.h>

#include <cstddef>
#include <span>
#include <vector>

namespace levin::tune {

/**
 * variance * exp(-|x - x'|^2 / lengthscale) * (1 - epsilon)^(|t - t'| / 2), where t is the first coordinate and x the
 * others (Bogunovic et al. 2016, "Time-varying Gaussian process bandit optimization"). Without noise; where points
 * coincide, as much is added to the diagonal as it takes.
 */
class LEVIN_API TimeVaryingProcess {
 public:
  struct Params {
    double variance = 1, lengthscale = 1, epsilon = 0.1;
  };

  /** With given parameters; `points`: a row each. Throws Error when nothing makes the kernel positive definite. */
  TimeVaryingProcess(Matrix points, std::vector<double> values, Params params);
  /** With the parameters of the largest likelihood within 1e-5 to 1e5, epsilon up to 0.5. */
  static TimeVaryingProcess fit(const Matrix& points, const std::vector<double>& values);

  /** Mean and variance at a point, and their derivatives by each coordinate but the first, where wanted. */
  struct Posterior {
    double mean = 0, variance = 0;
    std::vector<double> d_mean = {}, d_variance = {};
  };
  Posterior posterior(std::span<const double> x, bool derivatives = false) const;

  /** log p(values). */
  double log_likelihood() const noexcept { return log_likelihood_; }
  const Params& params() const noexcept { return params_; }
  std::size_t size() const noexcept { return points_.rows; }

 private:
  Matrix points_;
  Params params_;
  Matrix inverse_;              // K^-1
  std::vector<double> solved_;  // K^-1 values
  double log_likelihood_ = 0;
};

}  // namespace levin::tune
