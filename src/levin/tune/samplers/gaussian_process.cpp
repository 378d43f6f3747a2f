#include <levin/tune/samplers/gaussian_process.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/tune/samplers/dense.h>
#include <levin/tune/samplers/lbfgs.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin::tune {
namespace {

using detail::dot;

// The negative log of (likelihood times prior) by the logs of the parameters.
class Fit {
 public:
  Fit(const Matrix& points, const std::vector<double>& values, const std::vector<char>& is_categorical,
      bool deterministic)
      : n_(points.rows), d_(points.cols), deterministic_(deterministic), values_(values) {
    // Squared differences of all pairs i > k, one row a coordinate.
    const std::size_t n_pairs = n_ * (n_ - 1) / 2;
    squares_ = Matrix(d_, n_pairs);
    for (std::size_t j = 0; j < d_; ++j) {
      double* out = squares_.row(j);
      for (std::size_t i = 1; i < n_; ++i) {
        for (std::size_t k = 0; k < i; ++k) {
          const double difference = points.row(i)[j] - points.row(k)[j];
          *out++ = is_categorical[j] ? (difference != 0 ? 1.0 : 0.0) : difference * difference;
        }
      }
    }
    kernel_.resize(n_pairs);
    slope_.resize(n_pairs);
    c_.resize(n_ * n_);
    inverse_root_.resize(n_ * n_);
    inverse_.resize(n_ * n_);
  }

  std::vector<double> raw(const KernelParams& params) const {
    std::vector<double> out;
    for (const double value : params.inverse_squared_lengthscales) out.push_back(std::log(value));
    out.push_back(std::log(params.scale));
    // A little above the floor: the start shall not be at minus infinity.
    out.push_back(std::log(std::max(params.noise - 0.99 * minimum_noise, 0.01 * minimum_noise)));
    return out;
  }

  KernelParams params(std::span<const double> raw) const {
    KernelParams out;
    for (std::size_t j = 0; j < d_; ++j) out.inverse_squared_lengthscales.push_back(std::exp(raw[j]));
    out.scale = std::exp(raw[d_]);
    out.noise = deterministic_ ? minimum_noise : std::exp(raw[d_ + 1]) + minimum_noise;
    return out;
  }

  double operator()(std::span<const double> raw, std::span<double> gradient) {
    const KernelParams p = params(raw);
    const double nothing = std::numeric_limits<double>::infinity();
    std::fill(kernel_.begin(), kernel_.end(), 0.0);
    for (std::size_t j = 0; j < d_; ++j) {
      if (!std::isfinite(p.inverse_squared_lengthscales[j])) return nothing;
      detail::add_scaled(p.inverse_squared_lengthscales[j], squares_.row(j), kernel_.data(), kernel_.size());
    }
    if (!std::isfinite(p.scale) || !std::isfinite(p.noise)) return nothing;
    detail::matern(p.scale, kernel_.data(), slope_.data(), kernel_.size());
    const double* pair = kernel_.data();
    for (std::size_t i = 0; i < n_; ++i) {
      std::copy(pair, pair + i, c_.begin() + static_cast<std::ptrdiff_t>(i * n_));
      c_[i * n_ + i] = p.scale + p.noise;
      pair += i;
    }
    if (!detail::cholesky(c_.data(), n_)) return nothing;
    detail::invert_lower(c_.data(), inverse_root_.data(), n_);
    std::vector<double> whitened(n_), solved(n_);
    detail::lower_times(inverse_root_.data(), values_.data(), whitened.data(), n_);
    detail::lower_transposed_times(inverse_root_.data(), whitened.data(), solved.data(), n_);
    double value = 0.5 * dot(whitened.data(), whitened.data(), n_) - GaussianProcess::log_prior(p);
    for (std::size_t i = 0; i < n_; ++i) value += std::log(c_[i * n_ + i]);

    // d value / d C = (C^-1 - solved solved') / 2; of the pairs only one of the two elements is kept, twice as heavy.
    detail::gram_of_lower(inverse_root_.data(), inverse_.data(), n_);
    double trace = 0, by_scale = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < n_; ++i) {
      for (std::size_t k = 0; k < i; ++k, ++at) {
        const double weight = inverse_[i * n_ + k] - solved[i] * solved[k];
        by_scale += weight * kernel_[at];
        slope_[at] *= weight;
      }
      trace += 0.5 * (inverse_[i * n_ + i] - solved[i] * solved[i]);
    }
    for (std::size_t j = 0; j < d_; ++j) {
      const double x = p.inverse_squared_lengthscales[j];
      gradient[j] = x * dot(squares_.row(j), slope_.data(), slope_.size()) - (0.1 / x - 0.1 * x);
    }
    gradient[d_] = by_scale + trace * p.scale - (1 - p.scale);
    gradient[d_ + 1] = deterministic_ ? 0 : (trace - (0.1 / p.noise - 30)) * (p.noise - minimum_noise);
    return value;
  }

 private:
  std::size_t n_, d_;
  bool deterministic_;
  const std::vector<double>& values_;
  Matrix squares_;
  std::vector<double> kernel_, slope_, c_, inverse_root_, inverse_;
};

}  // namespace

double GaussianProcess::log_prior(const KernelParams& params) {
  double sum = std::log(params.scale) - params.scale + 0.1 * std::log(params.noise) - 30 * params.noise;
  for (const double x : params.inverse_squared_lengthscales) sum -= 0.1 / x + 0.1 * x;
  return sum;
}

GaussianProcess::GaussianProcess(Matrix points, std::vector<double> values, std::vector<char> is_categorical,
                                 KernelParams params)
    : points_(std::move(points)),
      coordinates_(points_.cols, points_.rows),
      values_(std::move(values)),
      is_categorical_(std::move(is_categorical)),
      params_(std::move(params)),
      inverse_root_(points_.rows, points_.rows),
      solved_(points_.rows) {
  const std::size_t n = size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < dimension(); ++j) coordinates_.row(j)[i] = points_.row(i)[j];
  }
  Matrix c(n, n);
  for (std::size_t i = 0; i < n; ++i) {
    distances(points_[i], c.row(i));
    detail::matern(params_.scale, c.row(i), nullptr, n);
    c.row(i)[i] = params_.scale + params_.noise;
  }
  if (!detail::cholesky(c.data.data(), n)) throw Error("the kernel matrix is not positive definite");
  for (std::size_t i = 0; i < n; ++i) log_det_root_ += std::log(c.row(i)[i]);
  detail::invert_lower(c.data.data(), inverse_root_.data.data(), n);
  std::vector<double> whitened(n);
  detail::lower_times(inverse_root_.data.data(), values_.data(), whitened.data(), n);
  detail::lower_transposed_times(inverse_root_.data.data(), whitened.data(), solved_.data(), n);
}

GaussianProcess GaussianProcess::fit(Matrix points, std::vector<double> values, std::vector<char> is_categorical,
                                     const KernelParams* start, bool deterministic) {
  const KernelParams ones{.inverse_squared_lengthscales = std::vector<double>(points.cols, 1.0)};
  Fit fit(points, values, is_categorical, deterministic);
  const SmoothFunction loss = [&](std::span<const double> raw, std::span<double> gradient) {
    return fit(raw, gradient);
  };
  for (const KernelParams* from : {start, &ones}) {
    if (from == nullptr || from->inverse_squared_lengthscales.size() != points.cols) continue;
    const LbfgsResult found = minimize_lbfgs(loss, fit.raw(*from), {.gradient_tolerance = 1e-2});
    if (!found.finite) continue;
    try {
      return GaussianProcess(points, values, is_categorical, fit.params(found.x));
    } catch (const Error&) {
      continue;
    }
  }
  console::warn_once("a Gaussian process could not be fitted; its kernel's default parameters are used");
  return GaussianProcess(std::move(points), std::move(values), std::move(is_categorical), ones);
}

void GaussianProcess::distances(std::span<const double> x, double* r2) const {
  const std::size_t n = size();
  std::fill(r2, r2 + n, 0.0);
  for (std::size_t j = 0; j < dimension(); ++j) {
    const double weight = params_.inverse_squared_lengthscales[j];
    const double* coordinate = coordinates_.row(j);
    if (!is_categorical_[j]) {
      detail::add_squares(weight, x[j], coordinate, r2, n);
    } else {
      for (std::size_t i = 0; i < n; ++i) r2[i] += x[j] != coordinate[i] ? weight : 0;
    }
  }
}

double GaussianProcess::kernel(std::span<const double> a, std::span<const double> b, double* slope) const {
  double r2 = 0, by_r2 = 0;
  for (std::size_t j = 0; j < dimension(); ++j) {
    const double difference = a[j] - b[j];
    const double square = is_categorical_[j] ? (difference != 0 ? 1.0 : 0.0) : difference * difference;
    r2 += params_.inverse_squared_lengthscales[j] * square;
  }
  detail::matern(params_.scale, &r2, &by_r2, 1);
  if (slope != nullptr) *slope = by_r2;
  return r2;
}

void GaussianProcess::posterior(std::span<const double> x, bool derivatives, Posterior& out) const {
  const std::size_t n = size(), d = dimension();
  out.k.resize(n);
  out.slope.resize(n);
  out.solved.resize(n);
  distances(x, out.k.data());
  detail::matern(params_.scale, out.k.data(), out.slope.data(), n);
  std::vector<double> whitened(n);
  detail::lower_times(inverse_root_.data.data(), out.k.data(), whitened.data(), n);
  out.mean = dot(out.k.data(), solved_.data(), n);
  out.variance = std::max(params_.scale - dot(whitened.data(), whitened.data(), n), 0.0);
  detail::lower_transposed_times(inverse_root_.data.data(), whitened.data(), out.solved.data(), n);
  out.d_mean.assign(d, 0);
  out.d_variance.assign(d, 0);
  if (!derivatives) return;
  // d k_i / d x_j = slope_i * 2 * inverse_squared_lengthscale_j * (x_j - x_ij)
  std::vector<double> a(n), b(n);
  double a_sum = 0, b_sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    a[i] = out.slope[i] * solved_[i];
    b[i] = out.slope[i] * out.solved[i];
    a_sum += a[i];
    b_sum += b[i];
  }
  for (std::size_t j = 0; j < d; ++j) {
    if (is_categorical_[j]) continue;
    const double weight = 2 * params_.inverse_squared_lengthscales[j];
    out.d_mean[j] = weight * (x[j] * a_sum - dot(a.data(), coordinates_.row(j), n));
    out.d_variance[j] = -2 * weight * (x[j] * b_sum - dot(b.data(), coordinates_.row(j), n));
  }
}

void GaussianProcess::posterior(const Matrix& points, std::vector<double>& means,
                                std::vector<double>& variances) const {
  const std::size_t n = size();
  means.resize(points.rows);
  variances.resize(points.rows);
  std::vector<double> k(n), columns(n * detail::block);
  double norms[detail::block];
  for (std::size_t first = 0; first < points.rows; first += detail::block) {
    const std::size_t count = std::min(detail::block, points.rows - first);
    if (count < detail::block) std::fill(columns.begin(), columns.end(), 0.0);
    for (std::size_t c = 0; c < count; ++c) {
      distances(points[first + c], k.data());
      detail::matern(params_.scale, k.data(), nullptr, n);
      means[first + c] = dot(k.data(), solved_.data(), n);
      for (std::size_t i = 0; i < n; ++i) columns[i * detail::block + c] = k[i];
    }
    detail::lower_squared_norms(inverse_root_.data.data(), columns.data(), norms, n);
    for (std::size_t c = 0; c < count; ++c) variances[first + c] = std::max(params_.scale - norms[c], 0.0);
  }
}

double GaussianProcess::log_likelihood() const {
  return -log_det_root_ - 0.5 * dot(values_.data(), solved_.data(), size());
}

}  // namespace levin::tune
