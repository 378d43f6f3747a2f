#include <levin/tune/schedulers/pb2.h>

#include <levin/core/error.h>
#include <levin/tune/samplers/lbfgs.h>
#include <levin/tune/samplers/scale.h>
#include <levin/tune/schedulers/time_varying_process.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>

namespace levin::tune {
namespace {

constexpr std::size_t kMostIntervals = 200;
constexpr int kStarts = 10;  // of the search for the largest bound
constexpr double kTiny = 1e-8;

PopulationBasedTrainingOptions population_options(PB2Options& options) {
  if (options.hyperparam_bounds.empty()) {
    throw Error({.what = "PB2 needs hyperparameters to choose",
                 .value = {},
                 .where = {},
                 .hint = "set hyperparam_bounds, such as {{\"lr\", loguniform(1e-4, 1e-1)}}"});
  }
  HyperparamMutations mutations;
  for (const auto& [name, distribution] : options.hyperparam_bounds) {
    if (distribution.is_categorical() || distribution.is_ordinal()) {
      throw Error({.what = "PB2 chooses numbers",
                   .value = name + ": " + distribution.to_text(),
                   .where = "hyperparam_bounds",
                   .hint = "use PopulationBasedTraining for choices"});
    }
    mutations.set(name, distribution);
  }
  return {.time_attr = options.time_attr,
          .perturbation_interval = options.perturbation_interval,
          .mutations = std::move(mutations),
          .quantile_fraction = options.quantile_fraction,
          .resample_probability = 0,
          .custom_explore_fn = options.custom_explore_fn,
          .synch = options.synch,
          .log_folder = options.log_folder};
}

}  // namespace

namespace detail {

Gains gains_of(const std::vector<PB2::Look>& looks, std::int64_t source) {
  // A gain is the difference of two looks, one after the other, at one trial with one set of hyperparameters.
  struct Interval {
    std::int64_t trial;
    double time, before, gain, after;
    const std::vector<double>* point;
  };
  std::vector<const PB2::Look*> by_time;
  for (const auto& look : looks) by_time.push_back(&look);
  std::stable_sort(by_time.begin(), by_time.end(), [](const auto* a, const auto* b) { return a->time < b->time; });
  std::map<std::pair<std::int64_t, std::vector<double>>, const PB2::Look*> last;
  std::vector<Interval> intervals;
  for (const PB2::Look* look : by_time) {
    const PB2::Look*& before = last[{look->trial, look->point}];
    if (before != nullptr && look->time > before->time && std::isfinite(look->score) && std::isfinite(before->score)) {
      intervals.push_back({look->trial, look->time, before->score,
                           (look->score - before->score) / (look->time - before->time), look->score, &look->point});
    }
    before = look;
  }
  if (intervals.size() > kMostIntervals) {
    intervals.erase(intervals.begin(), intervals.end() - static_cast<std::ptrdiff_t>(kMostIntervals));
  }

  Gains out;
  if (intervals.empty()) return out;
  const std::size_t n = intervals.size(), d = intervals.front().point->size();
  const auto [first, latest] = std::minmax_element(intervals.begin(), intervals.end(),
                                                   [](const auto& a, const auto& b) { return a.time < b.time; });
  const auto [worst, best] = std::minmax_element(intervals.begin(), intervals.end(),
                                                 [](const auto& a, const auto& b) { return a.before < b.before; });
  const auto on_unit = [](double x, double low, double high) { return (x - low) / (high - low + kTiny); };
  const double t0 = first->time, t1 = latest->time, s0 = worst->before, s1 = best->before;
  out.points = Matrix(n, 2 + d);
  double mean = 0, square = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const Interval& interval = intervals[i];
    double* row = out.points.row(i);
    row[0] = on_unit(interval.time, t0, t1);
    row[1] = on_unit(interval.before, s0, s1);
    for (std::size_t j = 0; j < d; ++j) row[2 + j] = on_unit((*interval.point)[j], 0, 1);
    mean += interval.gain / static_cast<double>(n);
    if (interval.trial == source) {
      out.has_source = true;
      out.now = {row[0], row[1]};
      out.source_time = interval.time;
      out.source_score = interval.after;
    }
  }
  for (const auto& interval : intervals) square += (interval.gain - mean) * (interval.gain - mean) / static_cast<double>(n);
  for (const auto& interval : intervals) {
    out.values.push_back(std::clamp((interval.gain - mean) / (std::sqrt(square) + kTiny), -2.0, 2.0));
  }
  return out;
}

double upper_bound(double mean, double variance, std::size_t n) {
  const double beta = 0.2 + std::max(0.0, std::log(0.4 * static_cast<double>(n)));
  return mean + std::sqrt(beta) * variance;
}

}  // namespace detail

PB2::PB2(PB2Options options)
    : PopulationBasedTraining(population_options(options)), bounds_(std::move(options.hyperparam_bounds)) {}

void PB2::begin(const SchedulerSetup& setup) {
  PopulationBasedTraining::begin(setup);
  looks_.clear();
  taken_.clear();
  last_exploration_ = 0;
}

std::vector<double> PB2::choose_point(const std::vector<Look>& looks, std::int64_t source,
                                      const std::vector<std::vector<double>>& taken, Rng& rng) {
  const detail::Gains gains = detail::gains_of(looks, source);
  if (!gains.has_source) return {};
  const std::size_t d = gains.points.cols - 2;
  const auto process = TimeVaryingProcess::fit(gains.points, gains.values);
  // Points that others were just given: what they gain is not known, but they leave less to learn near them.
  std::optional<TimeVaryingProcess> with_taken;
  if (!taken.empty()) {
    Matrix points(gains.points.rows + taken.size(), 2 + d);
    std::copy(gains.points.data.begin(), gains.points.data.end(), points.data.begin());
    for (std::size_t i = 0; i < taken.size(); ++i) {
      double* row = points.row(gains.points.rows + i);
      std::copy(gains.now.begin(), gains.now.end(), row);
      std::copy(taken[i].begin(), taken[i].end(), row + 2);
    }
    auto values = gains.values;
    values.resize(points.rows, 0.0);
    with_taken = TimeVaryingProcess::fit(points, values);
  }
  const auto bound = [&](std::span<const double> u, std::span<double> gradient) {
    std::vector<double> x(gains.now.begin(), gains.now.end());
    x.insert(x.end(), u.begin(), u.end());
    const auto mean = process.posterior(x, true);
    const auto variance = with_taken ? with_taken->posterior(x, true) : mean;
    const double weight = detail::upper_bound(0, 1, process.size());
    for (std::size_t j = 0; j < d; ++j) gradient[j] = -(mean.d_mean[1 + j] + weight * variance.d_variance[1 + j]);
    return -detail::upper_bound(mean.mean, variance.variance, process.size());
  };
  std::vector<double> best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kStarts; ++i) {
    std::vector<double> start(d);
    for (double& u : start) u = rng.uniform();
    const auto found = minimize_lbfgs(bound, std::move(start),
                                      {.lower = std::vector<double>(d, 0.0), .upper = std::vector<double>(d, 1.0)});
    if (best.empty() || found.value < least) {
      least = found.value;
      best = found.x;
    }
  }
  return best;
}

std::vector<double> PB2::point_of(const Config& config) const {
  std::vector<double> point;
  for (const auto& [name, distribution] : bounds_) {
    const Value* value = find_in(config, name);
    point.push_back(std::clamp(Scale(distribution).to_unit(distribution.to_internal(*value)), 0.0, 1.0));
  }
  return point;
}

void PB2::on_score(const Run& run, double time, double score) {
  looks_.push_back({run.number, time, point_of(run.config), score});
}

Config PB2::explore(const Run& run, const Run& source) {
  double now = 0;
  for (const Look& look : looks_) now = std::max(now, look.time);
  const bool first = now > last_exploration_;  // of those that look at the population at this time
  if (first) taken_.clear();
  Config config = source.config;
  const auto point = choose_point(looks_, source.number, taken_, rng());
  if (!point.empty()) {
    for (std::size_t i = 0; i < bounds_.size(); ++i) {
      const auto& [name, distribution] = bounds_[i];
      set_in(config, name, distribution.to_external(distribution.rounded(Scale(distribution).from_unit(point[i]))));
    }
    // The copy stands where its source stood: from there its next gain is counted.
    const detail::Gains gains = detail::gains_of(looks_, source.number);
    looks_.push_back({run.number, gains.source_time, point_of(config), gains.source_score});
  }
  taken_.push_back(point_of(config));
  last_exploration_ = std::max(now, last_exploration_);
  return config;
}

}  // namespace levin::tune
