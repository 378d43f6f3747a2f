#include <levin/tune/samplers/acquisition_search.h>

#include <levin/tune/samplers/lbfgs.h>
#include <levin/tune/samplers/low_discrepancy.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace levin::tune {
namespace {

constexpr double most_tried = 16;  // points of a stepped coordinate that are all tried

class LocalSearch {
 public:
  LocalSearch(const Acquisition& acquisition, const UnitCube& cube) : acquisition_(acquisition), cube_(cube) {
    for (std::size_t j = 0; j < cube.size(); ++j) (cube[j].n_points() == 0 ? continuous_ : discrete_).push_back(j);
    options_.gradient_tolerance = 1e-2;
    for (const auto j : continuous_) {
      options_.lower.push_back(0);
      options_.upper.push_back(1 / acquisition.lengthscales()[j]);
    }
  }

  /** Moves `x` uphill and returns the value there. */
  double run(std::vector<double>& x, double value) const {
    constexpr std::size_t none = static_cast<std::size_t>(-1), together = static_cast<std::size_t>(-2);
    std::size_t last_moved = none;
    for (int round = 0; round < 100; ++round) {
      if (last_moved == together) break;
      if (climb(x, value)) last_moved = together;
      for (const auto j : discrete_) {
        if (last_moved == j) return value;  // once around without another move
        if (move(x, value, j)) last_moved = j;
      }
      if (last_moved == none || discrete_.empty()) break;
    }
    return value;
  }

 private:
  bool climb(std::vector<double>& x, double& value) const {
    if (continuous_.empty()) return false;
    const auto& lengthscales = acquisition_.lengthscales();
    std::vector<double> point = x, gradient(x.size()), start;
    for (const auto j : continuous_) start.push_back(x[j] / lengthscales[j]);
    const auto found = minimize_lbfgs(
        [&](std::span<const double> z, std::span<double> slope) {
          for (std::size_t i = 0; i < continuous_.size(); ++i) {
            point[continuous_[i]] = std::clamp(z[i] * lengthscales[continuous_[i]], 0.0, 1.0);
          }
          const double v = acquisition_.value(point, gradient);
          for (std::size_t i = 0; i < continuous_.size(); ++i) {
            slope[i] = -gradient[continuous_[i]] * lengthscales[continuous_[i]];
          }
          return -v;
        },
        std::move(start), options_);
    if (!found.finite || found.n_iterations == 0 || !(-found.value > value)) return false;
    for (std::size_t i = 0; i < continuous_.size(); ++i) {
      x[continuous_[i]] = std::clamp(found.x[i] * lengthscales[continuous_[i]], 0.0, 1.0);
    }
    value = -found.value;
    return true;
  }

  // The best value of one discrete coordinate; for long ranges the next hill, by steps that double.
  bool move(std::vector<double>& x, double& value, std::size_t j) const {
    const UnitAxis& axis = cube_[j];
    const double n = axis.n_points(), start = axis.index_of(x[j]);
    double best = start;
    const auto attempt = [&](double index) {
      x[j] = axis.point(index);
      const double v = acquisition_.value(x);
      if (!(v > value)) return false;
      value = v;
      best = index;
      return true;
    };
    if (axis.is_categorical() || n <= most_tried) {
      for (double index = 0; index < n; ++index) {
        if (index != start) attempt(index);
      }
    } else {
      double step = 1;
      bool longer = true;
      while (step >= 1) {
        const double from = best;
        bool moved = from + step < n && attempt(from + step);
        if (!moved) moved = from - step >= 0 && attempt(from - step);
        if (moved) {
          if (longer) step *= 2;
        } else if (longer && step < n / 8) {
          step *= 4;  // look over a small valley before going back
        } else {
          longer = false;
          step = std::floor(step / 2);
        }
      }
    }
    x[j] = axis.point(best);
    return best != start;
  }

  const Acquisition& acquisition_;
  const UnitCube& cube_;
  std::vector<std::size_t> continuous_, discrete_;
  LbfgsOptions options_;
};

}  // namespace

std::vector<double> maximize_acquisition(const Acquisition& acquisition, const UnitCube& cube, Rng& rng,
                                         const AcquisitionSearchOptions& options) {
  const std::size_t d = cube.size();
  const SobolSequence sobol(d, rng());
  Matrix points(options.n_preliminary, d);
  for (std::size_t i = 0; i < points.rows; ++i) {
    const auto point = sobol.point(i);
    for (std::size_t j = 0; j < d; ++j) {
      points.row(i)[j] = cube[j].n_points() == 0 ? point[j] : cube[j].point(cube[j].index_of(point[j]));
    }
  }
  std::vector<double> values = acquisition.values(points);
  for (double& value : values) {
    if (std::isnan(value)) value = -std::numeric_limits<double>::infinity();
  }
  const auto best = static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());

  // The best point, and others drawn without replacement by how near their value comes to it.
  std::vector<std::vector<double>> starts{{points[best].begin(), points[best].end()}};
  std::vector<double> start_values{values[best]};
  std::vector<double> shares(values.size());
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += shares[i] = i == best ? 0 : std::exp(values[i] - values[best]);
  for (std::size_t n = options.n_local - 1 - std::min(options.n_local - 1, options.starts.size()); n > 0; --n) {
    double left = rng.uniform() * sum;
    std::optional<std::size_t> drawn;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      if (!(shares[i] > 0)) continue;
      drawn = i;
      left -= shares[i];
      if (left < 0) break;
    }
    if (!drawn) break;
    sum -= std::exchange(shares[*drawn], 0.0);
    starts.emplace_back(points[*drawn].begin(), points[*drawn].end());
    start_values.push_back(values[*drawn]);
  }
  for (const auto& start : options.starts) {
    starts.push_back(start);
    start_values.push_back(acquisition.value(start));
  }

  const LocalSearch search(acquisition, cube);
  std::size_t winner = 0;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    start_values[i] = search.run(starts[i], start_values[i]);
    if (start_values[i] > start_values[winner]) winner = i;
  }
  return starts[winner];
}

}  // namespace levin::tune
