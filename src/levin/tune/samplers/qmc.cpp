#include <levin/tune/samplers/qmc.h>

#include <levin/core/console.h>
#include <levin/core/rng.h>
#include <levin/tune/samplers/low_discrepancy.h>
#include <levin/tune/samplers/per_study.h>
#include <levin/tune/samplers/random.h>
#include <levin/tune/samplers/unit_cube.h>

#include <algorithm>
#include <mutex>

namespace levin::tune {
namespace {

// The finished (complete or pruned) trial of the lowest number so far.
struct FirstTrial {
  std::size_t n_seen = 0;
  TrialPtr trial;

  void update(const TrialsSnapshot& snapshot) {
    for (const auto finished = snapshot.finished(); n_seen < finished.size(); ++n_seen) {
      const TrialPtr& next = finished[n_seen];
      if (next->state == TrialState::fail || next->distributions.empty()) continue;
      if (trial == nullptr || next->number < trial->number) trial = next;
    }
  }
};

}  // namespace

class QMCSampler::Impl {
 public:
  explicit Impl(QMCSamplerOptions options)
      : options_(std::move(options)),
        independent_(options_.independent_sampler
                         ? options_.independent_sampler.get()
                         : std::make_shared<RandomSampler>(RandomSamplerOptions{.seed = options_.seed})) {}

  TrialPtr first_trial(StudyView& study) {
    const std::lock_guard lock(mutex_);
    const TrialsSnapshot& snapshot = study.trials();
    FirstTrial& first = first_.of(snapshot);
    first.update(snapshot);
    return first.trial;
  }

  SearchSpace space(StudyView& study) {
    const TrialPtr first = first_trial(study);
    SearchSpace out;
    if (first == nullptr) return out;
    std::vector<SearchSpace::value_type> entries;
    for (const auto& entry : first->distributions) {
      if (!entry.second.single()) entries.push_back(entry);
    }
    // By name, since not every storage keeps the order of suggestion.
    std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    for (const auto& [name, distribution] : entries) out.set(name, distribution);
    return out;
  }

  Map sample(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) const {
    const UnitCube cube(space);
    if (cube.size() == 0) return {};
    std::optional<std::uint64_t> scramble;
    if (options_.scramble) scramble = options_.seed.value_or(stable_hash(study.study_name()));
    const auto index = static_cast<std::uint64_t>(trial.number);
    return cube.to_params(options_.qmc_type == QMCType::sobol ? SobolSequence(cube.size(), scramble).point(index)
                                                              : HaltonSequence(cube.size(), scramble).point(index));
  }

  Value sample_alone(StudyView& study, const FrozenTrial& trial, const std::string& name,
                     const Distribution& distribution) {
    if (options_.warn_independent_sampling && first_trial(study) != nullptr) {
      console::warn_once("QMCSampler: parameter \"" + name +
                         "\" is not (or with another range) in the first trial, and is chosen alone");
    }
    return independent_->sample_independent(study, trial, name, distribution);
  }

  Sampler& independent() const { return *independent_; }

 private:
  const QMCSamplerOptions options_;
  const std::shared_ptr<Sampler> independent_;
  std::mutex mutex_;
  PerStudy<FirstTrial> first_;
};

QMCSampler::QMCSampler(QMCSamplerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
QMCSampler::~QMCSampler() = default;
QMCSampler::QMCSampler(QMCSampler&&) noexcept = default;
QMCSampler& QMCSampler::operator=(QMCSampler&&) noexcept = default;

SearchSpace QMCSampler::infer_relative_search_space(StudyView& study, const FrozenTrial&) {
  return impl_->space(study);
}

Map QMCSampler::sample_relative(StudyView& study, const FrozenTrial& trial, const SearchSpace& space) {
  return impl_->sample(study, trial, space);
}

Value QMCSampler::sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                                     const Distribution& distribution) {
  return impl_->sample_alone(study, trial, name, distribution);
}

void QMCSampler::before_trial(StudyView& study, const FrozenTrial& trial) {
  impl_->independent().before_trial(study, trial);
}

void QMCSampler::after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                             const std::vector<double>& values) {
  impl_->independent().after_trial(study, trial, state, values);
}

}  // namespace levin::tune
