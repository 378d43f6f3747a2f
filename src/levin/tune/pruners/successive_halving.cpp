#include <levin/tune/pruners/successive_halving.h>

#include <levin/tune/pareto.h>
#include <levin/tune/pruners/ordered_reports.h>
#include <levin/tune/samplers/per_study.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {
namespace {

void require(bool holds, const char* what, const std::string& value) {
  if (!holds) throw Error({.what = what, .value = value, .where = "SuccessiveHalvingPruner", .hint = {}});
}

std::string rung_key(std::int64_t rung) { return "completed_rung_" + std::to_string(rung); }

// What trials stored when they came to a rung; a trial's value there never changes.
class Rung {
 public:
  void add(const Value& stored, const std::vector<Direction>& directions) {
    if (directions.size() == 1) {
      if (stored.is_number()) values_.add(stored.as_double());
    } else if (stored.is_list() && stored.as_list().size() == directions.size()) {
      constexpr double inf = std::numeric_limits<double>::infinity();
      std::vector<double> losses;
      for (const auto& value : stored.as_list()) losses.push_back(value.is_number() ? value.as_double() : std::nan(""));
      losses = to_losses(losses, directions);
      for (double& loss : losses) loss = std::isnan(loss) ? inf : loss;
      fronts_.add(std::move(losses));
    }
  }

  std::int64_t size() const { return values_.count() + static_cast<std::int64_t>(fronts_.size()); }

  /** Whether one more trial with these values is among the best `n`; with one objective, ties are. */
  bool among_the_best(std::int64_t n, const std::vector<double>& values, const std::vector<Direction>& directions) {
    if (directions.size() == 1) {
      const auto& sorted = values_.sorted();
      const auto n_better = directions.front() == Direction::maximize
                                ? sorted.end() - std::upper_bound(sorted.begin(), sorted.end(), values.front())
                                : std::lower_bound(sorted.begin(), sorted.end(), values.front()) - sorted.begin();
      return n_better < n;
    }
    const auto losses = to_losses(values, directions);
    const std::size_t rank = fronts_.rank(losses);
    const auto room = n - static_cast<std::int64_t>(fronts_.n_before(rank));
    if (room <= 0) return false;
    std::vector<std::vector<double>> front{losses};
    if (rank < fronts_.n_fronts()) {
      for (const auto& other : fronts_.front(rank)) {
        if (!dominates(losses, other)) front.push_back(other);
      }
    }
    return best_of_front(front, static_cast<std::size_t>(room)).front() == 0;
  }

 private:
  detail::SortedReports values_;
  NondominatedFronts fronts_;
};

// The trials of a study that compete, as far as they were read.
struct Competition {
  std::size_t n_read = 0;               // of the finished
  std::optional<std::int64_t> longest;  // the last step of the longest complete trial
  std::vector<Rung> rungs;
  std::map<std::int64_t, std::size_t> open;  // by number: how many rungs of an unfinished trial were read

  void read(const TrialsSnapshot& trials, const FrozenTrial& current, const std::vector<Direction>& directions,
            const std::function<bool(const FrozenTrial&)>& competes) {
    if (n_read > trials.finished().size()) *this = {};  // a view of an earlier moment
    for (; n_read < trials.finished().size(); ++n_read) {
      const FrozenTrial& trial = *trials.finished()[n_read];
      const auto began = open.extract(trial.number);
      if (trial.number == current.number || !competes(trial)) continue;
      add(trial, began.empty() ? 0 : began.mapped(), directions);
      if (trial.state != TrialState::complete) continue;
      if (const auto step = trial.last_step()) longest = std::max(longest.value_or(0), *step);
    }
    for (const auto& trial : trials.unfinished()) {
      if (trial->number == current.number || !trial->system_attrs.contains(rung_key(0)) || !competes(*trial)) continue;
      std::size_t& n = open[trial->number];
      n = add(*trial, n, directions);
    }
  }

 private:
  std::size_t add(const FrozenTrial& trial, std::size_t rung, const std::vector<Direction>& directions) {
    for (;; ++rung) {
      const Value* stored = trial.system_attrs.find(rung_key(static_cast<std::int64_t>(rung)));
      if (stored == nullptr) return rung;
      if (rung == rungs.size()) rungs.emplace_back();
      rungs[rung].add(*stored, directions);
    }
  }
};

}  // namespace

MinResource::MinResource(const char* word) {
  require(std::string_view(word) == "auto", "min_resource is a number of steps or \"auto\"",
          std::string("\"") + word + "\"");
}

struct SuccessiveHalvingPruner::State {
  std::mutex mutex;
  PerStudy<Competition> studies;
};

SuccessiveHalvingPruner::SuccessiveHalvingPruner(SuccessiveHalvingPrunerOptions options)
    : options_(options), state_(std::make_shared<State>()) {
  const auto& steps = options.min_resource.steps();
  require(!steps || *steps >= 1, "min_resource must be at least 1", std::to_string(steps.value_or(0)));
  require(options.reduction_factor >= 2, "reduction_factor must be at least 2",
          std::to_string(options.reduction_factor));
  require(options.min_early_stopping_rate >= 0, "min_early_stopping_rate must not be negative",
          std::to_string(options.min_early_stopping_rate));
  require(options.bootstrap_count >= 0, "bootstrap_count must not be negative",
          std::to_string(options.bootstrap_count));
  require(options.bootstrap_count == 0 || steps.has_value(), "bootstrap_count needs a min_resource in steps",
          std::to_string(options.bootstrap_count) + " with min_resource \"auto\"");
}

bool SuccessiveHalvingPruner::prune(StudyView& study, const FrozenTrial& trial) {
  return prune_among(study, trial, [](const FrozenTrial&) { return true; });
}

bool SuccessiveHalvingPruner::prune_among(StudyView& study, const FrozenTrial& trial,
                                          const std::function<bool(const FrozenTrial&)>& competes) const {
  if (trial.intermediate_values.empty()) return false;
  const std::int64_t step = trial.intermediate_values.back().first;
  const std::vector<double> values = trial.reported(step);
  std::int64_t rung = 0;
  while (trial.system_attrs.contains(rung_key(rung))) ++rung;
  const TrialsSnapshot trials = study.trials();
  const std::lock_guard lock(state_->mutex);
  Competition& others = state_->studies.of(trials);
  others.read(trials, trial, study.directions(), competes);
  std::optional<std::int64_t> resource = options_.min_resource.steps();
  if (!resource && others.longest) resource = std::max<std::int64_t>(*others.longest / 100, 1);
  if (!resource) return false;

  const double eta = static_cast<double>(options_.reduction_factor);
  for (;; ++rung) {
    const double rung_step =
        static_cast<double>(*resource) * std::pow(eta, static_cast<double>(options_.min_early_stopping_rate + rung));
    if (static_cast<double>(step) < rung_step) return false;
    if (std::any_of(values.begin(), values.end(), [](double v) { return std::isnan(v); })) return true;

    if (others.rungs.size() <= static_cast<std::size_t>(rung)) others.rungs.resize(static_cast<std::size_t>(rung) + 1);
    Rung& reached = others.rungs[static_cast<std::size_t>(rung)];
    study.set_system_attr(rung_key(rung),
                          values.size() == 1 ? Value(values.front()) : Value(List(values.begin(), values.end())));

    const std::int64_t size = reached.size() + 1;
    if (size <= options_.bootstrap_count) return true;
    // Of the first few the best goes on: nothing waits here for a rung to fill.
    const std::int64_t n_kept = std::max<std::int64_t>(size / options_.reduction_factor, 1);
    if (!reached.among_the_best(n_kept, values, study.directions())) return true;
  }
}

}  // namespace levin::tune
