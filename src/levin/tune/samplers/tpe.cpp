#include <levin/tune/samplers/tpe.h>

#include <levin/core/rng.h>
#include <levin/tune/samplers/parzen_estimator.h>
#include <levin/tune/samplers/published_params.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/trial_table.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>

namespace levin::tune {
namespace {

constexpr const char* relative_key = "tpe:relative_params:";

// How many of n trials count as good.
std::size_t n_good(std::size_t n, bool multi_objective) {
  const auto tenth = static_cast<std::size_t>(std::ceil(0.1 * static_cast<double>(n)));
  return multi_objective ? tenth : std::min<std::size_t>(tenth, 25);
}

}  // namespace

class TPESampler::Impl {
 public:
  explicit Impl(TPESamplerOptions options)
      : options_(options), seed_(seed_or_random(options.seed)), random_({.seed = seed_}) {}

  bool multivariate(const StudyView& study) const {
    return options_.multivariate.value_or(options_.group || !study.is_multi_objective());
  }

  SearchSpace relative_space(StudyView& study) {
    if (!multivariate(study)) return {};
    const std::lock_guard lock(mutex_);
    TrialTable& table = state_of(study).table;
    SearchSpace out;
    const auto take = [&](const SearchSpace& space) {
      for (const auto& [name, distribution] : space) {
        if (!distribution.single()) out.append(name, distribution);
      }
    };
    if (options_.group) {
      for (const auto& group : table.groups()) take(group);
    } else {
      take(table.intersection());
    }
    return out;
  }

  Map sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
    if (space.empty()) return {};
    const std::lock_guard lock(mutex_);
    State& state = state_of(study);
    TrialTable& table = state.table;
    if (std::cmp_less(table.size(), options_.n_startup_trials)) return {};
    Map params;
    if (options_.group) {
      for (const auto& group : table.groups()) {
        SearchSpace part;
        for (const auto& [name, distribution] : group) {
          if (space.contains(name)) part.set(name, space.at(name));
        }
        if (part.empty()) continue;
        for (auto& [name, value] : sample(state, study, trial, part)) params[name] = std::move(value);
      }
    } else {
      params = sample(state, study, trial, space);
    }
    if (options_.constant_liar) publish_params(study, relative_key, params);
    return params;
  }

  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) {
    const std::lock_guard lock(mutex_);
    State& state = state_of(study);
    if (std::cmp_less(state.table.size(), options_.n_startup_trials)) {
      return random_.sample_independent(study, trial, name, distribution);
    }
    return sample(state, study, trial, {{name, distribution}}).at(name);
  }

 private:
  // The density of the good trials of some parameters, which mostly stays as it is from one trial to the next.
  struct Good {
    SearchSpace space;
    std::vector<std::uint32_t> rows;
    std::unique_ptr<ParzenEstimator> density;
  };
  struct State {
    explicit State(std::vector<Direction> directions) : table(std::move(directions)) {}
    TrialTable table;
    std::unordered_map<std::string, Good> good;  // by the names of its parameters
  };

  // What is kept of this study's log. A few are, so that one sampler can serve several studies.
  State& state_of(StudyView& study) {
    const TrialsSnapshot& snapshot = study.trials();
    auto it =
        std::find_if(states_.begin(), states_.end(), [&](const auto& entry) { return entry.first == snapshot.log(); });
    if (it == states_.end()) {
      if (states_.size() >= 8) states_.pop_back();
      states_.emplace_front(snapshot.log(), State(study.directions()));
    } else {
      states_.splice(states_.begin(), states_, it);
    }
    states_.front().second.table.update(snapshot);
    return states_.front().second;
  }

  const ParzenEstimator& density_of(State& state, const std::string& names, const SearchSpace& space,
                                    const std::vector<ParzenColumn*>& columns, const std::vector<std::uint32_t>& rows,
                                    bool equal_weights) {
    constexpr std::size_t most = 1000;
    if (state.good.size() >= most && !state.good.contains(names)) state.good.clear();
    Good& good = state.good[names];
    if (good.density != nullptr && good.rows == rows && good.space == space) return *good.density;
    std::vector<double> weights;
    if (equal_weights) weights.assign(rows.size(), 1.0);
    good = {space, rows, std::make_unique<ParzenEstimator>(columns, rows, std::move(weights))};
    return *good.density;
  }

  Map sample(State& state, StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
    TrialTable& table = state.table;
    std::string names = "tune.tpe";
    for (const auto& entry : space) names += ":" + entry.first;
    std::vector<ParzenColumn*> columns;
    for (const auto& [name, distribution] : space) columns.push_back(&table.column(name, distribution));
    std::vector<std::uint8_t> has_all(table.size(), 1);  // by row: whether the trial has all of these parameters
    for (const auto* column : columns) {
      if (column->complete()) continue;
      const auto present = column->present();
      for (std::size_t row = 0; row < has_all.size(); ++row) has_all[row] &= present[row];
    }

    std::vector<std::uint8_t> is_good(table.size(), 0);
    std::vector<std::uint32_t> good;
    for (const auto row : table.best(n_good(table.size(), study.is_multi_objective()))) {
      is_good[row] = 1;
      if (has_all[row] != 0) good.push_back(row);
    }
    const ParzenEstimator& below = density_of(state, names, space, columns, good, study.is_multi_objective());

    // The density of the rest stands on all other rows, and on what other trials are trying right now.
    std::vector<std::int64_t> liar_numbers;
    std::vector<std::vector<double>> liars(space.size());
    if (options_.constant_liar) {
      const bool joint = multivariate(study);
      for (const auto& other : study.trials().unfinished()) {
        if (other->state != TrialState::running || other->number == trial.number) continue;
        const Map params = joint ? published_params(*other, relative_key) : other->params;
        const bool all =
            std::all_of(space.begin(), space.end(), [&](const auto& entry) { return params.contains(entry.first); });
        if (!all) continue;
        liar_numbers.push_back(other->number);
        std::size_t i = 0;
        for (const auto& [name, distribution] : space) liars[i++].push_back(distribution.to_internal(params.at(name)));
      }
    }
    std::vector<std::uint32_t> rest;  // rows by number
    for (const auto row : table.by_number()) {
      if (is_good[row] == 0 && has_all[row] != 0) rest.push_back(row);
    }
    const auto by_age = parzen_weights(rest.size() + liar_numbers.size());
    std::vector<double> weights(table.size(), 0.0), liar_weights(liar_numbers.size());
    std::size_t age = 0, liar = 0;
    for (const auto row : rest) {
      while (liar < liar_numbers.size() && liar_numbers[liar] < table.trial(row).number)
        liar_weights[liar++] = by_age[age++];
      weights[row] = by_age[age++];
    }
    while (liar < liar_numbers.size()) liar_weights[liar++] = by_age[age++];
    const ParzenEstimator above(columns, weights, liars, liar_weights);

    Rng rng(seed_, names, static_cast<std::uint64_t>(trial.number));
    const auto candidates = below.sample(rng, static_cast<std::size_t>(options_.n_ei_candidates));
    const auto log_below = below.log_pdf(candidates), log_above = above.log_pdf(candidates);
    std::size_t best = 0;
    for (std::size_t j = 1; j < log_below.size(); ++j) {
      if (log_below[j] - log_above[j] > log_below[best] - log_above[best]) best = j;
    }
    Map out;
    std::size_t i = 0;
    for (const auto& [name, distribution] : space) out[name] = distribution.to_external(candidates[i++][best]);
    return out;
  }

  const TPESamplerOptions options_;
  const std::uint64_t seed_;
  RandomSampler random_;
  std::mutex mutex_;
  std::list<std::pair<std::uint64_t, State>> states_;
};

TPESampler::TPESampler(TPESamplerOptions options) {
  if (options.n_startup_trials < 0) {
    throw Error({.what = "n_startup_trials must not be negative",
                 .value = std::to_string(options.n_startup_trials),
                 .where = "TPESampler",
                 .hint = {}});
  }
  if (options.n_ei_candidates < 1) {
    throw Error({.what = "n_ei_candidates must be positive",
                 .value = std::to_string(options.n_ei_candidates),
                 .where = "TPESampler",
                 .hint = {}});
  }
  if (options.group && options.multivariate == false) {
    throw Error({.what = "group = true chooses jointly within groups",
                 .value = "multivariate = false",
                 .where = "TPESampler",
                 .hint = "leave multivariate out or set it to true"});
  }
  impl_ = std::make_unique<Impl>(options);
}

TPESampler::~TPESampler() = default;
TPESampler::TPESampler(TPESampler&&) noexcept = default;
TPESampler& TPESampler::operator=(TPESampler&&) noexcept = default;

SearchSpace TPESampler::infer_relative_search_space(StudyView& study, const FrozenTrial&) {
  return impl_->relative_space(study);
}

Map TPESampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return impl_->sample_relative(study, trial, space);
}

Value TPESampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                     const Distribution& distribution) {
  return impl_->sample_independent(study, trial, name, distribution);
}

}  // namespace levin::tune
