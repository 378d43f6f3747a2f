#include <levin/tune/samplers/parzen_estimator.h>

#include <levin/tune/samplers/truncated_normal.h>
#include <levin/tune/samplers/vector_math.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numbers>
#include <utility>

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
  categorical_ = distribution.is_categorical();
  if (categorical_) return;
  log_ = distribution.log();
  half_step_ = distribution.step() / 2;
  double low = distribution.low() - distribution.step() / 2, high = distribution.high() + distribution.step() / 2;
  if (distribution.log()) low = std::log(low), high = std::log(high);
  if (low == low_ && high == high_) return;
  low_ = low, high_ = high;
  std::fill(sigma_.begin(), sigma_.end(), nan);  // kernels are truncated at the ends: none is valid any more
  fitted_ = false;
}

double ParzenColumn::to_kernel_space(double internal) const {
  return log_ ? std::log(internal) : internal;
}

void ParzenColumn::push(double internal) {
  push_slot(true, to_kernel_space(internal));
}

void ParzenColumn::push_absent() {
  push_slot(false, 0);
  ++n_absent_;
}

void ParzenColumn::push_slot(bool present, double center) {
  present_.push_back(present ? 1 : 0);
  center_.push_back(center);
  sigma_.push_back(nan);
  inverse_sigma_.push_back(0);
  norm_.push_back(0);
  group_.push_back(0);
}

void ParzenColumn::prepare_to_sample(std::size_t n) {
  samples_ = !categorical_;
  for (auto* numbers : {&center_, &sigma_, &inverse_sigma_, &norm_}) numbers->reserve(n);
  present_.reserve(n);
  group_.reserve(n);
  members_.reserve(n);
  if (samples_) truncated_.resize(n, TruncatedNormal(-1, 1));
}

void ParzenColumn::truncate(std::size_t n) {
  present_.resize(n);
  center_.resize(n);
  sigma_.resize(n);
  inverse_sigma_.resize(n);
  norm_.resize(n);
  group_.resize(n);
}

void ParzenColumn::set_kernel(std::size_t slot, double sigma) {
  const bool stepped = distribution_.step() != 0;
  if (sigma_[slot] != sigma) {
    const double c = center_[slot];
    sigma_[slot] = sigma;
    inverse_sigma_[slot] = 1 / sigma;
    const double a = (low_ - c) / sigma, b = (high_ - c) / sigma;
    if (samples_) {
      truncated_[slot] = TruncatedNormal(a, b);
      norm_[slot] = -truncated_[slot].log_mass();
    } else {
      norm_[slot] = -log_normal_mass(a, b);
    }
    if (!stepped) norm_[slot] -= std::log(sigma) + half_log_2pi;
  }
  if (stepped) {
    const std::pair kernel(center_[slot], sigma);
    if (groups_.empty() || groups_.back() != kernel) groups_.push_back(kernel);
    group_[slot] = static_cast<std::uint32_t>(groups_.size() - 1);
  }
}

// A kernel reaches to the farther of its neighbours.
void ParzenColumn::fit_kernel(std::span<const Kernel> sorted, std::size_t i) {
  const std::size_t n = sorted.size();
  double left = sorted[i].center - (i == 0 ? low_ : sorted[i - 1].center);
  double right = (i + 1 == n ? high_ : sorted[i + 1].center) - sorted[i].center;
  // With two or more observations the outermost ones do not look at the ends of the domain.
  if (n >= 2 && i == 0) left = right;
  if (n >= 2 && i + 1 == n) right = left;
  set_kernel(sorted[i].slot, std::clamp(std::max(left, right), narrowest_, high_ - low_));
}

// Brings `members_` up to date and notes in `changed_` where. Returns false when so much is new that they were
// gathered afresh.
bool ParzenColumn::update_members(std::span<const std::uint8_t> used, std::size_t n_kept) {
  constexpr std::size_t many = 16;
  const auto wanted = [&](std::size_t slot) { return static_cast<std::uint8_t>(used[slot] & present_[slot]); };
  is_member_.resize(n_kept, 0);
  std::vector<std::uint32_t> different;
  constexpr std::size_t block = sizeof(std::uint64_t);  // slots that are compared at once
  for (std::size_t first = 0; first < n_kept && different.size() <= many; first += block) {
    const std::size_t last = std::min(first + block, n_kept);
    if (last - first == block) {
      std::uint64_t use = 0, have = 0, was = 0;
      std::memcpy(&use, &used[first], block);
      std::memcpy(&have, &present_[first], block);
      std::memcpy(&was, &is_member_[first], block);
      if ((use & have) == was) continue;
    }
    for (std::size_t slot = first; slot < last; ++slot) {
      if (wanted(slot) != is_member_[slot]) different.push_back(static_cast<std::uint32_t>(slot));
    }
  }
  changed_.clear();
  if (different.size() > many) {
    members_.clear();
    for (std::size_t slot = 0; slot < n_kept; ++slot) {
      is_member_[slot] = wanted(slot);
      if (is_member_[slot]) members_.push_back({center_[slot], static_cast<std::uint32_t>(slot)});
    }
    std::sort(members_.begin(), members_.end());
    return false;
  }
  for (const auto slot : different) {
    const Kernel kernel{center_[slot], slot};
    const auto at = std::lower_bound(members_.begin(), members_.end(), kernel);
    if (is_member_[slot]) {
      members_.erase(at);
    } else {
      members_.insert(at, kernel);
    }
    is_member_[slot] ^= 1;
    changed_.push_back(kernel.center);
  }
  return true;
}

// Kernels of the slots in use. Slots from `n_kept` on (extra observations) are there for this fit alone, and `prior` is
// the slot of the prior. From one fit to the next few observations come or go, and a kernel depends on its neighbours
// alone, so mostly a few kernels are computed.
void ParzenColumn::fit(std::span<const std::uint8_t> used, std::size_t n_kept, std::size_t n_used, std::size_t prior) {
  if (distribution_.is_categorical()) {
    const double base = 1.0 / static_cast<double>(n_used + 1);
    const double total = 1 + base * static_cast<double>(distribution_.size());
    log_hit_ = std::log((1 + base) / total);
    log_miss_ = std::log(base / total);
    return;
  }
  const bool stepped = distribution_.step() != 0;
  const double width = high_ - low_;
  const bool few_changes = update_members(used, n_kept);
  std::span<const Kernel> sorted = members_;
  if (n_kept < prior) {
    scratch_.clear();
    for (std::size_t slot = n_kept; slot < prior; ++slot) {
      if (used[slot]) scratch_.push_back({center_[slot], static_cast<std::uint32_t>(slot)});
    }
    std::sort(scratch_.begin(), scratch_.end());
    const auto middle = static_cast<std::ptrdiff_t>(scratch_.size());
    scratch_.insert(scratch_.end(), members_.begin(), members_.end());
    std::inplace_merge(scratch_.begin(), scratch_.begin() + middle, scratch_.end());
    sorted = scratch_;
  }
  const std::size_t n = sorted.size();
  const double narrowest = width / std::min(100.0, 2.0 + static_cast<double>(n));
  const bool same_rule = fitted_ && narrowest == narrowest_;
  narrowest_ = narrowest;
  if (few_changes && same_rule && !stepped && n == members_.size()) {
    for (const double center : changed_) {
      // All that stand at the center, and their neighbours on both sides.
      const auto before = [](const Kernel& kernel, double c) { return kernel.center < c; };
      const auto after = [](double c, const Kernel& kernel) { return c < kernel.center; };
      auto first = static_cast<std::size_t>(std::lower_bound(sorted.begin(), sorted.end(), center, before) - sorted.begin());
      const auto last = static_cast<std::size_t>(std::upper_bound(sorted.begin(), sorted.end(), center, after) - sorted.begin());
      first -= first > 0;
      for (std::size_t i = first; i < std::min(last + 1, n); ++i) fit_kernel(sorted, i);
    }
  } else {
    if (stepped) {
      std::fill(group_.begin(), group_.end(), 0);
      groups_.clear();
    }
    for (std::size_t i = 0; i < n; ++i) fit_kernel(sorted, i);
  }
  fitted_ = n == members_.size();
  center_[prior] = 0.5 * (low_ + high_);
  set_kernel(prior, width);
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
  for (auto& column : own_) column.prepare_to_sample(n_kept_ + 1);
  fit(weights);
}

ParzenEstimator::ParzenEstimator(const std::vector<ParzenColumn*>& columns, std::span<const std::uint32_t> rows,
                                 std::vector<double> weights)
    : n_kept_(rows.size()) {
  own_.reserve(columns.size());
  for (const ParzenColumn* column : columns) {
    own_.emplace_back(column->distribution_);
    own_.back().prepare_to_sample(n_kept_ + 1);
    for (const auto row : rows) own_.back().push_slot(true, column->center_[row]);
  }
  for (auto& column : own_) columns_.push_back(&column);
  fit(weights.empty() ? parzen_weights(n_kept_) : weights);
}

ParzenEstimator::ParzenEstimator(std::vector<ParzenColumn*> columns, std::span<const double> weights,
                                 const std::vector<std::vector<double>>& extra, std::span<const double> extra_weights)
    : columns_(std::move(columns)), n_kept_(weights.size()) {
  std::vector<double> all(weights.begin(), weights.end());
  all.insert(all.end(), extra_weights.begin(), extra_weights.end());
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    ParzenColumn& column = *columns_[i];
    for (std::size_t j = 0; j < extra_weights.size(); ++j) {
      column.push(extra[i][j]);
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
    column->push_slot(false, 0);  // the prior
    column->fit(used, n_kept_, n_used, n);
    if (column->distribution_.is_categorical()) {
      column->center_[n] = -1;  // votes for no choice
      base_[n] += -std::log(static_cast<double>(column->distribution_.size())) - column->log_miss_;
    } else {
      detail::add(base_.data(), column->norm_.data(), n + 1);
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
      const double a = (column.low_ - center) / sigma, b = (column.high_ - center) / sigma;
      const double z = column.samples_ ? column.truncated_[k].quantile(q) : truncated_normal_quantile(q, a, b);
      double x = center + sigma * z;
      if (d.log()) x = std::exp(x);
      if (d.step() != 0) x = d.low() + std::nearbyint((x - d.low()) / d.step()) * d.step();
      out[i][j] = std::clamp(x, d.low(), d.high());
    }
  }
  return out;
}

// What a kernel adds to its log density at `x` (`transformed` in kernel space), beside its part of `base_`.
double ParzenEstimator::log_kernel(const ParzenColumn& column, std::size_t slot, double x, double transformed) const {
  const double c = column.center_[slot];
  if (column.categorical_) return c == x ? column.log_hit_ : column.log_miss_;
  if (const double half = column.half_step_; half != 0) {
    const double s = column.sigma_[slot];
    return log_normal_mass((column.to_kernel_space(x - half) - c) / s, (column.to_kernel_space(x + half) - c) / s);
  }
  const double z = (transformed - c) * column.inverse_sigma_[slot];
  return -0.5 * z * z;
}

// A kernel's log density only falls from parameter to parameter, since its maximum is in `base_`. So kernels that have
// fallen so far below one that is known to the end that a double's sum does not see them are left out of the parameters
// that remain.
std::vector<double> ParzenEstimator::log_pdf(const std::vector<std::vector<double>>& points) const {
  constexpr std::size_t width = 4;         // points that share one pass over the kernels
  constexpr std::size_t few = 32;          // kernels among which it is not worth looking
  constexpr double invisible = 36.8 + 14;  // 2^-53, shared by a million kernels
  const std::size_t n_points = points.empty() ? 0 : points.front().size();
  const std::size_t n_kernels = base_.size();
  std::vector<double> out(n_points);
  std::array<std::vector<double>, width> acc;
  std::vector<std::array<double, width>> transformed(columns_.size());  // points of continuous columns in kernel space
  std::vector<double> by_group, excess, left_center, left_inverse_sigma;
  std::vector<std::uint32_t> left;
  for (std::size_t first = 0; first < n_points; first += width) {
    const std::size_t count = std::min(width, n_points - first);
    for (auto& sums : acc) sums = base_;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      if (columns_[i]->categorical_ || columns_[i]->half_step_ != 0) continue;
      for (std::size_t j = 0; j < width; ++j) {
        transformed[i][j] = columns_[i]->to_kernel_space(points[i][first + std::min(j, count - 1)]);
      }
    }
    const auto group_masses = [&](const ParzenColumn& column, double x) {
      const double half = column.half_step_;
      const double below = column.to_kernel_space(x - half), above = column.to_kernel_space(x + half);
      by_group.clear();
      for (const auto& [center, sigma] : column.groups_) {
        by_group.push_back(log_normal_mass((below - center) / sigma, (above - center) / sigma));
      }
    };
    // What a kernel must exceed to be seen: what the prior comes to in the end, or another that leads so far.
    std::array<double, width> floor_of{};
    const auto raise_floor = [&](std::size_t slot, std::size_t j) {
      double total = base_[slot] - invisible;
      for (std::size_t i = 0; i < columns_.size(); ++i) total += log_kernel(*columns_[i], slot, points[i][first + j], transformed[i][j]);
      floor_of[j] = std::max(floor_of[j], total);
    };
    floor_of.fill(std::numeric_limits<double>::infinity());
    for (std::size_t j = 0; j < count; ++j) {
      floor_of[j] = -std::numeric_limits<double>::infinity();
      raise_floor(n_kernels - 1, j);
    }

    bool all = true;  // whether all kernels take part, or those in `left`
    bool looked = false;
    std::size_t n = n_kernels;
    const auto drop_invisible = [&] {
      const bool first_look = !std::exchange(looked, true);  // later ones would raise the floor by little
      for (std::size_t j = 0; first_look && j < count; ++j) {
        const auto end = acc[j].begin() + static_cast<std::ptrdiff_t>(n);
        const auto top = std::find(acc[j].begin(), end, detail::maximum(acc[j].data(), n));
        const auto at = static_cast<std::size_t>(top - acc[j].begin());
        if (top != end) raise_floor(all ? at : left[at], j);
      }
      excess.resize(n);
      const std::size_t kept = detail::excess_over_floors(excess.data(), acc[0].data(), acc[1].data(), acc[2].data(),
                                                          acc[3].data(), floor_of.data(), n);
      if (all && 3 * kept > n) return;
      if (all) left.resize(n);
      std::size_t to = 0;
      for (std::size_t at = 0; at < n; ++at) {
        if (!(excess[at] > 0)) continue;
        left[to] = all ? static_cast<std::uint32_t>(at) : left[at];
        for (auto& sums : acc) sums[to] = sums[at];
        ++to;
      }
      all = false;
      n = kept;
      left_center.resize(n);
      left_inverse_sigma.resize(n);
    };
    std::size_t next_look = 4;  // the parameter before which to look who is left; each look is worth more columns
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const ParzenColumn& column = *columns_[i];
      if (i == next_look && n > few) {
        drop_invisible();
        next_look += all ? 2 : 4;
      }
      const auto kernel = [&](std::size_t at) { return all ? at : left[at]; };
      if (column.categorical_) {
        for (std::size_t j = 0; j < count; ++j) {
          const double x = points[i][first + j];
          for (std::size_t at = 0; at < n; ++at) {
            acc[j][at] += column.center_[kernel(at)] == x ? column.log_hit_ : column.log_miss_;
          }
        }
      } else if (column.half_step_ != 0) {
        for (std::size_t j = 0; j < count; ++j) {
          if (j == 0 || points[i][first + j] != points[i][first + j - 1]) group_masses(column, points[i][first + j]);
          for (std::size_t at = 0; at < n; ++at) acc[j][at] += by_group[column.group_[kernel(at)]];
        }
      } else {
        const auto& x = transformed[i];
        if (all) {
          detail::subtract_half_squares(acc[0].data(), acc[1].data(), acc[2].data(), acc[3].data(), x.data(),
                                        column.center_.data(), column.inverse_sigma_.data(), n_kernels);
        } else {
          for (std::size_t at = 0; at < n; ++at) {
            left_center[at] = column.center_[left[at]];
            left_inverse_sigma[at] = column.inverse_sigma_[left[at]];
          }
          detail::subtract_half_squares(acc[0].data(), acc[1].data(), acc[2].data(), acc[3].data(), x.data(),
                                        left_center.data(), left_inverse_sigma.data(), n);
        }
      }
    }
    for (std::size_t j = 0; j < count; ++j) out[first + j] = detail::log_sum_exp(acc[j].data(), n);
  }
  return out;
}

}  // namespace levin::tune
