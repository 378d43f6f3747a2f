#include <levin/tune/samplers/tpe.h>

#include <levin/core/rng.h>
#include <levin/tune/samplers/parzen_estimator.h>
#include <levin/tune/samplers/published_params.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/trial_table.h>

#include <algorithm>
#include <cmath>
#include <list>
#include <mutex>
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
    TrialTable& table = table_of(study);
    SearchSpace out;
    const auto take = [&](const SearchSpace& space) {
      for (const auto& [name, distribution] : space) {
        if (!distribution.single()) out.set(name, distribution);
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
    TrialTable& table = table_of(study);
    if (std::cmp_less(table.size(), options_.n_startup_trials)) return {};
    Map params;
    if (options_.group) {
      for (const auto& group : table.groups()) {
        SearchSpace part;
        for (const auto& [name, distribution] : group) {
          if (space.contains(name)) part.set(name, space.at(name));
        }
        if (part.empty()) continue;
        for (auto& [name, value] : sample(table, study, trial, part)) params[name] = std::move(value);
      }
    } else {
      params = sample(table, study, trial, space);
    }
    if (options_.constant_liar) publish_params(study, relative_key, params);
    return params;
  }

  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) {
    const std::lock_guard lock(mutex_);
    TrialTable& table = table_of(study);
    if (std::cmp_less(table.size(), options_.n_startup_trials)) {
      return random_.sample_independent(study, trial, name, distribution);
    }
    return sample(table, study, trial, {{name, distribution}}).at(name);
  }

 private:
  // The table of this study's log. A few are kept, so that one sampler can serve several studies.
  TrialTable& table_of(StudyView& study) {
    const TrialsSnapshot& snapshot = study.trials();
    auto it =
        std::find_if(tables_.begin(), tables_.end(), [&](const auto& entry) { return entry.first == snapshot.log(); });
    if (it == tables_.end()) {
      if (tables_.size() >= 8) tables_.pop_back();
      tables_.emplace_front(snapshot.log(), TrialTable(study.directions()));
    } else {
      tables_.splice(tables_.begin(), tables_, it);
    }
    tables_.front().second.update(snapshot);
    return tables_.front().second;
  }

  Map sample(TrialTable& table, StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
    const auto good = table.best(n_good(table.size(), study.is_multi_objective()));
    std::vector<ParzenColumn*> columns;
    for (const auto& [name, distribution] : space) columns.push_back(&table.column(name, distribution));
    const auto has_all = [&](std::size_t row) {
      return std::all_of(columns.begin(), columns.end(), [&](const ParzenColumn* column) { return column->has(row); });
    };

    // The density of the good trials stands on few observations: copies of its own.
    std::vector<std::vector<double>> observations(space.size());
    std::vector<std::uint8_t> is_good(table.size(), 0);
    for (const auto row : good) {
      is_good[row] = 1;
      if (!has_all(row)) continue;
      std::size_t i = 0;
      for (const auto& [name, distribution] : space) {
        observations[i++].push_back(distribution.to_internal(table.trial(row).params.at(name)));
      }
    }
    std::vector<double> equal;
    if (study.is_multi_objective()) equal.assign(observations.front().size(), 1.0);
    const ParzenEstimator below(space, observations, std::move(equal));

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
      if (!is_good[row] && has_all(row)) rest.push_back(row);
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

    std::string purpose = "tune.tpe";
    for (const auto& entry : space) purpose += ":" + entry.first;
    Rng rng(seed_, purpose, static_cast<std::uint64_t>(trial.number));
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
  std::list<std::pair<std::uint64_t, TrialTable>> tables_;
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
