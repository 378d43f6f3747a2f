#include <levin/tune/samplers/cma_es_sampler.h>

#include <levin/core/console.h>
#include <levin/core/rng.h>
#include <levin/tune/samplers/cma_es.h>
#include <levin/tune/samplers/complete_trials.h>
#include <levin/tune/samplers/per_study.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <tuple>

namespace levin::tune {
namespace {

constexpr const char* attr_key = "levin:cma";

/** The space as a cube. With a margin the points of a stepped range start and end at the cube's borders. */
class Coordinates {
 public:
  Coordinates(const SearchSpace& space, bool with_margin) : cube_(space), steps_(cube_.size(), 0.0) {
    if (!with_margin) return;
    for (std::size_t i = 0; i < cube_.size(); ++i) {
      const Distribution& d = cube_[i].distribution();
      if (d.step() != 0 && !d.log()) steps_[i] = d.step() / (d.high() - d.low());
    }
  }

  std::size_t size() const { return cube_.size(); }
  const std::string& name(std::size_t i) const { return cube_.name(i); }
  const std::vector<double>& steps() const { return steps_; }

  std::vector<double> point(const Map& params) const {
    std::vector<double> out = cube_.to_unit(params);
    for (std::size_t i = 0; i < size(); ++i) {
      if (steps_[i] > 0) out[i] = cube_[i].index_of(out[i]) * steps_[i];
    }
    return out;
  }
  Map params(std::vector<double> point) const {
    for (std::size_t i = 0; i < size(); ++i) {
      if (steps_[i] > 0) point[i] = cube_[i].point(std::nearbyint(point[i] / steps_[i]));
    }
    return cube_.to_params(point);
  }

 private:
  UnitCube cube_;
  std::vector<double> steps_;
};

// What a trial contributes to its generation. Generations close in order of completion.
struct Solution {
  TimePoint time;
  std::int64_t number;
  TrialPtr trial;
  auto key() const { return std::tie(time, number); }
};

// One study's search, as far as it has been replayed.
struct Progress {
  CompleteTrials trials;
  SearchSpace space;
  std::string id;  // of space and options
  std::optional<Coordinates> coordinates;
  std::optional<CmaEs> search;
  std::int64_t generation = 0;  // over all restarts
  std::size_t n_seen = 0;
  std::map<std::int64_t, std::vector<Solution>> open;      // by generation
  std::vector<std::pair<TimePoint, std::int64_t>> closed;  // the last solution of each generation that was told
  std::int64_t first_population = 0, n_restarts = 0, n_large = 0, evaluations_small = 0, evaluations_large = 0;
  bool small = false;
};

[[noreturn]] void refuse(const std::string& what, const std::string& value, const std::string& hint = {}) {
  throw Error({.what = what, .value = value, .where = "CmaEsSampler", .hint = hint});
}

}  // namespace

class CmaEsSampler::Impl {
 public:
  explicit Impl(CmaEsSamplerOptions options)
      : options_(std::move(options)),
        seed_(seed_or_random(options_.seed)),
        independent_(options_.independent_sampler
                         ? options_.independent_sampler.get()
                         : std::make_shared<RandomSampler>(RandomSamplerOptions{.seed = seed_})) {}

  Sampler& independent() const { return *independent_; }

  SearchSpace space(StudyView& study) {
    study.direction();
    const std::lock_guard lock(mutex_);
    return progress_of(study).space;
  }

  Map sample(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
    if (space.empty()) return {};
    const std::lock_guard lock(mutex_);
    Progress& progress = progress_of(study);
    if (!started(progress) || !(progress.space == space)) return {};
    if (!progress.search) start(study, progress);
    replay(study, progress);
    Rng rng(seed_, "tune.cma", static_cast<std::uint64_t>(trial.number));
    const auto proposal = progress.search->ask(rng);
    Map attr{{"id", progress.id}, {"generation", progress.generation}};
    if (options_.with_margin) attr["raw"] = List(proposal.raw.begin(), proposal.raw.end());
    study.set_system_attr(attr_key, std::move(attr));
    return progress.coordinates->params(proposal.point);
  }

  Value sample_alone(StudyView& study, const FrozenTrial& trial, const std::string& name,
                     const Distribution& distribution) {
    study.direction();
    if (options_.warn_independent_sampling) {
      const std::lock_guard lock(mutex_);
      if (started(progress_of(study))) {
        console::warn_once("CmaEsSampler: parameter \"" + name + "\" is " +
                           (distribution.is_categorical() ? "a choice" : "not in all trials (with one range)") +
                           ", and is chosen alone");
      }
    }
    return independent_->sample_independent(study, trial, name, distribution);
  }

 private:
  bool counts(const FrozenTrial& trial) const {
    if (trial.state == TrialState::complete) return true;
    return options_.consider_pruned_trials && trial.state == TrialState::pruned && !trial.intermediate_values.empty();
  }

  bool started(const Progress& progress) const {
    std::int64_t missing = options_.n_startup_trials;
    for (const auto& trial : progress.trials.by_number()) {
      if (missing <= 0) break;
      if (counts(*trial)) --missing;
    }
    return missing <= 0;
  }

  static double loss(const FrozenTrial& trial, Direction direction) {
    const double value =
        trial.state == TrialState::complete ? trial.values.front() : trial.intermediate_values.back().second;
    if (std::isnan(value)) return std::numeric_limits<double>::infinity();
    return direction == Direction::minimize ? value : -value;
  }

  Progress& progress_of(StudyView& study) {
    Progress& progress = studies_.of(study.trials());
    const std::size_t before = progress.trials.by_number().size();
    progress.trials.update(study.trials(), options_.consider_pruned_trials);
    if (before == progress.trials.by_number().size()) return progress;
    SearchSpace space;
    for (const auto& [name, distribution] : progress.trials.space()) {
      if (!distribution.is_categorical()) space.append(name, distribution);
    }
    if (!(space == progress.space)) {  // another search
      CompleteTrials trials = std::move(progress.trials);
      progress = Progress();
      progress.trials = std::move(trials);
      progress.space = std::move(space);
    }
    return progress;
  }

  // Options that decide how a search goes: workers that differ in them search on their own.
  std::string fingerprint(const SearchSpace& space) const {
    std::string text;
    for (const auto& [name, distribution] : space) text += name + "=" + distribution.to_json() + ";";
    text += options_.x0.to_string() + std::to_string(options_.sigma0.value_or(0)) + "/" +
            std::to_string(options_.popsize.value_or(0)) + "/" + std::to_string(options_.inc_popsize) + "/" +
            std::to_string(static_cast<int>(options_.restart_strategy)) + std::to_string(options_.use_separable_cma) +
            std::to_string(options_.with_margin) + std::to_string(options_.lr_adapt) +
            std::to_string(options_.consider_pruned_trials) + std::to_string(options_.source_trials.size());
    return std::to_string(stable_hash(text));
  }

  CmaStart first_point(const StudyView& study, const Coordinates& coordinates) const {
    const std::size_t d = coordinates.size();
    if (options_.source_trials.empty()) {
      CmaStart out{.mean = std::vector<double>(d, 0.5), .sigma = options_.sigma0.value_or(1.0 / 6)};
      if (options_.x0.empty()) return out;
      std::vector<std::string> names;
      for (const auto& entry : options_.x0) names.push_back(entry.first);
      for (std::size_t i = 0; i < d; ++i) {
        if (!options_.x0.contains(coordinates.name(i))) {
          refuse("x0 lacks a parameter of the space", "\"" + coordinates.name(i) + "\"",
                 did_you_mean(coordinates.name(i), names));
        }
      }
      out.mean = coordinates.point(options_.x0);
      return out;
    }
    std::vector<std::pair<std::vector<double>, double>> solutions;
    for (const auto& trial : options_.source_trials) {
      bool fits = counts(trial) && trial.values.size() <= 1;
      for (std::size_t i = 0; fits && i < d; ++i) fits = trial.params.contains(coordinates.name(i));
      if (fits) solutions.emplace_back(coordinates.point(trial.params), loss(trial, study.direction()));
    }
    if (solutions.size() < 10) {
      refuse("at least 10 of source_trials must be complete and have all parameters of the space",
             std::to_string(solutions.size()) + " of " + std::to_string(options_.source_trials.size()));
    }
    return warm_start(std::move(solutions));
  }

  CmaEs search(const Coordinates& coordinates, CmaStart start, std::int64_t population) const {
    start.sigma = std::max(start.sigma, 1e-10);
    return CmaEs({.start = std::move(start),
                  .population_size = population,
                  .separable = options_.use_separable_cma,
                  .steps = options_.with_margin ? coordinates.steps() : std::vector<double>(),
                  .lr_adapt = options_.lr_adapt});
  }

  void start(const StudyView& study, Progress& progress) const {
    progress.id = fingerprint(progress.space);
    progress.coordinates.emplace(progress.space, options_.with_margin);
    progress.search =
        search(*progress.coordinates, first_point(study, *progress.coordinates), options_.popsize.value_or(0));
    progress.first_population = progress.search->population_size();
    progress.generation = progress.n_restarts = progress.n_large = 0;
    progress.evaluations_small = progress.evaluations_large = 0;
    progress.small = false;
    progress.n_seen = 0;
    progress.open.clear();
    progress.closed.clear();
  }

  void replay(StudyView& study, Progress& progress) const {
    const auto finished = study.trials().finished();
    for (; progress.n_seen < finished.size(); ++progress.n_seen) {
      const TrialPtr& trial = finished[progress.n_seen];
      const Value* attr = trial->system_attrs.find(attr_key);
      if (attr == nullptr || !attr->is_map() || !counts(*trial)) continue;
      const Map& map = attr->as_map();
      const Value* id = map.find("id");
      const Value* generation = map.find("generation");
      if (id == nullptr || !(*id == Value(progress.id)) || generation == nullptr || !generation->is_int()) continue;
      Solution solution{trial->datetime_complete.value_or(TimePoint()), trial->number, trial};
      const std::int64_t g = generation->as_int();
      if (g < 0) continue;
      if (g < progress.generation) {
        // It came to light late and belongs into a generation that this process has closed without it.
        if (solution.key() < std::tie(progress.closed[static_cast<std::size_t>(g)].first,
                                      progress.closed[static_cast<std::size_t>(g)].second)) {
          start(study, progress);
          return replay(study, progress);
        }
        continue;
      }
      progress.open[g].push_back(std::move(solution));
    }
    while (close_generation(study, progress)) {
    }
  }

  bool close_generation(const StudyView& study, Progress& progress) const {
    const auto it = progress.open.find(progress.generation);
    const auto population = static_cast<std::size_t>(progress.search->population_size());
    if (it == progress.open.end() || it->second.size() < population) return false;
    auto& candidates = it->second;
    std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
    std::vector<std::pair<std::vector<double>, double>> solutions;
    for (std::size_t i = 0; i < population; ++i) {
      const FrozenTrial& trial = *candidates[i].trial;
      std::vector<double> point = progress.coordinates->point(trial.params);
      if (const Value* raw = trial.system_attrs.at(attr_key).as_map().find("raw"); raw != nullptr && raw->is_list()) {
        for (std::size_t j = 0; j < std::min(point.size(), raw->as_list().size()); ++j) {
          if (raw->as_list()[j].is_number()) point[j] = raw->as_list()[j].as_double();
        }
      }
      solutions.emplace_back(std::move(point), loss(trial, study.direction()));
    }
    progress.closed.emplace_back(candidates[population - 1].time, candidates[population - 1].number);
    progress.open.erase(it);
    progress.search->tell(std::move(solutions));
    ++progress.generation;
    if (options_.restart_strategy != CmaRestart::none && progress.search->should_stop()) restart(study, progress);
    return true;
  }

  // All workers of a study must draw the same new start: it follows from the study's name.
  void restart(const StudyView& study, Progress& progress) const {
    Rng rng(stable_hash(study.study_name()), "tune.cma.restart", static_cast<std::uint64_t>(progress.n_restarts));
    const std::int64_t evaluations = progress.search->population_size() * progress.search->generation();
    (progress.small ? progress.evaluations_small : progress.evaluations_large) += evaluations;
    ++progress.n_restarts;
    const auto growth = [&] {
      return std::pow(static_cast<double>(options_.inc_popsize), static_cast<double>(progress.n_large));
    };
    const auto first = static_cast<double>(progress.first_population);
    double population = first;
    progress.small = options_.restart_strategy == CmaRestart::bipop &&
                     progress.evaluations_small < progress.evaluations_large && progress.n_large > 0;
    if (progress.small) {
      population = std::floor(first * std::pow(growth(), std::pow(rng.uniform(), 2)));
    } else {
      ++progress.n_large;
      population = first * growth();
    }
    CmaStart start{.mean = std::vector<double>(progress.coordinates->size()),
                   .sigma = options_.sigma0.value_or(1.0 / 6)};
    for (double& x : start.mean) x = rng.uniform();
    progress.search =
        search(*progress.coordinates, std::move(start), static_cast<std::int64_t>(std::min(population, 1e6)));
  }

  const CmaEsSamplerOptions options_;
  const std::uint64_t seed_;
  const std::shared_ptr<Sampler> independent_;
  std::mutex mutex_;
  PerStudy<Progress> studies_;
};

CmaEsSampler::CmaEsSampler(CmaEsSamplerOptions options) {
  if (!options.source_trials.empty() && (!options.x0.empty() || options.sigma0)) {
    refuse("source_trials say where to start", "x0 or sigma0 as well", "give one of them");
  }
  if (!options.source_trials.empty() && options.use_separable_cma) {
    refuse("source_trials give a full covariance", "use_separable_cma = true");
  }
  if (options.lr_adapt && (options.use_separable_cma || options.with_margin)) {
    refuse("lr_adapt goes with neither use_separable_cma nor with_margin",
           options.with_margin ? "with_margin = true" : "use_separable_cma = true");
  }
  if (options.use_separable_cma && options.with_margin) {
    refuse("a margin needs the full covariance", "use_separable_cma and with_margin");
  }
  if (options.sigma0 && !(*options.sigma0 > 0)) refuse("sigma0 must be positive", std::to_string(*options.sigma0));
  if (options.popsize && *options.popsize < 2) {
    refuse("popsize must be at least 2", std::to_string(*options.popsize));
  }
  if (options.inc_popsize < 1) refuse("inc_popsize must be at least 1", std::to_string(options.inc_popsize));
  if (options.n_startup_trials < 0) {
    refuse("n_startup_trials must not be negative", std::to_string(options.n_startup_trials));
  }
  impl_ = std::make_unique<Impl>(std::move(options));
}

CmaEsSampler::~CmaEsSampler() = default;
CmaEsSampler::CmaEsSampler(CmaEsSampler&&) noexcept = default;
CmaEsSampler& CmaEsSampler::operator=(CmaEsSampler&&) noexcept = default;

SearchSpace CmaEsSampler::infer_relative_search_space(StudyView& study, const FrozenTrial&) {
  return impl_->space(study);
}

Map CmaEsSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return impl_->sample(study, trial, space);
}

Value CmaEsSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                       const Distribution& distribution) {
  return impl_->sample_alone(study, trial, name, distribution);
}

void CmaEsSampler::before_trial(StudyView& study, const FrozenTrial& trial) {
  impl_->independent().before_trial(study, trial);
}

void CmaEsSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                               const std::vector<double>& values) {
  if (!trial.constraints().empty()) console::warn_once("CmaEsSampler does not look at constraints");
  impl_->independent().after_trial(study, trial, state, values);
}

}  // namespace levin::tune
