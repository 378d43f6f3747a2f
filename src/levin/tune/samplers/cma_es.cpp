#include <levin/tune/samplers/cma_es.h>

#include <levin/core/error.h>

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/LU>
#include <boost/math/special_functions/erf.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <string>

namespace levin::tune {
namespace {

using Eigen::ArrayXd;
using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

constexpr double eps = 1e-8;
constexpr double sigma_max = 1e32;

VectorXd to_vector(const std::vector<double>& x) {
  return Eigen::Map<const VectorXd>(x.data(), static_cast<Index>(x.size()));
}
std::vector<double> from_vector(const VectorXd& x) { return {x.data(), x.data() + x.size()}; }

double normal_cdf(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }
// The q-quantile of the chi-squared distribution with one degree of freedom.
double chi_squared_quantile(double q) {
  const double root = std::numbers::sqrt2 * boost::math::erf_inv(q);
  return root * root;
}

}  // namespace

class CmaEs::Impl {
 public:
  explicit Impl(const CmaEsOptions& options)
      : separable_(options.separable && options.start.mean.size() > 1),
        lr_adapt_(options.lr_adapt),
        n_(static_cast<Index>(options.start.mean.size())),
        mean_(to_vector(options.start.mean)),
        sigma_(options.start.sigma) {
    if (n_ == 0) throw Error("CMA-ES needs at least one parameter");
    const auto n = static_cast<double>(n_);
    population_ = options.population_size > 0 ? options.population_size
                                              : 4 + static_cast<std::int64_t>(std::floor(3 * std::log(n)));
    if (population_ < 2) {
      throw Error({.what = "CMA-ES needs a population of at least two",
                   .value = std::to_string(population_),
                   .where = "popsize",
                   .hint = {}});
    }
    set_weights(n);
    chi_n_ = std::sqrt(n) * (1 - 1 / (4 * n) + 1 / (21 * n * n));
    p_sigma_ = p_c_ = VectorXd::Zero(n_);
    if (separable_) {
      diagonal_ = ArrayXd::Ones(n_);
    } else if (options.start.cov.empty()) {
      c_ = MatrixXd::Identity(n_, n_);
    } else {
      c_ = Eigen::Map<const Eigen::Matrix<double, -1, -1, Eigen::RowMajor>>(options.start.cov.data(), n_, n_);
    }
    tolx_ = 1e-12 * sigma_;
    history_.resize(2 * static_cast<std::size_t>(10 + std::ceil(30 * n / static_cast<double>(population_))), 0);
    e_mean_ = VectorXd::Zero(n_);
    e_sigma_ = MatrixXd::Zero(lr_adapt_ ? n_ : 0, lr_adapt_ ? n_ : 0);
    decompose();
    set_margin(options.steps);
  }

  Proposal ask(Rng& rng) const {
    const auto draw = [&] {
      VectorXd z(n_);
      for (double& value : z) value = rng.normal();
      return VectorXd(mean_ + sigma_ * (separable_ ? VectorXd(d_.array() * z.array()) : VectorXd(bd_ * z)));
    };
    const auto inside = [&](const VectorXd& x) {
      for (Index i = 0; i < n_; ++i) {
        if (!is_discrete(i) && !(x[i] >= 0 && x[i] <= 1)) return false;
      }
      return true;
    };
    VectorXd x = draw();
    for (Index i = 1; i < 10 * n_ && !inside(x); ++i) x = draw();
    for (Index i = 0; i < n_; ++i) {
      if (!is_discrete(i)) x[i] = std::clamp(x[i], 0.0, 1.0);
    }
    VectorXd point = x;
    for (Index i = 0; i < n_; ++i) {
      if (is_discrete(i)) point[i] = cell(i, (x[i] - mean_[i]) * a_[i] + mean_[i]) * steps_[i];
    }
    return {from_vector(point), from_vector(x)};
  }

  void tell(std::vector<std::pair<std::vector<double>, double>> solutions) {
    if (!std::cmp_equal(solutions.size(), population_)) {
      throw Error(
          {.what = "a generation is told as a whole",
           .value = std::to_string(solutions.size()) + " solutions for a population of " + std::to_string(population_),
           .where = "CmaEs::tell",
           .hint = {}});
    }
    ++generation_;
    std::stable_sort(solutions.begin(), solutions.end(),
                     [](const auto& a, const auto& b) { return a.second < b.second; });
    const auto slot = 2 * (static_cast<std::size_t>(generation_) % (history_.size() / 2));
    history_[slot] = solutions.front().second;
    history_[slot + 1] = solutions.back().second;

    MatrixXd y(n_, population_);  // steps in units of sigma, best first
    for (Index k = 0; k < population_; ++k) {
      y.col(k) = (to_vector(solutions[static_cast<std::size_t>(k)].first) - mean_) / sigma_;
    }
    const VectorXd old_mean = mean_;
    const double old_sigma = sigma_;
    const MatrixXd old_c = lr_adapt_ ? c_ : MatrixXd();

    const Index mu = population_ / 2;
    const VectorXd y_w = y.leftCols(mu) * weights_.head(mu);
    mean_ += sigma_ * y_w;

    // Step size: is the path of the mean longer than that of a random walk?
    const VectorXd whitened = inverse_root(y_w);
    p_sigma_ = (1 - c_sigma_) * p_sigma_ + std::sqrt(c_sigma_ * (2 - c_sigma_) * mu_eff_) * whitened;
    const double norm = p_sigma_.norm();
    sigma_ = std::min(sigma_ * std::exp(c_sigma_ / d_sigma_ * (norm / chi_n_ - 1)), sigma_max);

    // Covariance: rank one from the path, rank mu from the generation.
    const auto n = static_cast<double>(n_);
    const double left = norm / std::sqrt(1 - std::pow(1 - c_sigma_, 2 * (static_cast<double>(generation_) + 1)));
    const double h = left < (1.4 + 2 / (n + 1)) * chi_n_ ? 1 : 0;
    p_c_ = (1 - cc_) * p_c_ + h * std::sqrt(cc_ * (2 - cc_) * mu_eff_) * y_w;
    const double keep = 1 + c1_ * (1 - h) * cc_ * (2 - cc_) - c1_ - cmu_ * weights_.sum();
    if (separable_) {
      diagonal_ = keep * diagonal_ + c1_ * p_c_.array().square() +
                  cmu_ * (y.leftCols(mu).array().square().matrix() * weights_).array();
    } else {
      VectorXd w = weights_;
      for (Index k = 0; k < population_; ++k) {
        if (w[k] < 0) w[k] *= n / (inverse_root(y.col(k)).squaredNorm() + eps);
      }
      c_ = keep * c_ + c1_ * p_c_ * p_c_.transpose() + cmu_ * (y * w.asDiagonal() * y.transpose());
      if (lr_adapt_) adapt_learning_rates(old_mean, old_sigma, old_c);
    }
    decompose();
    if (has_margin_) correct_margin();
  }

  bool should_stop() const {
    if (generation_ > static_cast<std::int64_t>(history_.size() / 2)) {
      const auto [low, high] = std::minmax_element(history_.begin(), history_.end());
      if (*high - *low < 1e-12) return true;
    }
    const ArrayXd diagonal = separable_ ? diagonal_ : ArrayXd(c_.diagonal().array());
    if ((sigma_ * diagonal < tolx_).all() && (sigma_ * p_c_.array() < tolx_).all()) return true;
    if (sigma_ * d_.maxCoeff() > 1e4) return true;
    if ((mean_.array() == mean_.array() + 0.2 * sigma_ * diagonal.sqrt()).any()) return true;
    const Index axis = static_cast<Index>(generation_ % n_);
    const VectorXd step = separable_ ? VectorXd(VectorXd::Constant(n_, d_[axis])) : VectorXd(bd_.col(axis));
    if ((mean_.array() == mean_.array() + 0.1 * sigma_ * step.array()).all()) return true;
    return d_.maxCoeff() / d_.minCoeff() > 1e14;
  }

  std::int64_t population_ = 0, generation_ = 0;
  const bool separable_, lr_adapt_;
  const Index n_;
  VectorXd mean_;
  double sigma_;
  MatrixXd c_;
  ArrayXd diagonal_;  // instead of c_ when separable

 private:
  void set_weights(double n) {
    const Index mu = population_ / 2;
    if (separable_) {
      weights_.resize(mu);
      for (Index i = 0; i < mu; ++i) {
        weights_[i] = std::log(static_cast<double>(mu) + 1) - std::log(static_cast<double>(i) + 1);
      }
      weights_ /= weights_.sum();
      mu_eff_ = 1 / weights_.squaredNorm();
      c1_ = 2 / ((n + 1.3) * (n + 1.3) + mu_eff_);
      const double full = 2 / mu_eff_ / ((n + std::numbers::sqrt2) * (n + std::numbers::sqrt2)) +
                          (1 - 1 / mu_eff_) * std::min(1.0, (2 * mu_eff_ - 1) / ((n + 2) * (n + 2) + mu_eff_));
      cmu_ = (n + 2) / 3 * full;
      c_sigma_ = (mu_eff_ + 2) / (n + mu_eff_ + 3);
      cc_ = 4 / (n + 4);
    } else {
      VectorXd raw(population_);
      for (Index i = 0; i < population_; ++i) {
        raw[i] = std::log((static_cast<double>(population_) + 1) / 2) - std::log(static_cast<double>(i) + 1);
      }
      const auto effective = [](const auto& part) { return part.sum() * part.sum() / part.squaredNorm(); };
      mu_eff_ = effective(raw.head(mu));
      const double mu_eff_minus = effective(raw.tail(population_ - mu));
      c1_ = 2 / ((n + 1.3) * (n + 1.3) + mu_eff_);
      cmu_ = std::min(1 - c1_ - 1e-8, 2 * (mu_eff_ - 2 + 1 / mu_eff_) / ((n + 2) * (n + 2) + mu_eff_));
      const double least =
          std::min({1 + c1_ / cmu_, 1 + 2 * mu_eff_minus / (mu_eff_ + 2), (1 - c1_ - cmu_) / (n * cmu_)});
      const double positive = raw.cwiseMax(0).sum(), negative = -raw.cwiseMin(0).sum();
      weights_ = raw.unaryExpr([&](double w) { return w >= 0 ? w / positive : least * w / negative; });
      c_sigma_ = (mu_eff_ + 2) / (n + mu_eff_ + 5);
      cc_ = (4 + mu_eff_ / n) / (n + 4 + 2 * mu_eff_ / n);
    }
    d_sigma_ = 1 + 2 * std::max(0.0, std::sqrt((mu_eff_ - 1) / (n + 1)) - 1) + c_sigma_;
  }

  // C = B diag(d^2) B'.
  void decompose() {
    if (separable_) {
      d_ = (diagonal_ < 0).select(eps, diagonal_).sqrt().matrix();
      return;
    }
    c_ = (c_ + c_.transpose()).eval() / 2;
    const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(c_);
    const bool negative = (solver.eigenvalues().array() < 0).any();
    d_ = solver.eigenvalues().unaryExpr([](double v) { return std::sqrt(v < 0 ? eps : v); });
    b_ = solver.eigenvectors();
    bd_ = b_ * d_.asDiagonal();
    if (negative) c_ = bd_ * bd_.transpose();
  }

  // C^(-1/2) y
  VectorXd inverse_root(const VectorXd& y) const {
    if (separable_) return y.array() / d_.array();
    return b_ * ((b_.transpose() * y).array() / d_.array()).matrix();
  }

  void adapt_learning_rates(const VectorXd& old_mean, double old_sigma, const MatrixXd& old_c) {
    constexpr double alpha = 1.4, beta_mean = 0.1, beta_sigma = 0.03, gamma = 0.1;
    const MatrixXd old_s = old_sigma * old_sigma * old_c, s = sigma_ * sigma_ * c_;
    const VectorXd step = mean_ - old_mean;
    const MatrixXd change = s - old_s;
    // Both steps as seen in the old distribution's own coordinates.
    const MatrixXd root = b_ * d_.cwiseInverse().asDiagonal() * b_.transpose() / old_sigma;
    const VectorXd local_step = root * step;
    const MatrixXd local_change = root * change * root / std::numbers::sqrt2;
    e_mean_ = (1 - beta_mean) * e_mean_ + beta_mean * local_step;
    e_sigma_ = (1 - beta_sigma) * e_sigma_ + beta_sigma * local_change;
    v_mean_ = (1 - beta_mean) * v_mean_ + beta_mean * local_step.squaredNorm();
    v_sigma_ = (1 - beta_sigma) * v_sigma_ + beta_sigma * local_change.squaredNorm();
    const auto next_rate = [](double rate, double e, double v, double beta) {
      const double signal_to_noise = (e - beta / (2 - beta) * v) / (v - e);
      const double relative = std::clamp(signal_to_noise / alpha / rate - 1, -1.0, 1.0);
      return std::min(rate * std::exp(std::min(gamma * rate, beta) * relative), 1.0);
    };
    const double old_rate = eta_mean_;
    eta_mean_ = next_rate(eta_mean_, e_mean_.squaredNorm(), v_mean_, beta_mean);
    eta_sigma_ = next_rate(eta_sigma_, e_sigma_.squaredNorm(), v_sigma_, beta_sigma);
    mean_ = old_mean + eta_mean_ * step;
    const MatrixXd next = old_s + eta_sigma_ * change;
    const double log_det =
        Eigen::SelfAdjointEigenSolver<MatrixXd>(next, Eigen::EigenvaluesOnly).eigenvalues().array().log().sum();
    sigma_ = std::min(std::exp(log_det / 2 / static_cast<double>(n_)), sigma_max);
    c_ = next / (sigma_ * sigma_);
    sigma_ *= old_rate / eta_mean_;
  }

  // Margin: the points of discrete coordinate i are 0, step, 2 step, ..., 1.
  void set_margin(const std::vector<double>& steps) {
    has_margin_ = std::any_of(steps.begin(), steps.end(), [](double step) { return step > 0; });
    if (!has_margin_) return;
    steps_ = to_vector(steps).array();
    a_ = ArrayXd::Ones(n_);
    margin_ = 1 / static_cast<double>(n_ * population_);
  }
  bool is_discrete(Index i) const { return has_margin_ && steps_[i] > 0; }
  double n_cells(Index i) const { return std::ceil((1 + steps_[i] / 2) / steps_[i]); }

  // The index of the point next to x, the lower one on ties.
  double cell(Index i, double x) const {
    double index = std::clamp(std::floor(x / steps_[i] + 0.5), 0.0, n_cells(i) - 1);
    if (index > 0 && x <= border(i, index - 1)) --index;
    if (index < n_cells(i) - 1 && x > border(i, index)) ++index;
    return index;
  }
  // Between point `index` and the next one.
  double border(Index i, double index) const { return (index * steps_[i] + (index + 1) * steps_[i]) / 2; }

  // Every neighbouring point of a discrete coordinate keeps a probability of about `margin_`.
  void correct_margin() {
    for (Index i = 0; i < n_; ++i) {
      if (!is_discrete(i)) continue;
      double& m = mean_[i];
      const double at = cell(i, m), last = n_cells(i) - 2;
      const double low = border(i, std::clamp(at - 1, 0.0, last)), up = border(i, std::clamp(at, 0.0, last));
      const double scale = sigma_ * a_[i] * std::sqrt(c_(i, i));
      double p_low = normal_cdf((low - m) / scale), p_up = 1 - normal_cdf((up - m) / scale);
      const double p_mid = 1 - (p_low + p_up);
      if (std::max(p_low, p_up) > 0.5) {  // at an end of the range
        if (std::min(p_low, p_up) >= margin_) continue;
        const double sign = m > up ? 1 : (m < up ? -1 : 0);
        m = up + sign * sigma_ * a_[i] * std::sqrt(chi_squared_quantile(1 - 2 * margin_) * c_(i, i));
        continue;
      }
      p_low = std::max(p_low, margin_ / 2);
      p_up = std::max(p_up, margin_ / 2);
      const double excess = 1 - p_low - p_up - p_mid, total = p_low + p_mid + p_up - 3 * margin_ / 2;
      const double new_low = std::clamp(p_low + excess * (p_low - margin_ / 2) / total, 1e-10, 0.5 - 1e-10);
      const double new_up = std::clamp(p_up + excess * (p_up - margin_ / 2) / total, 1e-10, 0.5 - 1e-10);
      const double chi_low = std::sqrt(chi_squared_quantile(1 - 2 * new_low)),
                   chi_up = std::sqrt(chi_squared_quantile(1 - 2 * new_up));
      a_[i] = (up - low) / ((chi_low + chi_up) * sigma_ * std::sqrt(c_(i, i)));
      m = (low * chi_up + up * chi_low) / (chi_low + chi_up);
    }
  }

  VectorXd weights_;
  double mu_eff_ = 0, c1_ = 0, cmu_ = 0, c_sigma_ = 0, d_sigma_ = 0, cc_ = 0, chi_n_ = 0, tolx_ = 0;
  VectorXd p_sigma_, p_c_;
  VectorXd d_;                   // roots of C's eigenvalues
  MatrixXd b_, bd_;              // its eigenvectors, and those times d_
  std::vector<double> history_;  // best and worst values of the last generations

  double eta_mean_ = 1, eta_sigma_ = 1, v_mean_ = 0, v_sigma_ = 0;
  VectorXd e_mean_;
  MatrixXd e_sigma_;

  bool has_margin_ = false;
  double margin_ = 0;
  ArrayXd steps_, a_;
};

CmaEs::CmaEs(const CmaEsOptions& options) : impl_(std::make_unique<Impl>(options)) {}
CmaEs::~CmaEs() = default;
CmaEs::CmaEs(CmaEs&&) noexcept = default;
CmaEs& CmaEs::operator=(CmaEs&&) noexcept = default;

CmaEs::Proposal CmaEs::ask(Rng& rng) const { return impl_->ask(rng); }
void CmaEs::tell(std::vector<std::pair<std::vector<double>, double>> solutions) { impl_->tell(std::move(solutions)); }
bool CmaEs::should_stop() const { return impl_->should_stop(); }
std::int64_t CmaEs::population_size() const noexcept { return impl_->population_; }
std::int64_t CmaEs::generation() const noexcept { return impl_->generation_; }
std::vector<double> CmaEs::mean() const { return from_vector(impl_->mean_); }
double CmaEs::sigma() const noexcept { return impl_->sigma_; }

std::vector<double> CmaEs::covariance() const {
  const MatrixXd c = impl_->separable_ ? MatrixXd(impl_->diagonal_.matrix().asDiagonal()) : impl_->c_;
  return {c.data(), c.data() + c.size()};  // symmetric
}

CmaStart warm_start(std::vector<std::pair<std::vector<double>, double>> solutions) {
  const std::size_t best = solutions.size() / 10;
  if (best == 0) {
    throw Error({.what = "a warm start needs at least 10 solutions",
                 .value = std::to_string(solutions.size()),
                 .where = "warm_start",
                 .hint = {}});
  }
  std::stable_sort(solutions.begin(), solutions.end(),
                   [](const auto& a, const auto& b) { return a.second < b.second; });
  const auto n = static_cast<Index>(solutions.front().first.size());
  VectorXd mean = VectorXd::Zero(n);
  MatrixXd second = MatrixXd::Zero(n, n);
  for (std::size_t i = 0; i < best; ++i) {
    const VectorXd x = to_vector(solutions[i].first);
    mean += x / static_cast<double>(best);
    second += x * x.transpose() / static_cast<double>(best);
  }
  const MatrixXd cov = 0.01 * MatrixXd::Identity(n, n) + second - mean * mean.transpose();
  const double det = cov.determinant();
  const MatrixXd shape = cov / std::pow(det, 1 / static_cast<double>(n));
  return {.mean = from_vector(mean),
          .sigma = std::pow(det, 0.5 / static_cast<double>(n)),
          .cov = {shape.data(), shape.data() + shape.size()}};
}

}  // namespace levin::tune
