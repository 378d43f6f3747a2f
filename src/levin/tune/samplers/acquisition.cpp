#include <levin/tune/samplers/acquisition.h>

#include <levin/tune/pareto.h>
#include <levin/tune/samplers/dense.h>
#include <levin/tune/samplers/low_discrepancy.h>
#include <levin/tune/samplers/truncated_normal.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace levin::tune {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr double tiny = 1e-12;  // keeps logs and their slopes finite
constexpr double stabilizing_noise = 1e-12;
constexpr double tau = 1e-2;  // width of the smooth step that stands for "the constraint holds"
const double log_sqrt_2pi = 0.5 * std::log(2 * std::numbers::pi);

double log_normal_pdf(double z) { return -0.5 * z * z - log_sqrt_2pi; }

// log(1 / (1 + exp(-x))) and its derivative
double log_sigmoid(double x, double* slope) {
  const double e = std::exp(-std::abs(x));
  *slope = x >= 0 ? e / (1 + e) : 1 / (1 + e);
  return std::min(x, 0.0) - std::log1p(e);
}

// log(mean(exp(v))); `weights` get each element's share.
double log_mean_exp(const std::vector<double>& v, std::vector<double>& weights) {
  const double top = *std::max_element(v.begin(), v.end());
  weights.assign(v.size(), 1.0 / static_cast<double>(v.size()));
  if (std::isinf(top)) return top;
  double sum = 0;
  for (std::size_t i = 0; i < v.size(); ++i) sum += weights[i] = std::exp(v[i] - top);
  for (double& weight : weights) weight /= sum;
  return top + std::log(sum / static_cast<double>(v.size()));
}

Matrix normal_samples(std::size_t n, std::size_t dimension, std::uint64_t seed) {
  const SobolSequence sobol(dimension, seed);
  Matrix out(n, dimension);
  for (std::size_t s = 0; s < n; ++s) {
    const auto point = sobol.point(s);
    for (std::size_t j = 0; j < dimension; ++j) out.row(s)[j] = truncated_normal_quantile(point[j], -38, 38);
  }
  return out;
}

// The posterior at a point, given samples of what the running points will give: the same samples for every point.
class Fantasies {
 public:
  Fantasies(const GaussianProcess& gp, const Matrix& running, Matrix normals)
      : gp_(gp), running_(running), n_(running.rows), normals_(std::move(normals)), samples_(normals_.rows, n_) {
    std::vector<GaussianProcess::Posterior> at(n_);
    for (std::size_t r = 0; r < n_; ++r) gp.posterior(running[r], false, at[r]);
    Matrix covariance(n_, n_);
    for (std::size_t r = 0; r < n_; ++r) {
      solved_.push_back(at[r].solved);
      for (std::size_t q = 0; q < r; ++q) {
        covariance.row(r)[q] =
            gp.kernel(running[r], running[q]) - detail::dot(at[r].k.data(), at[q].solved.data(), gp.size());
      }
      covariance.row(r)[r] = at[r].variance + stabilizing_noise;
    }
    // Points that are (nearly) equal make it singular: a little more noise until it is not.
    Matrix root = covariance;
    for (double noise = 1e-10; !detail::cholesky(root.data.data(), n_); noise *= 10) {
      root = covariance;
      for (std::size_t r = 0; r < n_; ++r) root.row(r)[r] += noise;
    }
    inverse_root_ = Matrix(n_, n_);
    detail::invert_lower(root.data.data(), inverse_root_.data.data(), n_);
    // delta = root z, so covariance^-1 delta = root'^-1 z
    weights_ = Matrix(normals_.rows, n_);
    for (std::size_t s = 0; s < normals_.rows; ++s) {
      detail::lower_times(root.data.data(), normals_.row(s), samples_.row(s), n_);
      for (std::size_t r = 0; r < n_; ++r) samples_.row(s)[r] += at[r].mean;
      detail::lower_transposed_times(inverse_root_.data.data(), normals_.row(s), weights_.row(s), n_);
    }
  }

  const Matrix& samples() const { return samples_; }

  // The samples at `x`, and (s x d) their derivatives.
  void at(std::span<const double> x, bool derivatives, std::vector<double>& values, Matrix& slopes) const {
    const std::size_t d = x.size(), n_samples = normals_.rows;
    GaussianProcess::Posterior p;
    gp_.posterior(x, derivatives, p);
    std::vector<double> c(n_), whitened(n_), solved(n_);  // covariance with the running points
    Matrix dc(n_, d);
    for (std::size_t r = 0; r < n_; ++r) {
      double slope = 0;
      c[r] = gp_.kernel(x, running_[r], &slope) - detail::dot(p.k.data(), solved_[r].data(), gp_.size());
      if (!derivatives) continue;
      double sum = 0;
      for (std::size_t i = 0; i < gp_.size(); ++i) sum += p.slope[i] * solved_[r][i];
      for (std::size_t j = 0; j < d; ++j) {
        if (gp_.is_categorical(j)) continue;
        double weighted = 0;
        for (std::size_t i = 0; i < gp_.size(); ++i) weighted += p.slope[i] * solved_[r][i] * gp_.points().row(i)[j];
        const double weight = 2 * gp_.params().inverse_squared_lengthscales[j];
        dc.row(r)[j] = weight * (slope * (x[j] - running_.row(r)[j]) - (x[j] * sum - weighted));
      }
    }
    detail::lower_times(inverse_root_.data.data(), c.data(), whitened.data(), n_);
    detail::lower_transposed_times(inverse_root_.data.data(), whitened.data(), solved.data(), n_);
    const double variance = p.variance + stabilizing_noise - detail::dot(whitened.data(), whitened.data(), n_);
    const double deviation = std::sqrt(std::max(variance, 0.0));
    values.resize(n_samples);
    for (std::size_t s = 0; s < n_samples; ++s) {
      values[s] = p.mean + detail::dot(c.data(), weights_.row(s), n_) + deviation * normals_.row(s)[n_];
    }
    if (!derivatives) return;
    slopes = Matrix(n_samples, d);
    for (std::size_t j = 0; j < d; ++j) {
      double d_variance = p.d_variance[j];
      for (std::size_t r = 0; r < n_; ++r) d_variance -= 2 * solved[r] * dc.row(r)[j];
      const double d_deviation = variance > 0 ? d_variance / (2 * deviation) : 0;
      for (std::size_t s = 0; s < n_samples; ++s) {
        double slope = p.d_mean[j] + normals_.row(s)[n_] * d_deviation;
        for (std::size_t r = 0; r < n_; ++r) slope += weights_.row(s)[r] * dc.row(r)[j];
        slopes.row(s)[j] = slope;
      }
    }
  }

 private:
  const GaussianProcess& gp_;
  const Matrix& running_;
  std::size_t n_;
  Matrix normals_, samples_, inverse_root_, weights_;
  std::vector<std::vector<double>> solved_;  // C^-1 k of each running point
};

// The boxes of a front in terms of values to be maximised.
struct Boxes {
  std::size_t n_objectives = 0;
  std::vector<double> lower, width;  // by box, then by objective

  Boxes(std::vector<std::vector<double>> values, const std::vector<double>& reference)
      : n_objectives(reference.size()) {
    for (auto& point : values) {
      for (double& v : point) v = -v;
    }
    for (const Box& box : nondominated_boxes(values, reference)) {
      for (std::size_t m = 0; m < n_objectives; ++m) {
        lower.push_back(-box.upper[m]);
        width.push_back(std::max(box.upper[m] - box.lower[m], tiny));
      }
    }
  }

  // How much a point adds to the hypervolume; `slope` gets the derivatives.
  double improvement(const double* y, double* slope) const {
    double sum = 0;
    std::fill(slope, slope + n_objectives, 0.0);
    for (std::size_t at = 0; at < lower.size(); at += n_objectives) {
      double volume = 1;
      for (std::size_t m = 0; m < n_objectives; ++m) volume *= std::clamp(y[m] - lower[at + m], tiny, width[at + m]);
      sum += volume;
      for (std::size_t m = 0; m < n_objectives; ++m) {
        const double side = y[m] - lower[at + m];
        if (side > tiny && side < width[at + m]) slope[m] += volume / side;
      }
    }
    return sum;
  }
};

std::vector<double> reference_point(const Matrix& values) {
  std::vector<double> out(values.cols, -infinity);
  for (std::size_t i = 0; i < values.rows; ++i) {
    for (std::size_t m = 0; m < values.cols; ++m) out[m] = std::max(out[m], -values.row(i)[m]);
  }
  for (double& worst : out) worst = std::nextafter(std::max(1.1 * worst, 0.9 * worst), infinity);
  return out;
}

std::vector<std::vector<double>> to_rows(const Matrix& matrix) {
  std::vector<std::vector<double>> out;
  for (std::size_t i = 0; i < matrix.rows; ++i) out.emplace_back(matrix[i].begin(), matrix[i].end());
  return out;
}

// Slabs along the last coordinate, each with the decomposition of the points below it; a box that goes on in the next
// slab is prolonged.
std::vector<Box> boxes_below(std::vector<std::vector<double>> points, const std::vector<double>& reference,
                             std::size_t dimension) {
  const std::size_t last = dimension - 1;
  if (dimension == 1) {
    double upper = reference[0];
    for (const auto& point : points) upper = std::min(upper, point[0]);
    return {{.lower = {-infinity}, .upper = {upper}}};
  }
  std::sort(points.begin(), points.end(), [&](const auto& a, const auto& b) { return a[last] < b[last]; });
  std::vector<Box> done, open;  // both with `dimension` coordinates; the open ones end where the slab ends
  std::vector<std::vector<double>> below;
  double from = -infinity;
  for (std::size_t i = 0; i <= points.size(); ++i) {
    const double to = i < points.size() ? points[i][last] : reference[last];
    if (to > from) {
      std::vector<Box> next;
      for (Box& box : boxes_below(below, reference, dimension - 1)) {
        const auto same = [&](const Box& other) {
          return std::equal(box.lower.begin(), box.lower.end(), other.lower.begin()) &&
                 std::equal(box.upper.begin(), box.upper.end(), other.upper.begin());
        };
        const auto before = std::find_if(open.begin(), open.end(), same);
        box.lower.push_back(before == open.end() ? from : before->lower[last]);
        box.upper.push_back(to);
        if (before != open.end()) open.erase(before);
        next.push_back(std::move(box));
      }
      std::move(open.begin(), open.end(), std::back_inserter(done));
      open = std::move(next);
      from = to;
    }
    if (i == points.size()) break;
    const auto covers = [&](const std::vector<double>& a, const std::vector<double>& b) {
      for (std::size_t m = 0; m < last; ++m) {
        if (a[m] > b[m]) return false;
      }
      return true;
    };
    if (std::any_of(below.begin(), below.end(), [&](const auto& other) { return covers(other, points[i]); })) continue;
    std::erase_if(below, [&](const auto& other) { return covers(points[i], other); });
    below.push_back(points[i]);
  }
  std::move(open.begin(), open.end(), std::back_inserter(done));
  std::erase_if(done, [&](const Box& box) { return !(box.lower[0] < box.upper[0]); });
  return done;
}

}  // namespace

double log_expected_improvement(double z, double* slope) {
  double value = 0;
  if (z < -25) {
    // pdf(z) (1 - Mills' ratio |z|): the series of the difference, since the difference itself has no digits left.
    const double u = 1 / (z * z);
    value = log_normal_pdf(z) + std::log(u * (1 - u * (3 - u * (15 - u * (105 - u * 945)))));
  } else {
    value = std::log(0.5 * z * std::erfc(-z / std::numbers::sqrt2) + std::exp(log_normal_pdf(z)));
  }
  if (slope != nullptr) *slope = std::exp(log_normal_cdf(z) - value);
  return value;
}

std::vector<Box> nondominated_boxes(const std::vector<std::vector<double>>& losses,
                                    const std::vector<double>& reference) {
  std::vector<std::vector<double>> inside;
  for (const auto& point : losses) {
    bool below = true;
    for (std::size_t m = 0; m < reference.size(); ++m) below = below && point[m] < reference[m];
    if (below) inside.push_back(point);
  }
  const auto ranks = nondomination_ranks(inside);
  std::vector<std::vector<double>> front;
  for (std::size_t i = 0; i < inside.size(); ++i) {
    if (ranks[i] == 0) front.push_back(inside[i]);
  }
  return boxes_below(std::move(front), reference, reference.size());
}

class Acquisition::Impl {
 public:
  explicit Impl(AcquisitionSpec spec) : spec_(std::move(spec)) {
    const std::size_t d = spec_.objectives.front().dimension();
    lengthscales_.assign(d, 0);
    for (const auto& gp : spec_.objectives) {
      for (std::size_t j = 0; j < d; ++j) {
        lengthscales_[j] +=
            1 / std::sqrt(gp.params().inverse_squared_lengthscales[j]) / static_cast<double>(spec_.objectives.size());
      }
    }
    multi_ = spec_.objectives.size() > 1;
    // Before anything is feasible, several objectives have no hypervolume to improve: only the constraints count.
    nothing_feasible_ = multi_ ? spec_.feasible_values.rows == 0 : spec_.best == -infinity;
    sampled_ = spec_.running.rows > 0 && !(multi_ && nothing_feasible_);
    if (sampled_) {
      const std::size_t n_gps = spec_.objectives.size() + spec_.constraints.size();
      for (std::size_t g = 0; g < n_gps; ++g) {
        const bool objective = g < spec_.objectives.size();
        const GaussianProcess& gp = objective ? spec_.objectives[g] : spec_.constraints[g - spec_.objectives.size()];
        Matrix normals = spec_.normals.empty() ? normal_samples(spec_.n_samples, spec_.running.rows + 1, spec_.seed + g)
                                               : spec_.normals[g];
        fantasies_.emplace_back(gp, spec_.running, std::move(normals));
      }
      spec_.n_samples = fantasies_.front().samples().rows;
    } else if (multi_ && !nothing_feasible_) {
      normals_ = spec_.normals.empty() ? normal_samples(spec_.n_samples, spec_.objectives.size(), spec_.seed)
                                       : spec_.normals.front();
      spec_.n_samples = normals_.rows;
    }
    if (multi_ && !nothing_feasible_) make_boxes();
    if (sampled_ && !multi_) rate_fantasies();
  }

  double value(std::span<const double> x, std::span<double> gradient) const {
    return sampled_ ? sampled_value(x, gradient) : marginal_value(x, gradient);
  }

  std::vector<double> values(const Matrix& points) const {
    std::vector<double> out(points.rows);
    if (sampled_) {
      for (std::size_t i = 0; i < points.rows; ++i) out[i] = sampled_value(points[i], {});
      return out;
    }
    const std::size_t n = n_gps();
    std::vector<std::vector<double>> means(n), variances(n);
    for (std::size_t g = 0; g < n; ++g) gp(g).posterior(points, means[g], variances[g]);
    std::vector<double> mean(n), variance(n), by_mean(n), by_variance(n);
    for (std::size_t i = 0; i < points.rows; ++i) {
      for (std::size_t g = 0; g < n; ++g) mean[g] = means[g][i], variance[g] = variances[g][i];
      out[i] = marginal(mean, variance, by_mean, by_variance);
    }
    return out;
  }

  std::vector<double> lengthscales_;

 private:
  std::size_t n_gps() const { return spec_.objectives.size() + spec_.constraints.size(); }
  const GaussianProcess& gp(std::size_t g) const {
    const std::size_t n = spec_.objectives.size();
    return g < n ? spec_.objectives[g] : spec_.constraints[g - n];
  }

  double marginal_value(std::span<const double> x, std::span<double> gradient) const {
    const std::size_t n = n_gps();
    std::vector<GaussianProcess::Posterior> at(n);
    std::vector<double> mean(n), variance(n), by_mean(n), by_variance(n);
    for (std::size_t g = 0; g < n; ++g) {
      gp(g).posterior(x, !gradient.empty(), at[g]);
      mean[g] = at[g].mean;
      variance[g] = at[g].variance;
    }
    const double out = marginal(mean, variance, by_mean, by_variance);
    for (std::size_t j = 0; j < gradient.size(); ++j) {
      gradient[j] = 0;
      for (std::size_t g = 0; g < n; ++g) {
        gradient[j] += by_mean[g] * at[g].d_mean[j] + by_variance[g] * at[g].d_variance[j];
      }
    }
    return out;
  }

  // What means and variances are worth, and the derivatives by each of them.
  double marginal(const std::vector<double>& mean, std::vector<double> variance, std::vector<double>& by_mean,
                  std::vector<double>& by_variance) const {
    const std::size_t n_objectives = spec_.objectives.size();
    for (double& v : variance) v += stabilizing_noise;
    double out = 0;
    if (multi_) {
      std::fill(by_mean.begin(), by_mean.end(), 0.0);
      std::fill(by_variance.begin(), by_variance.end(), 0.0);
      if (!nothing_feasible_) out = log_hypervolume(mean, variance, by_mean, by_variance);
    } else if (nothing_feasible_) {
      by_mean[0] = by_variance[0] = 0;
    } else {
      const double sigma = std::sqrt(variance[0]), z = (mean[0] - spec_.best) / sigma;
      double slope = 0;
      out = log_expected_improvement(z, &slope) + std::log(sigma);
      by_mean[0] = slope / sigma;
      by_variance[0] = (1 - slope * z) / (2 * variance[0]);
    }
    for (std::size_t c = 0; c < spec_.constraints.size(); ++c) {
      const std::size_t g = n_objectives + c;
      const double sigma = std::sqrt(variance[g]), z = (mean[g] - spec_.thresholds[c]) / sigma;
      const double log_p = log_normal_cdf(z);
      const double slope = std::exp(log_normal_pdf(z) - log_p);
      out += log_p;
      by_mean[g] = slope / sigma;
      by_variance[g] = -slope * z / (2 * variance[g]);
    }
    return out;
  }

  double log_hypervolume(const std::vector<double>& mean, const std::vector<double>& variance,
                         std::vector<double>& by_mean, std::vector<double>& by_variance) const {
    const std::size_t n = spec_.objectives.size();
    std::vector<double> sigma(n), y(n), slope(n);
    for (std::size_t m = 0; m < n; ++m) sigma[m] = std::sqrt(variance[m]);
    double sum = 0;
    for (std::size_t s = 0; s < normals_.rows; ++s) {
      for (std::size_t m = 0; m < n; ++m) y[m] = mean[m] + sigma[m] * normals_.row(s)[m];
      sum += boxes_.front().improvement(y.data(), slope.data());
      for (std::size_t m = 0; m < n; ++m) {
        by_mean[m] += slope[m];
        by_variance[m] += slope[m] * normals_.row(s)[m] / (2 * sigma[m]);
      }
    }
    for (std::size_t m = 0; m < n; ++m) by_mean[m] /= sum, by_variance[m] /= sum;
    return std::log(sum / static_cast<double>(normals_.rows));
  }

  void make_boxes() {
    const auto reference = reference_point(spec_.feasible_values);
    const auto known = to_rows(spec_.feasible_values);
    if (!sampled_) {
      boxes_.emplace_back(known, reference);
      return;
    }
    // Each sample has a front of its own, with what it says the running points will give, where that is feasible.
    for (std::size_t s = 0; s < spec_.n_samples; ++s) {
      auto values = known;
      for (std::size_t r = 0; r < spec_.running.rows; ++r) {
        bool feasible = true;
        for (std::size_t c = 0; c < spec_.constraints.size(); ++c) {
          feasible = feasible && fantasies_[spec_.objectives.size() + c].samples().row(s)[r] >= spec_.thresholds[c];
        }
        if (!feasible) continue;
        auto& row = values.emplace_back();
        for (std::size_t m = 0; m < spec_.objectives.size(); ++m) row.push_back(fantasies_[m].samples().row(s)[r]);
      }
      boxes_.emplace_back(std::move(values), reference);
    }
  }

  // One objective: what the best of the running points gives in each sample.
  void rate_fantasies() {
    fantasy_best_.assign(spec_.n_samples, -infinity);
    for (std::size_t s = 0; s < spec_.n_samples; ++s) {
      for (std::size_t r = 0; r < spec_.running.rows; ++r) {
        double slope = 0;
        double rating =
            nothing_feasible_ ? 0 : std::log(std::max(fantasies_.front().samples().row(s)[r] - spec_.best, tiny));
        for (std::size_t c = 0; c < spec_.constraints.size(); ++c) {
          rating += log_sigmoid((fantasies_[1 + c].samples().row(s)[r] - spec_.thresholds[c]) / tau, &slope);
        }
        fantasy_best_[s] = std::max(fantasy_best_[s], rating);
      }
    }
  }

  double sampled_value(std::span<const double> x, std::span<double> gradient) const {
    const std::size_t n = n_gps(), n_objectives = spec_.objectives.size(), n_samples = spec_.n_samples;
    const bool derivatives = !gradient.empty();
    std::vector<std::vector<double>> y(n);
    std::vector<Matrix> dy(n);
    for (std::size_t g = 0; g < n; ++g) fantasies_[g].at(x, derivatives, y[g], dy[g]);
    std::vector<double> ratings(n_samples), weights, point(n_objectives), slope(n_objectives);
    Matrix by_y(n_samples, n);  // derivatives of each rating by the sampled values
    for (std::size_t s = 0; s < n_samples; ++s) {
      double rating = 0;
      if (multi_) {
        for (std::size_t m = 0; m < n_objectives; ++m) point[m] = y[m][s];
        const double volume = boxes_[s].improvement(point.data(), slope.data());
        rating = std::log(volume);
        for (std::size_t m = 0; m < n_objectives; ++m) by_y.row(s)[m] = slope[m] / volume;
      } else if (!nothing_feasible_) {
        const double gain = y[0][s] - spec_.best;
        rating = std::log(std::max(gain, tiny));
        by_y.row(s)[0] = gain > tiny ? 1 / gain : 0;
      }
      for (std::size_t c = 0; c < spec_.constraints.size(); ++c) {
        const std::size_t g = n_objectives + c;
        double by = 0;
        rating += log_sigmoid((y[g][s] - spec_.thresholds[c]) / tau, &by);
        by_y.row(s)[g] = by / tau;
      }
      if (!multi_ && fantasy_best_[s] > rating) {
        rating = fantasy_best_[s];
        std::fill(by_y.row(s), by_y.row(s) + n, 0.0);
      }
      ratings[s] = rating;
    }
    const double out = log_mean_exp(ratings, weights);
    for (std::size_t j = 0; j < gradient.size(); ++j) {
      gradient[j] = 0;
      for (std::size_t s = 0; s < n_samples; ++s) {
        for (std::size_t g = 0; g < n; ++g) gradient[j] += weights[s] * by_y.row(s)[g] * dy[g].row(s)[j];
      }
    }
    return out;
  }

  AcquisitionSpec spec_;
  bool multi_ = false, nothing_feasible_ = false, sampled_ = false;
  Matrix normals_;
  std::vector<Boxes> boxes_;
  std::vector<Fantasies> fantasies_;  // of each objective and constraint
  std::vector<double> fantasy_best_;
};

Acquisition::Acquisition(AcquisitionSpec spec) : impl_(std::make_unique<Impl>(std::move(spec))) {}
Acquisition::~Acquisition() = default;
Acquisition::Acquisition(Acquisition&&) noexcept = default;
Acquisition& Acquisition::operator=(Acquisition&&) noexcept = default;

double Acquisition::value(std::span<const double> x, std::span<double> gradient) const {
  return impl_->value(x, gradient);
}
std::vector<double> Acquisition::values(const Matrix& points) const { return impl_->values(points); }
const std::vector<double>& Acquisition::lengthscales() const noexcept { return impl_->lengthscales_; }

}  // namespace levin::tune
