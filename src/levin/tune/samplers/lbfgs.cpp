#include <levin/tune/samplers/lbfgs.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>

namespace levin::tune {
namespace {

constexpr std::size_t memory = 10;

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

struct Pair {
  std::vector<double> step, change;  // of x and of the gradient
  double rho;                        // 1 / (step . change)
};

}  // namespace

LbfgsResult minimize_lbfgs(const SmoothFunction& function, std::vector<double> start, const LbfgsOptions& options) {
  const std::size_t n = start.size();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<double> lower = options.lower.empty() ? std::vector<double>(n, -infinity) : options.lower;
  const std::vector<double> upper = options.upper.empty() ? std::vector<double>(n, infinity) : options.upper;
  const auto project = [&](std::vector<double>& x) {
    for (std::size_t i = 0; i < n; ++i) x[i] = std::clamp(x[i], lower[i], upper[i]);
  };
  LbfgsResult out{.x = std::move(start)};
  std::vector<double> gradient(n), next(n), next_gradient(n), direction(n), alpha;
  std::vector<char> held(n);
  std::deque<Pair> pairs;
  project(out.x);
  out.value = function(out.x, gradient);
  out.finite = std::isfinite(out.value);
  if (!out.finite) return out;

  for (; out.n_iterations < options.max_iterations; ++out.n_iterations) {
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i) {
      held[i] = (out.x[i] <= lower[i] && gradient[i] > 0) || (out.x[i] >= upper[i] && gradient[i] < 0);
      const double moved = std::clamp(out.x[i] - gradient[i], lower[i], upper[i]) - out.x[i];
      largest = std::max(largest, std::abs(moved));
    }
    if (largest <= options.gradient_tolerance) break;

    // The two loops of L-BFGS, in the free coordinates.
    const auto free_part = [&](std::vector<double>& v) {
      for (std::size_t i = 0; i < n; ++i) {
        if (held[i]) v[i] = 0;
      }
    };
    direction = gradient;
    free_part(direction);
    alpha.assign(pairs.size(), 0);
    for (std::size_t k = pairs.size(); k-- > 0;) {
      alpha[k] = pairs[k].rho * dot(pairs[k].step, direction);
      for (std::size_t i = 0; i < n; ++i) direction[i] -= alpha[k] * pairs[k].change[i];
    }
    if (!pairs.empty()) {
      const double scale = 1 / (pairs.back().rho * dot(pairs.back().change, pairs.back().change));
      for (double& d : direction) d *= scale;
    }
    for (std::size_t k = 0; k < pairs.size(); ++k) {
      const double beta = pairs[k].rho * dot(pairs[k].change, direction);
      for (std::size_t i = 0; i < n; ++i) direction[i] += (alpha[k] - beta) * pairs[k].step[i];
    }
    for (double& d : direction) d = -d;
    free_part(direction);
    double slope = dot(direction, gradient);
    if (!(slope < 0)) {  // the pairs do not fit the free coordinates any more
      pairs.clear();
      for (std::size_t i = 0; i < n; ++i) direction[i] = held[i] ? 0 : -gradient[i];
      slope = dot(direction, gradient);
    }

    double step = pairs.empty() ? std::min(1.0, 1 / std::sqrt(-slope)) : 1;
    double value = out.value;
    bool accepted = false;
    for (int attempt = 0; attempt < 20; ++attempt) {
      double decrease = 0;  // what the slope promises for the projected step
      for (std::size_t i = 0; i < n; ++i) {
        next[i] = std::clamp(out.x[i] + step * direction[i], lower[i], upper[i]);
        decrease += gradient[i] * (next[i] - out.x[i]);
      }
      value = function(next, next_gradient);
      if (std::isfinite(value) && value <= out.value + 1e-4 * decrease) {
        accepted = true;
        break;
      }
      // The minimum of the parabola through what is known, kept away from both ends.
      const double curvature = value - out.value - decrease;
      const double factor = std::isfinite(value) && curvature > 0 ? -decrease / (2 * curvature) : 0.1;
      step *= std::clamp(factor, 0.1, 0.5);
    }
    if (!accepted) {
      if (pairs.empty()) break;
      pairs.clear();  // once more along the gradient
      continue;
    }
    Pair pair{.step = next, .change = next_gradient, .rho = 0};
    for (std::size_t i = 0; i < n; ++i) {
      pair.step[i] -= out.x[i];
      pair.change[i] -= gradient[i];
    }
    const double curvature = dot(pair.step, pair.change);
    if (curvature > 2.2e-16 * dot(pair.change, pair.change)) {
      pair.rho = 1 / curvature;
      if (pairs.size() == memory) pairs.pop_front();
      pairs.push_back(std::move(pair));
    }
    const double gain = out.value - value;
    out.x = next;
    out.value = value;
    gradient.swap(next_gradient);
    if (gain <= options.value_tolerance * std::max({std::abs(out.value), std::abs(out.value + gain), 1.0})) {
      ++out.n_iterations;
      break;
    }
  }
  return out;
}

}  // namespace levin::tune
