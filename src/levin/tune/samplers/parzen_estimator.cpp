#include <levin/tune/samplers/parzen_estimator.h>

#include <levin/tune/samplers/truncated_normal.h>
#include <levin/tune/samplers/vector_math.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>

namespace levin::tune {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
const double half_log_2pi = 0.5 * std::log(2 * std::numbers::pi);

}  // namespace

std::vector<double> parzen_weights(std::size_t n) {
  std::vector<double> out(n, 1.0);
  if (n <= 25) return out;
  const std::size_t ramp = n - 25;
  const double first = 1.0 / static_cast<double>(n);
  for (std::size_t i = 0; i < ramp; ++i) {
    out[i] = ramp == 1 ? first : first + (1 - first) * static_cast<double>(i) / static_cast<double>(ramp - 1);
  }
  return out;
}

ParzenColumn::ParzenColumn(const Distribution& distribution) : distribution_(distribution) {
  set_distribution(distribution);
}

void ParzenColumn::set_distribution(const Distribution& distribution) {
  distribution_ = distribution;
  if (distribution.is_categorical()) return;
  double low = distribution.low() - distribution.step() / 2, high = distribution.high() + distribution.step() / 2;
  if (distribution.log()) low = std::log(low), high = std::log(high);
  if (low == low_ && high == high_) return;
  low_ = low, high_ = high;
  std::fill(sigma_.begin(), sigma_.end(), nan);  // kernels are truncated at the ends: none is valid any more
}

double ParzenColumn::to_kernel_space(double internal) const {
  return distribution_.log() ? std::log(internal) : internal;
}

void ParzenColumn::push(double internal) {
  const auto slot = static_cast<std::uint32_t>(size());
  const double center = to_kernel_space(internal);
  push_absent();
  present_.back() = 1;
  center_.back() = center;
  if (distribution_.is_categorical()) return;
  const auto at = std::upper_bound(order_.begin(), order_.end(), center,
                                   [&](double c, std::uint32_t other) { return c < center_[other]; });
  order_.insert(at, slot);
}

void ParzenColumn::push_absent() {
  present_.push_back(0);
  center_.push_back(0);
  sigma_.push_back(nan);
  inverse_sigma_.push_back(0);
  norm_.push_back(0);
  group_.push_back(0);
}

void ParzenColumn::truncate(std::size_t n) {
  present_.resize(n);
  center_.resize(n);
  sigma_.resize(n);
  inverse_sigma_.resize(n);
  norm_.resize(n);
  group_.resize(n);
}

// Kernels of the slots in use. Slots from `n_sorted` on (extra observations) are not in `order_`, and `prior` is the
// slot of the prior.
void ParzenColumn::fit(std::span<const std::uint8_t> used, std::size_t n_sorted, std::size_t n_used,
                       std::size_t prior) {
  if (distribution_.is_categorical()) {
    const double base = 1.0 / static_cast<double>(n_used + 1);
    const double total = 1 + base * static_cast<double>(distribution_.size());
    log_hit_ = std::log((1 + base) / total);
    log_miss_ = std::log(base / total);
    return;
  }
  auto& sorted = scratch_;
  sorted.clear();
  for (const auto slot : order_) {
    if (used[slot]) sorted.emplace_back(center_[slot], slot);
  }
  const auto middle = static_cast<std::ptrdiff_t>(sorted.size());
  for (std::size_t slot = n_sorted; slot < prior; ++slot) {
    if (used[slot]) sorted.emplace_back(center_[slot], static_cast<std::uint32_t>(slot));
  }
  if (std::cmp_less(middle, sorted.size())) {
    std::sort(sorted.begin() + middle, sorted.end());
    std::inplace_merge(sorted.begin(), sorted.begin() + middle, sorted.end());
  }

  const std::size_t n = sorted.size();
  const double width = high_ - low_;
  const double narrowest = width / std::min(100.0, 2.0 + static_cast<double>(n));
  const bool stepped = distribution_.step() != 0;
  if (stepped) {
    std::fill(group_.begin(), group_.end(), 0);
    groups_.clear();
  }
  const auto set = [&](std::size_t slot, double sigma) {
    if (sigma_[slot] != sigma) {
      const double c = center_[slot];
      sigma_[slot] = sigma;
      inverse_sigma_[slot] = 1 / sigma;
      norm_[slot] = -log_normal_mass((low_ - c) / sigma, (high_ - c) / sigma);
      if (!stepped) norm_[slot] -= std::log(sigma) + half_log_2pi;
    }
    if (stepped) {
      const std::pair kernel(center_[slot], sigma);
      if (groups_.empty() || groups_.back() != kernel) groups_.push_back(kernel);
      group_[slot] = static_cast<std::uint32_t>(groups_.size() - 1);
    }
  };
  for (std::size_t i = 0; i < n; ++i) {
    double left = sorted[i].first - (i == 0 ? low_ : sorted[i - 1].first);
    double right = (i + 1 == n ? high_ : sorted[i + 1].first) - sorted[i].first;
    // With two or more observations the outermost ones do not look at the ends of the domain.
    if (n >= 2 && i == 0) left = right;
    if (n >= 2 && i + 1 == n) right = left;
    set(sorted[i].second, std::clamp(std::max(left, right), narrowest, width));
  }
  center_[prior] = 0.5 * (low_ + high_);
  set(prior, width);
}

ParzenEstimator::ParzenEstimator(const SearchSpace& space, const std::vector<std::vector<double>>& observations,
                                 std::vector<double> weights) {
  for (const auto& [name, distribution] : space) {
    own_.emplace_back(distribution);
    for (const double internal : observations[own_.size() - 1]) own_.back().push(internal);
  }
  for (auto& column : own_) columns_.push_back(&column);
  if (weights.empty()) weights = parzen_weights(observations.empty() ? 0 : observations.front().size());
  n_kept_ = weights.size();
  fit(weights);
}

ParzenEstimator::ParzenEstimator(std::vector<ParzenColumn*> columns, std::span<const double> weights,
                                 const std::vector<std::vector<double>>& extra, std::span<const double> extra_weights)
    : columns_(std::move(columns)), n_kept_(weights.size()) {
  std::vector<double> all(weights.begin(), weights.end());
  all.insert(all.end(), extra_weights.begin(), extra_weights.end());
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    ParzenColumn& column = *columns_[i];
    for (std::size_t j = 0; j < extra_weights.size(); ++j) {
      column.push_absent();
      column.present_.back() = 1;
      column.center_.back() = column.to_kernel_space(extra[i][j]);
    }
  }
  fit(all);
}

void ParzenEstimator::fit(std::span<const double> weights) {
  const std::size_t n = weights.size();
  weights_.assign(weights.begin(), weights.end());
  weights_.push_back(1);  // the prior
  double total = 0;
  std::size_t n_used = 0;
  std::vector<std::uint8_t> used(n + 1, 0);
  for (std::size_t k = 0; k <= n; ++k) {
    total += weights_[k];
    used[k] = weights_[k] > 0;
    n_used += k < n && used[k];
  }
  base_.resize(n + 1);
  for (std::size_t k = 0; k <= n; ++k) {
    weights_[k] /= total;
    base_[k] = std::log(weights_[k]);
  }
  for (ParzenColumn* column : columns_) {
    column->push_absent();
    column->fit(used, n_kept_, n_used, n);
    if (column->distribution_.is_categorical()) {
      column->center_[n] = -1;  // votes for no choice
      base_[n] += -std::log(static_cast<double>(column->distribution_.size())) - column->log_miss_;
    } else {
      for (std::size_t k = 0; k <= n; ++k) base_[k] += column->norm_[k];
    }
  }
}

ParzenEstimator::~ParzenEstimator() {
  for (ParzenColumn* column : columns_) column->truncate(n_kept_);
}

std::vector<std::vector<double>> ParzenEstimator::sample(Rng& rng, std::size_t n) const {
  std::vector<std::vector<double>> out(columns_.size(), std::vector<double>(n));
  std::vector<double> cumulative(weights_.size());
  double sum = 0;
  for (std::size_t k = 0; k < weights_.size(); ++k) cumulative[k] = sum += weights_[k];
  const std::size_t prior = weights_.size() - 1;
  for (std::size_t j = 0; j < n; ++j) {
    const auto it = std::upper_bound(cumulative.begin(), cumulative.end(), rng.uniform() * sum);
    const std::size_t k = std::min(static_cast<std::size_t>(it - cumulative.begin()), prior);
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const ParzenColumn& column = *columns_[i];
      const Distribution& d = column.distribution_;
      const double q = rng.uniform();
      if (d.is_categorical()) {
        const auto n_choices = static_cast<double>(d.size());
        const double miss = k == prior ? 1 / n_choices : std::exp(column.log_miss_);
        const double hit = k == prior ? miss : std::exp(column.log_hit_);
        double left = q;
        std::size_t c = 0;
        for (; c + 1 < d.size(); ++c) {
          left -= column.center_[k] == static_cast<double>(c) ? hit : miss;
          if (left < 0) break;
        }
        out[i][j] = static_cast<double>(c);
        continue;
      }
      const double center = column.center_[k], sigma = column.sigma_[k];
      double x = center +
                 sigma * truncated_normal_quantile(q, (column.low_ - center) / sigma, (column.high_ - center) / sigma);
      if (d.log()) x = std::exp(x);
      if (d.step() != 0) x = d.low() + std::nearbyint((x - d.low()) / d.step()) * d.step();
      out[i][j] = std::clamp(x, d.low(), d.high());
    }
  }
  return out;
}

// A kernel's log density only falls from parameter to parameter, since its maximum is in `base_`. So kernels that have
// fallen so far below the prior that a double's sum does not see them are left out of the parameters that remain.
std::vector<double> ParzenEstimator::log_pdf(const std::vector<std::vector<double>>& points) const {
  constexpr std::size_t width = 4;         // points that share one pass over the kernels
  constexpr std::size_t between = 4;       // parameters after which to look who is left
  constexpr double invisible = 36.8 + 14;  // 2^-53, shared by a million kernels
  const std::size_t n_points = points.empty() ? 0 : points.front().size();
  const std::size_t n_kernels = base_.size(), prior = n_kernels - 1;
  std::vector<double> out(n_points);
  std::array<std::vector<double>, width> acc;
  std::vector<double> by_group;
  std::vector<std::uint32_t> left;
  for (std::size_t first = 0; first < n_points; first += width) {
    const std::size_t count = std::min(width, n_points - first);
    for (auto& sums : acc) sums = base_;
    const auto group_masses = [&](const ParzenColumn& column, double x) {
      const double half = column.distribution_.step() / 2;
      const double below = column.to_kernel_space(x - half), above = column.to_kernel_space(x + half);
      by_group.clear();
      for (const auto& [center, sigma] : column.groups_) {
        by_group.push_back(log_normal_mass((below - center) / sigma, (above - center) / sigma));
      }
    };
    // What the prior alone comes to, a lower bound of each point's density.
    std::array<double, width> floor_of{};
    for (std::size_t j = 0; j < count; ++j) {
      floor_of[j] = base_[prior] - invisible;
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        const ParzenColumn& column = *columns_[i];
        const double x = points[i][first + j];
        if (column.distribution_.is_categorical()) {
          floor_of[j] += column.log_miss_;
        } else if (column.distribution_.step() != 0) {
          const double half = column.distribution_.step() / 2, c = column.center_[prior], s = column.sigma_[prior];
          floor_of[j] +=
              log_normal_mass((column.to_kernel_space(x - half) - c) / s, (column.to_kernel_space(x + half) - c) / s);
        } else {
          const double z = (column.to_kernel_space(x) - column.center_[prior]) * column.inverse_sigma_[prior];
          floor_of[j] -= 0.5 * z * z;
        }
      }
    }

    bool all = true;  // whether all kernels take part, or those in `left`
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const ParzenColumn& column = *columns_[i];
      const Distribution& d = column.distribution_;
      if (all && i > 0 && i % between == 0) {
        left.clear();
        for (std::size_t k = 0; k < n_kernels; ++k) {
          bool visible = false;
          for (std::size_t j = 0; j < count; ++j) visible = visible || acc[j][k] > floor_of[j];
          if (visible) left.push_back(static_cast<std::uint32_t>(k));
        }
        all = 3 * left.size() > n_kernels;
        if (!all) {
          for (auto& sums : acc) {
            for (std::size_t at = 0; at < left.size(); ++at) sums[at] = sums[left[at]];
          }
        }
      }
      const std::size_t n = all ? n_kernels : left.size();
      const auto kernel = [&](std::size_t at) { return all ? at : left[at]; };
      if (d.is_categorical()) {
        for (std::size_t j = 0; j < count; ++j) {
          const double x = points[i][first + j];
          for (std::size_t at = 0; at < n; ++at) {
            acc[j][at] += column.center_[kernel(at)] == x ? column.log_hit_ : column.log_miss_;
          }
        }
      } else if (d.step() != 0) {
        for (std::size_t j = 0; j < count; ++j) {
          if (j == 0 || points[i][first + j] != points[i][first + j - 1]) group_masses(column, points[i][first + j]);
          for (std::size_t at = 0; at < n; ++at) acc[j][at] += by_group[column.group_[kernel(at)]];
        }
      } else {
        double x[width];
        for (std::size_t j = 0; j < width; ++j)
          x[j] = column.to_kernel_space(points[i][first + std::min(j, count - 1)]);
        if (all) {
          detail::subtract_half_squares(acc[0].data(), acc[1].data(), acc[2].data(), acc[3].data(), x,
                                        column.center_.data(), column.inverse_sigma_.data(), n_kernels);
        } else {
          for (std::size_t at = 0; at < n; ++at) {
            const double c = column.center_[left[at]], s = column.inverse_sigma_[left[at]];
            for (std::size_t j = 0; j < width; ++j) acc[j][at] -= 0.5 * ((x[j] - c) * s) * ((x[j] - c) * s);
          }
        }
      }
    }
    const std::size_t n = all ? n_kernels : left.size();
    for (std::size_t j = 0; j < count; ++j) out[first + j] = detail::log_sum_exp(acc[j].data(), n);
  }
  return out;
}

}  // namespace levin::tune
