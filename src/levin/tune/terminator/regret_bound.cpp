#include <levin/tune/terminator/regret_bound.h>

#include <levin/tune/samplers/gaussian_process.h>
#include <levin/tune/samplers/low_discrepancy.h>
#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numbers>
#include <string>
#include <utility>

namespace levin::tune {
namespace {

constexpr std::uint64_t n_samples = 2048;  // points of the space that the upper bound is looked for at
constexpr double cannot_tell = std::numeric_limits<double>::max() * 0.1;

struct Data {
  UnitCube cube;
  Matrix points;
  std::vector<double> scores;  // larger is better
  std::vector<char> is_categorical;
};

// The Gaussian process counts choices by their index.
std::vector<double> coordinates(const UnitCube& cube, std::vector<double> point) {
  for (std::size_t j = 0; j < point.size(); ++j) {
    if (cube[j].n_choices() > 0) point[j] = static_cast<double>(cube[j].choice(point[j]));
  }
  return point;
}

Data data_of(const std::vector<FrozenTrial>& trials, Direction direction) {
  std::vector<TrialPtr> complete, all;
  for (const auto& trial : trials) {
    auto shared = std::make_shared<const FrozenTrial>(trial);
    if (trial.state == TrialState::complete) complete.push_back(shared);
    if (trial.state == TrialState::complete || trial.state == TrialState::pruned) all.push_back(shared);
  }
  Data out;
  out.cube = UnitCube(common_space(all));
  for (std::size_t j = 0; j < out.cube.size(); ++j) out.is_categorical.push_back(out.cube[j].n_choices() > 0);
  std::vector<std::vector<double>> rows;
  for (const auto& trial : complete) {
    const auto point = out.cube.to_unit(*trial);
    if (!point) continue;
    rows.push_back(coordinates(out.cube, *point));
    out.scores.push_back(direction == Direction::maximize ? trial->value() : -trial->value());
  }
  // Infinities count as the worst and the best of the rest.
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double score : out.scores) {
    if (std::isfinite(score)) low = std::min(low, score), high = std::max(high, score);
  }
  if (low > high) low = high = 0;
  for (double& score : out.scores) score = std::clamp(score, low, high);
  out.points = Matrix(rows.size(), out.cube.size());
  for (std::size_t i = 0; i < rows.size(); ++i) std::copy(rows[i].begin(), rows[i].end(), out.points.row(i));
  return out;
}

Matrix first_rows(const Matrix& points, std::size_t n) {
  Matrix out(n, points.cols);
  std::copy_n(points.data.begin(), n * points.cols, out.data.begin());
  return out;
}

// Values moved and scaled to mean 0 and standard deviation 1; the latter is returned.
double standardise(std::vector<double>& values, double least) {
  const double n = static_cast<double>(values.size());
  double mean = 0, squares = 0;
  for (const double v : values) mean += v / n;
  for (const double v : values) squares += (v - mean) * (v - mean) / n;
  const double deviation = std::max(least, std::sqrt(squares));
  for (double& v : values) v = (v - mean) / deviation;
  return deviation;
}

// The largest upper bound over the space less the largest lower bound over the points.
double regret_bound(const GaussianProcess& gp, const UnitCube& cube, const Matrix& points, double delta,
                    std::uint64_t seed) {
  const double d = static_cast<double>(points.cols), n = static_cast<double>(points.rows);
  const double beta = 2 * std::log(d * n * n * std::numbers::pi * std::numbers::pi / 6 / delta) / 5;
  std::vector<double> mean, variance;
  gp.posterior(points, mean, variance);
  double upper = -std::numeric_limits<double>::infinity(), lower = upper;
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const double width = std::sqrt(beta * variance[i]);
    upper = std::max(upper, mean[i] + width);
    lower = std::max(lower, mean[i] - width);
  }
  const SobolSequence sequence(points.cols, seed);
  Matrix samples(n_samples, points.cols);
  for (std::uint64_t i = 0; i < n_samples; ++i) {
    auto point = sequence.point(i);
    for (std::size_t j = 0; j < point.size(); ++j) point[j] = cube[j].snap(point[j]);
    point = coordinates(cube, std::move(point));
    std::copy(point.begin(), point.end(), samples.row(i));
  }
  gp.posterior(samples, mean, variance);
  for (std::size_t i = 0; i < mean.size(); ++i) upper = std::max(upper, mean[i] + std::sqrt(beta * variance[i]));
  return upper - lower;
}

void require(bool holds, const char* what, const std::string& value, const char* where) {
  if (!holds) throw Error({.what = what, .value = value, .where = where, .hint = {}});
}

}  // namespace

RegretBoundEvaluator::RegretBoundEvaluator(RegretBoundEvaluatorOptions options)
    : options_(options), seed_(seed_or_random(options.seed)) {
  require(options.top_trials_ratio > 0 && options.top_trials_ratio <= 1,
          "top_trials_ratio must lie above 0 and not above 1", format_double(options.top_trials_ratio),
          "RegretBoundEvaluator");
  require(options.min_n_trials >= 1, "min_n_trials must be positive", std::to_string(options.min_n_trials),
          "RegretBoundEvaluator");
}

double RegretBoundEvaluator::evaluate(const std::vector<FrozenTrial>& trials, Direction direction) {
  Data data = data_of(trials, direction);
  const std::size_t n = data.scores.size();
  require(n > 0, "no trial is complete yet, so there is nothing to judge the study by", "", "RegretBoundEvaluator");
  require(data.cube.size() > 0, "no parameter is in all trials", "", "RegretBoundEvaluator");
  const auto share = static_cast<std::int64_t>(static_cast<double>(n) * options_.top_trials_ratio);
  const auto n_top =
      static_cast<std::size_t>(std::min(std::max(share, options_.min_n_trials), static_cast<std::int64_t>(n)));
  std::vector<double> sorted = data.scores;
  std::sort(sorted.begin(), sorted.end());
  const double border = sorted[n - n_top];
  std::vector<double> scores;
  Matrix points(0, data.cube.size());
  for (std::size_t i = 0; i < n; ++i) {
    if (data.scores[i] < border) continue;
    scores.push_back(data.scores[i]);
    points.data.insert(points.data.end(), data.points.row(i), data.points.row(i) + data.points.cols);
    ++points.rows;
  }
  const double deviation = standardise(scores, 1e-10);
  const auto gp = GaussianProcess::fit(points, std::move(scores), data.is_categorical);
  return regret_bound(gp, data.cube, points, 0.1, seed_) * deviation;
}

EMMREvaluator::EMMREvaluator(EMMREvaluatorOptions options) : options_(options), seed_(seed_or_random(options.seed)) {
  require(options.min_n_trials >= 2, "min_n_trials must be at least 2", std::to_string(options.min_n_trials),
          "EMMREvaluator");
  require(options.delta > 0 && options.delta < 1, "delta must lie between 0 and 1", format_double(options.delta),
          "EMMREvaluator");
}

double EMMREvaluator::evaluate(const std::vector<FrozenTrial>& trials, Direction direction) {
  Data data = data_of(trials, direction);
  const std::size_t n = data.scores.size();
  if (std::cmp_less(n, options_.min_n_trials) || data.cube.size() == 0) return cannot_tell;
  std::vector<double> y = data.scores;
  standardise(y, std::numeric_limits<double>::min());
  const std::vector<double> y_before(y.begin(), y.end() - 1);
  const Matrix before = first_rows(data.points, n - 1);
  const auto gp_before =
      GaussianProcess::fit(before, y_before, data.is_categorical, nullptr, options_.deterministic_objective);
  const auto gp =
      GaussianProcess::fit(data.points, y, data.is_categorical, &gp_before.params(), options_.deterministic_objective);
  const auto row = [&](std::size_t i) { return data.points[i]; };
  const auto best = static_cast<std::size_t>(std::max_element(y.begin(), y.end()) - y.begin());
  const auto best_before =
      static_cast<std::size_t>(std::max_element(y_before.begin(), y_before.end()) - y_before.begin());
  GaussianProcess::Posterior at_best, at_best_before, at_last, old_best;
  gp.posterior(row(best), false, at_best);
  gp.posterior(row(best_before), false, at_best_before);
  gp.posterior(row(n - 1), false, at_last);
  gp_before.posterior(row(best_before), false, old_best);
  // The posterior covariance of the two best points: prior less what the data explain.
  double covariance = gp.kernel(row(best), row(best_before));
  for (std::size_t i = 0; i < n; ++i) covariance -= at_best.k[i] * at_best_before.solved[i];
  if (best == best_before) covariance = at_best.variance;

  const double kappa = regret_bound(gp_before, data.cube, before, options_.delta, seed_);
  const double change = old_best.mean - at_best.mean;
  const double v = std::sqrt(std::max(1e-10, at_best.variance - 2 * covariance + at_best_before.variance));
  const double g = -change / v;
  const double density = std::exp(-0.5 * g * g) / std::sqrt(2 * std::numbers::pi);
  const double below = 0.5 * std::erfc(-g / std::numbers::sqrt2);
  // How much the last value surprised the model (the Kullback-Leibler divergence of the posteriors at its point).
  const double precision = 1 / minimum_noise, s2 = at_last.variance;
  const double divergence = 0.5 * std::log(1 + precision * s2) - 0.5 * s2 / (s2 + minimum_noise) +
                            0.5 * s2 * std::pow(y.back() - at_last.mean, 2) / std::pow(s2 + minimum_noise, 2);
  return std::min(std::numeric_limits<double>::max() * 0.5,
                  change + v * density + v * g * below + kappa * std::sqrt(0.5 * divergence));
}

}  // namespace levin::tune
