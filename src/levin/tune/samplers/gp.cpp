#include <levin/tune/samplers/gp.h>

#include <levin/core/console.h>
#include <levin/core/rng.h>
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/acquisition_search.h>
#include <levin/tune/samplers/complete_trials.h>
#include <levin/tune/samplers/published_params.h>
#include <levin/tune/samplers/per_study.h>
#include <levin/tune/samplers/random.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>

namespace levin::tune {
namespace {

constexpr const char* relative_key = "gp:relative_params:";
constexpr const char* kernel_key = "levin:gp";
constexpr double infinity = std::numeric_limits<double>::infinity();

struct Standardized {
  std::vector<double> values;
  double mean = 0, deviation = 1;
};

// To mean 0 and variance 1, infinite values first brought to the worst and best finite ones.
Standardized standardize(std::vector<double> values) {
  double low = infinity, high = -infinity;
  for (const double v : values) {
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  }
  if (low > high) low = high = 0;
  Standardized out{.values = std::move(values)};
  const auto n = static_cast<double>(out.values.size());
  for (double& v : out.values) out.mean += (v = std::clamp(v, low, high)) / n;
  double variance = 0;
  for (const double v : out.values) variance += (v - out.mean) * (v - out.mean) / n;
  out.deviation = std::max(std::sqrt(variance), 1e-10);
  for (double& v : out.values) v = (v - out.mean) / out.deviation;
  return out;
}

List to_list(const KernelParams& params) {
  List out(params.inverse_squared_lengthscales.size() + 2);
  std::copy(params.inverse_squared_lengthscales.begin(), params.inverse_squared_lengthscales.end(), out.begin());
  out[out.size() - 2] = Value(params.scale);
  out[out.size() - 1] = Value(params.noise);
  return out;
}

// The parameters that a trial carries for one of the processes, if they fit.
std::optional<KernelParams> from_list(const Value& value, std::size_t dimension) {
  if (!value.is_list() || value.as_list().size() != dimension + 2) return std::nullopt;
  KernelParams out;
  for (const Value& element : value.as_list()) {
    if (!element.is_number() || !(element.as_double() > 0) || !std::isfinite(element.as_double())) return std::nullopt;
    out.inverse_squared_lengthscales.push_back(element.as_double());
  }
  out.noise = out.inverse_squared_lengthscales.back();
  out.inverse_squared_lengthscales.pop_back();
  out.scale = out.inverse_squared_lengthscales.back();
  out.inverse_squared_lengthscales.pop_back();
  return out;
}

}  // namespace

class GPSampler::Impl {
 public:
  explicit Impl(GPSamplerOptions options)
      : options_(std::move(options)),
        seed_(seed_or_random(options_.seed)),
        independent_(options_.independent_sampler
                         ? options_.independent_sampler.get()
                         : std::make_shared<RandomSampler>(RandomSamplerOptions{.seed = seed_})) {}

  Sampler& independent() const { return *independent_; }

  SearchSpace space(StudyView& study) {
    const std::lock_guard lock(mutex_);
    return trials_of(study).space();
  }

  Map sample(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
    if (space.empty()) return {};
    std::vector<TrialPtr> trials;
    {
      const std::lock_guard lock(mutex_);
      trials = trials_of(study).by_number();
    }
    if (trials.empty() || std::cmp_less(trials.size(), options_.n_startup_trials)) return {};
    for (const auto& [name, distribution] : space) {
      if (!trials.front()->params.contains(name)) return {};
    }
    const UnitCube cube(space);
    Rng rng(seed_, "tune.gp", static_cast<std::uint64_t>(trial.number));
    List kernels;
    AcquisitionSearchOptions search;
    const Acquisition acquisition(model(study, trial, trials, cube, rng, kernels, search));
    const Map params = cube.to_params(maximize_acquisition(acquisition, cube, rng, search));
    publish_params(study, relative_key, params);
    study.set_system_attr(kernel_key, std::move(kernels));
    return params;
  }

  Value sample_alone(StudyView& study, const FrozenTrial& trial, const std::string& name,
                     const Distribution& distribution) {
    if (options_.warn_independent_sampling) {
      const std::lock_guard lock(mutex_);
      const auto& trials = trials_of(study).by_number();
      if (!trials.empty() && !std::cmp_less(trials.size(), options_.n_startup_trials)) {
        console::warn_once("GPSampler: parameter \"" + name + "\" is not in all trials (with one range), and is " +
                           "chosen alone");
      }
    }
    return independent_->sample_independent(study, trial, name, distribution);
  }

 private:
  CompleteTrials& trials_of(StudyView& study) {
    CompleteTrials& trials = studies_.of(study.trials());
    trials.update(study.trials());
    return trials;
  }

  AcquisitionSpec model(StudyView& study, const FrozenTrial& current, const std::vector<TrialPtr>& trials,
                        const UnitCube& cube, Rng& rng, List& kernels, AcquisitionSearchOptions& search) const {
    const std::size_t n = trials.size(), d = cube.size(), n_objectives = study.directions().size();
    std::vector<char> is_categorical(d);
    for (std::size_t j = 0; j < d; ++j) is_categorical[j] = cube[j].is_categorical();
    Matrix points(n, d);
    for (std::size_t i = 0; i < n; ++i) {
      const auto point = cube.to_unit(trials[i]->params);
      std::copy(point.begin(), point.end(), points.row(i));
    }

    // Fits start where the latest trial's ended.
    const Value* before = nullptr;
    for (auto it = trials.rbegin(); it != trials.rend() && before == nullptr; ++it) {
      before = (*it)->system_attrs.find(kernel_key);
    }
    const auto fit = [&](const Matrix& at, std::vector<double> values) {
      std::optional<KernelParams> start;
      if (before != nullptr && before->is_list() && kernels.size() < before->as_list().size()) {
        start = from_list(before->as_list()[kernels.size()], d);
      }
      auto gp = GaussianProcess::fit(at, std::move(values), is_categorical, start ? &*start : nullptr,
                                     options_.deterministic_objective);
      kernels.push_back(to_list(gp.params()));
      return gp;
    };

    AcquisitionSpec spec;
    spec.seed = rng();
    Matrix scores(n, n_objectives);  // larger is better
    for (std::size_t m = 0; m < n_objectives; ++m) {
      const double sign = study.directions()[m] == Direction::minimize ? -1 : 1;
      std::vector<double> values;
      for (const auto& trial : trials) values.push_back(sign * trial->values[m]);
      values = standardize(std::move(values)).values;
      for (std::size_t i = 0; i < n; ++i) scores.row(i)[m] = values[i];
      spec.objectives.push_back(fit(points, std::move(values)));
    }

    std::vector<std::string> names;  // of the constraints
    for (const auto& trial : trials) {
      for (const auto& [name, value] : trial->constraints()) {
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
      }
    }
    for (const auto& name : names) {
      std::vector<double> values, coordinates;
      for (std::size_t i = 0; i < n; ++i) {
        for (const auto& [other, value] : trials[i]->constraints()) {
          if (other != name || std::isnan(value)) continue;
          values.push_back(-value);
          coordinates.insert(coordinates.end(), points.row(i), points.row(i) + d);
        }
      }
      if (values.empty()) continue;
      Matrix at(values.size(), d);
      at.data = std::move(coordinates);
      auto standard = standardize(std::move(values));
      spec.thresholds.push_back(-standard.mean / standard.deviation);
      spec.constraints.push_back(fit(at, std::move(standard.values)));
    }

    std::vector<std::size_t> feasible;
    for (std::size_t i = 0; i < n; ++i) {
      if (!(trials[i]->infeasibility() > 0)) feasible.push_back(i);
    }
    const auto point_of = [&](std::size_t i) { return std::vector<double>(points[i].begin(), points[i].end()); };
    if (n_objectives == 1) {
      spec.best = -infinity;
      std::size_t winner = 0;
      for (const auto i : feasible) {
        if (scores.row(i)[0] > spec.best) spec.best = scores.row(i)[0], winner = i;
      }
      if (!feasible.empty()) search.starts = {point_of(winner)};
    } else {
      spec.feasible_values = Matrix(feasible.size(), n_objectives);
      std::vector<std::vector<double>> losses;
      for (std::size_t i = 0; i < feasible.size(); ++i) {
        std::copy_n(scores.row(feasible[i]), n_objectives, spec.feasible_values.row(i));
        auto& row = losses.emplace_back();
        for (std::size_t m = 0; m < n_objectives; ++m) row.push_back(-scores.row(feasible[i])[m]);
      }
      const auto ranks = nondomination_ranks(losses);
      for (const auto i : rng.permutation(static_cast<std::int64_t>(feasible.size()))) {
        if (search.starts.size() >= search.n_local / 2) break;
        const auto k = static_cast<std::size_t>(i);
        if (ranks[k] == 0) search.starts.push_back(point_of(feasible[k]));
      }
    }

    std::vector<double> running;
    for (const auto& other : study.trials().unfinished()) {
      if (other->state != TrialState::running || other->number == current.number) continue;
      const Map params = published_params(*other, relative_key);
      bool all = true;
      for (std::size_t j = 0; j < d; ++j) all = all && params.contains(cube.name(j));
      if (!all) continue;
      const auto point = cube.to_unit(params);
      running.insert(running.end(), point.begin(), point.end());
    }
    spec.running = Matrix(running.size() / d, d);
    spec.running.data = std::move(running);
    return spec;
  }

  const GPSamplerOptions options_;
  const std::uint64_t seed_;
  const std::shared_ptr<Sampler> independent_;
  std::mutex mutex_;
  PerStudy<CompleteTrials> studies_;
};

GPSampler::GPSampler(GPSamplerOptions options) {
  if (options.n_startup_trials < 0) {
    throw Error({.what = "n_startup_trials must not be negative",
                 .value = std::to_string(options.n_startup_trials),
                 .where = "GPSampler",
                 .hint = {}});
  }
  impl_ = std::make_unique<Impl>(std::move(options));
}

GPSampler::~GPSampler() = default;
GPSampler::GPSampler(GPSampler&&) noexcept = default;
GPSampler& GPSampler::operator=(GPSampler&&) noexcept = default;

SearchSpace GPSampler::infer_relative_search_space(StudyView& study, const FrozenTrial&) { return impl_->space(study); }

Map GPSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return impl_->sample(study, trial, space);
}

Value GPSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                    const Distribution& distribution) {
  return impl_->sample_alone(study, trial, name, distribution);
}

void GPSampler::before_trial(StudyView& study, const FrozenTrial& trial) {
  impl_->independent().before_trial(study, trial);
}

void GPSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                            const std::vector<double>& values) {
  impl_->independent().after_trial(study, trial, state, values);
}

}  // namespace levin::tune
