#include <levin/tune/schedulers/time_varying_process.h>

#include <levin/core/error.h>
#include <levin/tune/samplers/dense.h>
#include <levin/tune/samplers/lbfgs.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

namespace levin::tune {
namespace {

using Params = TimeVaryingProcess::Params;

constexpr double kJitter = 1e-10;

double squared_distance(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t j = 1; j < a.size(); ++j) sum += (a[j] - b[j]) * (a[j] - b[j]);
  return sum;
}

double kernel(std::span<const double> a, std::span<const double> b, const Params& p) {
  return p.variance * std::exp(-squared_distance(a, b) / p.lengthscale) *
         std::pow(1 - p.epsilon, 0.5 * std::abs(a[0] - b[0]));
}

// What the likelihood needs of K.
struct Solved {
  Matrix kernel, inverse;
  std::vector<double> solved;
  double log_likelihood = 0;
};

std::optional<Solved> solve(const Matrix& points, const std::vector<double>& values, const Params& params,
                            double jitter) {
  const std::size_t n = points.rows;
  Solved out{.kernel = Matrix(n, n), .inverse = Matrix(n, n), .solved = std::vector<double>(n)};
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j <= i; ++j) {
      out.kernel.row(i)[j] = out.kernel.row(j)[i] = kernel(points[i], points[j], params);
    }
  }
  Matrix root = out.kernel;
  for (std::size_t i = 0; i < n; ++i) root.row(i)[i] += jitter;
  if (!detail::cholesky(root.data.data(), n)) return std::nullopt;
  double log_det = 0;
  for (std::size_t i = 0; i < n; ++i) log_det += std::log(root.row(i)[i]);
  Matrix inverse_root(n, n);
  detail::invert_lower(root.data.data(), inverse_root.data.data(), n);
  detail::gram_of_lower(inverse_root.data.data(), out.inverse.data.data(), n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) out.inverse.row(j)[i] = out.inverse.row(i)[j];
  }
  for (std::size_t i = 0; i < n; ++i) out.solved[i] = detail::dot(out.inverse.row(i), values.data(), n);
  out.log_likelihood = -0.5 * detail::dot(values.data(), out.solved.data(), n) - log_det -
                       0.5 * static_cast<double>(n) * std::log(2 * std::numbers::pi);
  if (!std::isfinite(out.log_likelihood)) return std::nullopt;
  return out;
}

}  // namespace

TimeVaryingProcess::TimeVaryingProcess(Matrix points, std::vector<double> values, Params params)
    : points_(std::move(points)), params_(params) {
  for (double jitter = kJitter; jitter < 0.1; jitter *= 10) {
    if (auto solved = solve(points_, values, params_, jitter)) {
      inverse_ = std::move(solved->inverse);
      solved_ = std::move(solved->solved);
      log_likelihood_ = solved->log_likelihood;
      return;
    }
  }
  throw Error("the points of a time-varying process are not finite");
}

TimeVaryingProcess TimeVaryingProcess::fit(const Matrix& points, const std::vector<double>& values) {
  const auto params_of = [](std::span<const double> theta) {
    return Params{.variance = std::exp(theta[0]), .lengthscale = std::exp(theta[1]), .epsilon = std::exp(theta[2])};
  };
  // Minus the likelihood, by the logarithms of the parameters.
  const auto loss = [&](std::span<const double> theta, std::span<double> gradient) {
    const Params p = params_of(theta);
    std::fill(gradient.begin(), gradient.end(), 0.0);
    const auto s = solve(points, values, p, kJitter);
    if (!s) return std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < points.rows; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        const double weight = (i == j ? 0.5 : 1.0) * (s->solved[i] * s->solved[j] - s->inverse.row(i)[j]);
        const double k = s->kernel.row(i)[j], dt = std::abs(points.row(i)[0] - points.row(j)[0]);
        gradient[0] -= weight * k;
        gradient[1] -= weight * k * squared_distance(points[i], points[j]) / p.lengthscale;
        gradient[2] += weight * k * 0.5 * dt * p.epsilon / (1 - p.epsilon);
      }
    }
    return -s->log_likelihood;
  };
  const double low = std::log(1e-5), high = std::log(1e5);
  const Params start;
  const auto found = minimize_lbfgs(loss, {std::log(start.variance), std::log(start.lengthscale), std::log(start.epsilon)},
                                    {.lower = {low, low, low}, .upper = {high, high, std::log(0.5)}});
  return TimeVaryingProcess(points, values, found.finite ? params_of(found.x) : start);
}

TimeVaryingProcess::Posterior TimeVaryingProcess::posterior(std::span<const double> x, bool derivatives) const {
  const std::size_t n = points_.rows, d = points_.cols;
  std::vector<double> k(n), solved(n);
  for (std::size_t i = 0; i < n; ++i) k[i] = kernel(x, points_[i], params_);
  for (std::size_t i = 0; i < n; ++i) solved[i] = detail::dot(inverse_.row(i), k.data(), n);
  Posterior out{.mean = detail::dot(k.data(), solved_.data(), n),
                .variance = std::max(0.0, params_.variance - detail::dot(k.data(), solved.data(), n))};
  if (derivatives) {
    out.d_mean.assign(d - 1, 0);
    out.d_variance.assign(d - 1, 0);
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 1; j < d; ++j) {
        const double slope = -2 * (x[j] - points_.row(i)[j]) / params_.lengthscale * k[i];
        out.d_mean[j - 1] += solved_[i] * slope;
        out.d_variance[j - 1] -= 2 * solved[i] * slope;
      }
    }
  }
  return out;
}

}  // namespace levin::tune
