#include <levin/tune/samplers/auto.h>

#include <levin/core/console.h>
#include <levin/tune/samplers/cma_es_sampler.h>
#include <levin/tune/samplers/gp.h>
#include <levin/tune/samplers/nsga.h>
#include <levin/tune/samplers/per_study.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/tpe.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

namespace levin::tune {
namespace {

constexpr std::size_t gp_trials = 250, gp_trials_several = 100;  // up to which Gaussian processes are fast
constexpr std::size_t gp_parameters = 20;
constexpr std::int64_t cma_needs = 100;  // trials that CMA-ES must still have before it to be worth the change

// What the choice depends on, kept up to date as trials finish.
struct Seen {
  std::size_t n_seen = 0, n_complete = 0;
  std::set<std::string> names;
  bool conditional = false, categorical = false, constrained = false;
  TrialPtr best;               // of the trials before CMA-ES takes over
  std::set<std::string> said;  // methods that were announced

  // The method of each trial under way, so that it keeps it.
  std::unordered_map<std::int64_t, std::string> of_trial;
};

void take_in(Seen& seen, const TrialsSnapshot& snapshot, Direction direction) {
  for (; seen.n_seen < snapshot.finished().size(); ++seen.n_seen) {
    const TrialPtr& trial = snapshot.finished()[seen.n_seen];
    seen.of_trial.erase(trial->number);
    if (trial->state != TrialState::complete) continue;
    std::set<std::string> names;
    for (const auto& [name, distribution] : trial->distributions) {
      names.insert(name);
      seen.categorical = seen.categorical || (distribution.is_categorical() && !distribution.single());
    }
    seen.conditional = seen.conditional || (seen.n_complete > 0 && names != seen.names);
    seen.names.merge(names);
    seen.constrained = seen.constrained || !trial->constraints().empty();
    // Which trials come first is the same for all workers: those with the lowest numbers.
    const bool early = std::cmp_less(trial->number, gp_trials);
    if (early && trial->values.size() == 1 && trial->infeasibility() == 0) {
      const double a = trial->values.front();
      const bool better = seen.best == nullptr || (direction == Direction::maximize ? a > seen.best->values.front()
                                                                                    : a < seen.best->values.front());
      if (better) seen.best = trial;
    }
    ++seen.n_complete;
  }
}

AutoChoice choose_by(const Seen& seen, std::size_t n_objectives, const AutoSamplerOptions& options) {
  if (seen.n_complete == 0) return {"random", "nothing is known of the space yet"};
  const std::string n = std::to_string(n_objectives);
  if (n_objectives >= 4) return {"nsga3", n + " objectives"};
  if (seen.conditional) return {"tpe", "some parameters are in some trials only"};
  if (seen.names.size() > gp_parameters) return {"tpe", std::to_string(seen.names.size()) + " parameters"};
  const bool several = n_objectives > 1;
  if (seen.n_complete < (several ? gp_trials_several : gp_trials)) {
    return {"gp", std::string(several ? n + " objectives" : "one objective") + ", few trials and " +
                      std::to_string(seen.names.size()) + " parameters in all of them"};
  }
  if (several) return {"nsga2", n + " objectives and many trials"};
  if (seen.categorical) return {"tpe", "many trials, and choices among the parameters"};
  if (seen.constrained) return {"tpe", "many trials, and constraints"};
  if (options.n_trials && *options.n_trials - static_cast<std::int64_t>(gp_trials) < cma_needs) {
    return {"tpe", "too few trials are left for another search"};
  }
  return {"cma", "many trials over numbers, from the best point so far"};
}

}  // namespace

class AutoSampler::Impl {
 public:
  explicit Impl(AutoSamplerOptions options) : options_(options), seed_(seed_or_random(options.seed)) {}

  AutoChoice choose(StudyView& study) {
    const std::lock_guard lock(mutex_);
    return choose_by(seen(study), study.directions().size(), options_);
  }

  /** The sampler of this trial; chosen when it is first asked about. */
  std::shared_ptr<Sampler> of(StudyView& study, const FrozenTrial& trial) {
    const std::lock_guard lock(mutex_);
    Seen& state = seen(study);
    auto it = state.of_trial.find(trial.number);
    if (it == state.of_trial.end()) {
      const AutoChoice choice = choose_by(state, study.directions().size(), options_);
      it = state.of_trial.emplace(trial.number, choice.method).first;
      if (choice.method != "random" && state.said.insert(choice.method).second) {
        console::info("study \"" + study.study_name() + "\": sampling by " + choice.method + " from trial " +
                      std::to_string(trial.number) + " on (" + choice.reason + ")");
      }
    }
    return sampler(it->second, state);
  }

  void finish(StudyView& study, const FrozenTrial& trial, TrialState state, const std::vector<double>& values) {
    of(study, trial)->after_trial(study, trial, state, values);
  }

 private:
  Seen& seen(StudyView& study) {
    Seen& state = cache_.of(study.trials());
    take_in(state, study.trials(), study.directions().front());
    return state;
  }

  std::shared_ptr<Sampler> sampler(const std::string& method, const Seen& state) {
    if (method == "cma" && state.best != nullptr) {
      // Where CMA-ES starts belongs to the study.
      auto& cma = cma_[state.best];
      if (cma == nullptr) {
        cma = std::make_shared<CmaEsSampler>(CmaEsSamplerOptions{.x0 = state.best->params,
                                                                 .sigma0 = 0.1,
                                                                 .warn_independent_sampling = false,
                                                                 .seed = seed_,
                                                                 .restart_strategy = CmaRestart::bipop});
      }
      return cma;
    }
    auto& made = samplers_[method];
    if (made != nullptr) return made;
    if (method == "random") made = std::make_shared<RandomSampler>(RandomSamplerOptions{.seed = seed_});
    if (method == "gp") {
      made = std::make_shared<GPSampler>(GPSamplerOptions{.seed = seed_, .warn_independent_sampling = false});
    }
    if (method == "nsga2") made = std::make_shared<NSGAIISampler>(NSGAIISamplerOptions{.seed = seed_});
    if (method == "nsga3") made = std::make_shared<NSGAIIISampler>(NSGAIIISamplerOptions{.seed = seed_});
    if (made == nullptr) made = std::make_shared<TPESampler>(TPESamplerOptions{.seed = seed_});
    return made;
  }

  const AutoSamplerOptions options_;
  const std::uint64_t seed_;
  std::mutex mutex_;
  PerStudy<Seen> cache_;
  std::map<std::string, std::shared_ptr<Sampler>> samplers_;
  std::map<TrialPtr, std::shared_ptr<Sampler>> cma_;
};

AutoSampler::AutoSampler(AutoSamplerOptions options) {
  if (options.n_trials && *options.n_trials < 1) {
    throw Error({.what = "n_trials must be positive",
                 .value = std::to_string(*options.n_trials),
                 .where = "AutoSampler",
                 .hint = "leave it out where it is not known"});
  }
  impl_ = std::make_unique<Impl>(options);
}

AutoSampler::~AutoSampler() = default;
AutoSampler::AutoSampler(AutoSampler&&) noexcept = default;
AutoSampler& AutoSampler::operator=(AutoSampler&&) noexcept = default;

AutoChoice AutoSampler::choose(StudyView& study) const { return impl_->choose(study); }

SearchSpace AutoSampler::infer_relative_search_space(StudyView& study, const FrozenTrial& trial) {
  return impl_->of(study, trial)->infer_relative_search_space(study, trial);
}

Map AutoSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return impl_->of(study, trial)->sample_relative(study, trial, space);
}

Value AutoSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                      const Distribution& distribution) {
  return impl_->of(study, trial)->sample_independent(study, trial, name, distribution);
}

void AutoSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                              const std::vector<double>& values) {
  impl_->finish(study, trial, state, values);
}

}  // namespace levin::tune
