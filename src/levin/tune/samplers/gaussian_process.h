// GaussianProcess: regression with a Matern kernel, on points of the unit cube.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <span>
#include <vector>

namespace levin::tune {

/** Numbers in rows and columns. */
struct Matrix {
  std::size_t rows = 0, cols = 0;
  std::vector<double> data = {};

  Matrix() = default;
  Matrix(std::size_t n_rows, std::size_t n_cols) : rows(n_rows), cols(n_cols), data(n_rows * n_cols) {}
  double* row(std::size_t i) { return data.data() + i * cols; }
  const double* row(std::size_t i) const { return data.data() + i * cols; }
  std::span<const double> operator[](std::size_t i) const { return {row(i), cols}; }
};

struct KernelParams {
  std::vector<double> inverse_squared_lengthscales;
  double scale = 1;
  double noise = 1;
};

/** The smallest variance that is taken for noise. */
inline constexpr double minimum_noise = 1e-6;

/**
 * scale * Matern52(sum_j inverse_squared_lengthscale_j * d_j^2) + noise, where d_j is the difference of coordinate j,
 * or for choices 0 or 1 (Hamming distance). Priors, starting values and tolerances of the fit are those of Optuna 5's
 * GPSampler.
 */
class LEVIN_API GaussianProcess {
 public:
  /** With given kernel parameters. Throws Error when the kernel matrix is not positive definite. */
  GaussianProcess(Matrix points, std::vector<double> values, std::vector<char> is_categorical, KernelParams params);

  /**
   * With the parameters of the largest posterior density, searched from `start` and, if that leads nowhere, from all
   * ones. `deterministic`: the noise stays at its minimum.
   */
  static GaussianProcess fit(Matrix points, std::vector<double> values, std::vector<char> is_categorical,
                             const KernelParams* start = nullptr, bool deterministic = false);

  /** What the posterior is at a point; derivatives by coordinate (0 for choices) only when asked for. */
  struct Posterior {
    double mean = 0, variance = 0;
    std::vector<double> d_mean, d_variance;
    // For covariances with other points: kernel values, their slopes by the squared distance, and C^-1 k.
    std::vector<double> k, slope, solved;
  };
  void posterior(std::span<const double> x, bool derivatives, Posterior& out) const;
  /** Means and variances at many points. */
  void posterior(const Matrix& points, std::vector<double>& means, std::vector<double>& variances) const;

  /** The kernel between two points, and with `slope` its derivative by the squared distance. */
  double kernel(std::span<const double> a, std::span<const double> b, double* slope = nullptr) const;

  /** log p(values | points, params) without its constant. */
  double log_likelihood() const;
  /** The log of the prior density of the parameters, without its constant. */
  static double log_prior(const KernelParams& params);

  const KernelParams& params() const noexcept { return params_; }
  const Matrix& points() const noexcept { return points_; }
  bool is_categorical(std::size_t j) const { return is_categorical_[j] != 0; }
  std::size_t size() const noexcept { return points_.rows; }
  std::size_t dimension() const noexcept { return points_.cols; }

 private:
  void distances(std::span<const double> x, double* r2) const;

  Matrix points_;
  Matrix coordinates_;  // the points, by coordinate
  std::vector<double> values_;
  std::vector<char> is_categorical_;
  KernelParams params_;
  Matrix inverse_root_;         // L^-1, where C = L L'
  std::vector<double> solved_;  // C^-1 values
  double log_det_root_ = 0;     // log det L
};

}  // namespace levin::tune
