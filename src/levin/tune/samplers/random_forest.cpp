#include <levin/tune/samplers/random_forest.h>

#include <levin/tune/pareto.h>
#include <levin/tune/regression_forest.h>
#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>
#include <string>

namespace levin::tune {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
constexpr double absent = -1;  // the coordinate of a parameter that a point does not have
constexpr int max_moves = 20;  // of one local search

using Point = std::vector<double>;

std::vector<TrialPtr> trials_to_learn_from(StudyView& study) {
  std::vector<TrialPtr> out;
  for (const auto& trial : study.trials().by_number()) {
    const bool reported = trial->state == TrialState::pruned && !trial->intermediate_values.empty();
    if ((trial->state == TrialState::complete || reported) && !trial->params.empty()) out.push_back(trial);
  }
  return out;
}

// Losses of all objectives, one after the other; pruned trials by their last report.
std::vector<Point> losses_of(const std::vector<TrialPtr>& trials, const std::vector<Direction>& directions) {
  std::vector<Point> out;
  for (const auto& trial : trials) {
    auto values = trial->state == TrialState::complete ? trial->values : trial->reported(*trial->last_step());
    values.resize(directions.size(), std::nan(""));
    out.push_back(to_losses(values, directions));
  }
  // What is infinite becomes as bad, or as good, as the worst and the best of the rest.
  for (std::size_t j = 0; j < directions.size(); ++j) {
    double low = inf, high = -inf;
    for (const auto& losses : out) {
      if (std::isfinite(losses[j])) low = std::min(low, losses[j]), high = std::max(high, losses[j]);
    }
    if (low > high) low = high = 0;
    for (auto& losses : out) losses[j] = std::isnan(losses[j]) ? high : std::clamp(losses[j], low, high);
  }
  return out;
}

// One number per trial: the loss, or the augmented Tchebycheff norm of several by random weights.
std::vector<double> scalarise(const std::vector<Point>& losses, Rng& rng) {
  const std::size_t m = losses.front().size();
  std::vector<double> out;
  if (m == 1) {
    for (const auto& point : losses) out.push_back(point.front());
    return out;
  }
  Point weights(m), low(m, inf), high(m, -inf);
  double total = 0;
  for (double& w : weights) total += w = -std::log(1 - rng.uniform());
  for (const auto& point : losses) {
    for (std::size_t j = 0; j < m; ++j) low[j] = std::min(low[j], point[j]), high[j] = std::max(high[j], point[j]);
  }
  for (const auto& point : losses) {
    double most = 0, sum = 0;
    for (std::size_t j = 0; j < m; ++j) {
      const double width = high[j] - low[j];
      const double part = width > 0 ? weights[j] / total * (point[j] - low[j]) / width : 0;
      most = std::max(most, part);
      sum += part;
    }
    out.push_back(most + 0.05 * sum);
  }
  return out;
}

// What the forest is fitted to.
std::vector<double> targets(const std::vector<TrialPtr>& trials, const std::vector<Direction>& directions,
                            bool log_values, Rng& rng) {
  std::vector<double> y = scalarise(losses_of(trials, directions), rng);
  double best = inf, worst = -inf;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (trials[i]->infeasibility() > 0) continue;
    worst = std::max(worst, y[i]);
    if (trials[i]->state == TrialState::complete) best = std::min(best, y[i]);
  }
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (trials[i]->infeasibility() > 0) {
      if (worst > -inf) y[i] = worst;
    } else if (trials[i]->state == TrialState::pruned && best < inf) {
      y[i] = std::max(y[i], best);
    }
  }
  if (!log_values) return y;
  // Shifted so that the best lies as far above 0 as it lies below the 5 % quantile.
  std::vector<double> sorted = y;
  std::sort(sorted.begin(), sorted.end());
  const double least = sorted.front(), range = sorted.back() - least;
  if (range <= 0) return std::vector<double>(y.size(), 0.0);
  const double quantile = sorted[static_cast<std::size_t>(0.05 * static_cast<double>(sorted.size() - 1))];
  const double shift = std::max(quantile - least, 1e-5 * range);
  for (double& value : y) value = std::log((value - least + shift) / (range + shift));
  return y;
}

double normal_cdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

// Expected improvement on `best` where the value is normal, or log-normal.
double improvement(double best, const RegressionForest::Prediction& p, bool log_values) {
  const double s = std::sqrt(std::max(p.variance, 1e-12)), z = (best - p.mean) / s;
  if (log_values) return std::exp(best) * normal_cdf(z) - std::exp(0.5 * s * s + p.mean) * normal_cdf(z - s);
  return (best - p.mean) * normal_cdf(z) + s * std::exp(-0.5 * z * z) / std::sqrt(2 * std::numbers::pi);
}

// The trials as rows for the forest: a column for a number, one per choice for a categorical parameter.
class Model {
 public:
  Model(const UnitCube& cube, const std::vector<TrialPtr>& trials) : cube_(cube) {
    rows_.n_columns = 0;
    for (std::size_t j = 0; j < cube.size(); ++j) {
      first_.push_back(rows_.n_columns);
      rows_.n_columns += std::max<std::size_t>(1, cube[j].n_choices());
    }
    always_.assign(cube.size(), true);
    for (const auto& trial : trials) {
      Point point(cube.size(), absent);
      for (std::size_t j = 0; j < cube.size(); ++j) {
        const Value* value = trial->params.find(cube.name(j));
        const Distribution& d = cube[j].distribution();
        if (value == nullptr) {
          always_[j] = false;
        } else {
          const bool usable = fits(d, trial->distributions.at(cube.name(j)), *value);
          point[j] = usable ? cube[j].to_unit(d.to_internal(*value)) : 0.5;
        }
      }
      rows_.push_row(row(point));
      points_.push_back(std::move(point));
    }
    conditional_ = std::find(always_.begin(), always_.end(), false) != always_.end();
  }

  void fit(const std::vector<double>& y, const RegressionForestOptions& options, bool log_values, Rng& rng) {
    forest_.emplace(rows_, y, options, rng);
    best_ = *std::min_element(y.begin(), y.end());
    log_values_ = log_values;
  }

  double score(const Point& point) const {
    return improvement(best_, forest_->predict(row(conditional_ ? as_it_will_be(point) : point)), log_values_);
  }

  const std::vector<Point>& points() const { return points_; }

 private:
  static bool fits(const Distribution& d, const Distribution& own, const Value& value) {
    return own.kind() == d.kind() && (!d.is_categorical() || own == d) && d.contains(d.to_internal(value));
  }

  Point row(const Point& point) const {
    Point out(rows_.n_columns, 0.0);
    for (std::size_t j = 0; j < point.size(); ++j) {
      if (cube_[j].n_choices() == 0) {
        out[first_[j]] = point[j];
      } else if (point[j] != absent) {
        out[first_[j] + cube_[j].choice(point[j])] = 1;
      }
    }
    return out;
  }

  // The point without the parameters that the trial most alike, in what all trials have, does not have.
  Point as_it_will_be(const Point& point) const {
    const Point* nearest = nullptr;
    double least = inf;
    for (const auto& other : points_) {
      double distance = 0;
      for (std::size_t j = 0; j < point.size() && distance < least; ++j) {
        if (!always_[j]) continue;
        if (cube_[j].n_choices() > 0) {
          distance += cube_[j].choice(point[j]) == cube_[j].choice(other[j]) ? 0 : 100;
        } else if (cube_[j].distribution().step() > 0) {
          distance += 10 * std::abs(point[j] - other[j]);  // counts decide what there is more often than floats do
        } else {
          distance += std::abs(point[j] - other[j]);
        }
      }
      if (distance < least) {
        least = distance;
        nearest = &other;
      }
    }
    Point out = point;
    for (std::size_t j = 0; j < out.size(); ++j) {
      if ((*nearest)[j] == absent) out[j] = absent;
    }
    return out;
  }

  const UnitCube& cube_;
  RowMatrix rows_;
  std::vector<std::size_t> first_;  // each parameter's first column
  std::vector<bool> always_;        // whether all trials have it
  bool conditional_ = false;
  std::vector<Point> points_;
  std::optional<RegressionForest> forest_;
  double best_ = 0;
  bool log_values_ = false;
};

struct Scored {
  double score = -inf;
  Point point;
};

// Moves to the best neighbour, in one parameter, as long as there is a better one.
Scored climb(const Model& model, const UnitCube& cube, Scored at, Rng& rng) {
  for (int move = 0; move < max_moves; ++move) {
    Scored best = at;
    const auto look = [&](std::size_t j, double u) {
      if (u == at.point[j]) return;
      Point neighbour = at.point;
      neighbour[j] = u;
      if (const double score = model.score(neighbour); score > best.score) best = {score, std::move(neighbour)};
    };
    for (std::size_t j = 0; j < cube.size(); ++j) {
      if (const std::size_t choices = cube[j].n_choices(); choices > 0) {
        for (std::size_t c = 0; c < choices; ++c) look(j, cube[j].point(c));
      } else {
        for (int i = 0; i < 4; ++i) look(j, cube[j].snap(at.point[j] + 0.2 * rng.normal()));
      }
    }
    if (!(best.score > at.score)) break;
    at = std::move(best);
  }
  return at;
}

}  // namespace

RandomForestSampler::RandomForestSampler(RandomForestSamplerOptions options)
    : options_(options), seed_(seed_or_random(options.seed)), random_({.seed = seed_}) {
  const auto require = [](bool holds, const char* what, double value) {
    if (!holds) throw Error({.what = what, .value = format_double(value), .where = "RandomForestSampler", .hint = {}});
  };
  require(options.n_startup_trials >= 0, "n_startup_trials must not be negative",
          static_cast<double>(options.n_startup_trials));
  require(options.n_trees >= 1, "n_trees must be positive", static_cast<double>(options.n_trees));
  require(options.max_features > 0 && options.max_features <= 1, "max_features must lie above 0 and not above 1",
          options.max_features);
  require(options.n_challengers >= 1, "n_challengers must be positive", static_cast<double>(options.n_challengers));
  require(options.n_local_searches >= 0, "n_local_searches must not be negative",
          static_cast<double>(options.n_local_searches));
  require(options.random_fraction >= 0 && options.random_fraction <= 1, "random_fraction must lie between 0 and 1",
          options.random_fraction);
}

SearchSpace RandomForestSampler::infer_relative_search_space(StudyView& study, const FrozenTrial& trial) {
  const auto trials = trials_to_learn_from(study);
  const auto n_complete =
      std::count_if(trials.begin(), trials.end(), [](const auto& t) { return t->state == TrialState::complete; });
  if (n_complete < std::max<std::int64_t>(options_.n_startup_trials, 2)) return {};
  Rng rng(seed_, "tune.random_forest:random", static_cast<std::uint64_t>(trial.number));
  if (rng.uniform() < options_.random_fraction) return {};
  // All that ever occurred, each with its latest range.
  std::map<std::string, Distribution> latest;
  for (const auto& one : trials) {
    for (const auto& [name, distribution] : one->distributions) latest.insert_or_assign(name, distribution);
  }
  SearchSpace out;
  for (const auto& [name, distribution] : latest) {
    if (!distribution.single()) out.set(name, distribution);
  }
  return out;
}

Map RandomForestSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& relative) {
  const UnitCube cube(relative);
  if (cube.size() == 0) return {};
  const auto trials = trials_to_learn_from(study);
  Rng rng(seed_, "tune.random_forest", static_cast<std::uint64_t>(trial.number));
  Model model(cube, trials);
  model.fit(targets(trials, study.directions(), options_.log_values, rng),
            {.n_trees = static_cast<std::size_t>(options_.n_trees), .max_features = options_.max_features},
            options_.log_values, rng);

  std::vector<Scored> challengers;
  for (std::int64_t i = 0; i < options_.n_challengers; ++i) {
    Point point = cube.random(rng);
    const double score = model.score(point);
    challengers.push_back({score, std::move(point)});
  }
  const auto better = [](const Scored& a, const Scored& b) { return a.score > b.score; };
  const std::size_t n_starts = static_cast<std::size_t>(options_.n_local_searches);
  const std::size_t n_best = std::min(challengers.size(), std::max<std::size_t>(1, n_starts / 2));
  std::partial_sort(challengers.begin(), challengers.begin() + static_cast<std::ptrdiff_t>(n_best), challengers.end(),
                    better);
  challengers.resize(n_best);

  // Half of the searches start from the most promising trials, half from the best random points.
  std::vector<Scored> tried;
  for (const auto& point : model.points()) {
    Point whole = point;
    for (std::size_t j = 0; j < whole.size(); ++j) {
      if (whole[j] == absent) whole[j] = cube[j].snap(rng.uniform());
    }
    const double score = model.score(whole);
    tried.push_back({score, std::move(whole)});
  }
  std::stable_sort(tried.begin(), tried.end(), better);
  Scored best = challengers.front();
  std::vector<Scored> starts;
  if (n_starts > 0) {
    starts.insert(starts.end(), challengers.begin(), challengers.end());
    for (std::size_t i = 0; i < tried.size() && starts.size() < n_starts; ++i) starts.push_back(tried[i]);
  }
  for (auto& start : starts) {
    Scored found = climb(model, cube, std::move(start), rng);
    if (found.score > best.score) best = std::move(found);
  }
  return cube.to_params(best.point);
}

Value RandomForestSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                              const Distribution& distribution) {
  return random_.sample_independent(study, trial, name, distribution);
}

}  // namespace levin::tune
