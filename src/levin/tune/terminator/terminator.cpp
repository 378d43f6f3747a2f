#include <levin/tune/terminator/terminator.h>

#include <levin/core/console.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>

namespace levin::tune {
namespace {

constexpr const char* scores_key = "terminator:cv_scores";

std::vector<const FrozenTrial*> complete_trials(const std::vector<FrozenTrial>& trials) {
  std::vector<const FrozenTrial*> out;
  for (const auto& trial : trials) {
    if (trial.state == TrialState::complete) out.push_back(&trial);
  }
  if (out.empty()) throw Error("no trial is complete yet, so there is nothing to judge the study by");
  return out;
}

bool better(const FrozenTrial& a, const FrozenTrial& b, Direction direction) {
  return direction == Direction::maximize ? a.value() > b.value() : a.value() < b.value();
}

void require(bool holds, const char* what, const std::string& value, const char* where) {
  if (!holds) throw Error({.what = what, .value = value, .where = where, .hint = {}});
}

}  // namespace

ImprovementEvaluator::~ImprovementEvaluator() = default;
ErrorEvaluator::~ErrorEvaluator() = default;

BestValueStagnationEvaluator::BestValueStagnationEvaluator(std::int64_t max_stagnation_trials)
    : max_stagnation_trials_(max_stagnation_trials) {
  require(max_stagnation_trials >= 0, "max_stagnation_trials must not be negative",
          std::to_string(max_stagnation_trials), "BestValueStagnationEvaluator");
}

double BestValueStagnationEvaluator::evaluate(const std::vector<FrozenTrial>& trials, Direction direction) {
  const auto complete = complete_trials(trials);
  std::size_t best = 0;
  for (std::size_t i = 1; i < complete.size(); ++i) {
    if (better(*complete[i], *complete[best], direction)) best = i;
  }
  const auto since = static_cast<std::int64_t>(complete.size() - 1 - best);
  return static_cast<double>(max_stagnation_trials_ - since);
}

double CrossValidationErrorEvaluator::evaluate(const std::vector<FrozenTrial>& trials, Direction direction) {
  const auto complete = complete_trials(trials);
  const FrozenTrial* best = complete.front();
  for (const auto* trial : complete) {
    if (better(*trial, *best, direction)) best = trial;
  }
  const Value* scores = best->system_attrs.find(scores_key);
  if (scores == nullptr || !scores->is_list() || scores->as_list().size() < 2) {
    throw Error({.what = "the best trial told no scores of cross validation",
                 .value = "trial " + std::to_string(best->number),
                 .where = "CrossValidationErrorEvaluator",
                 .hint = "call report_cross_validation_scores in the objective, or take another error evaluator"});
  }
  const double k = static_cast<double>(scores->as_list().size());
  double sum = 0, squares = 0;
  for (const auto& score : scores->as_list()) sum += score.as_double();
  for (const auto& score : scores->as_list()) squares += std::pow(score.as_double() - sum / k, 2);
  return std::sqrt((1 / k + 1 / (k - 1)) * squares / k);
}

void report_cross_validation_scores(Trial& trial, const std::vector<double>& scores) {
  require(scores.size() >= 2, "cross validation has at least two scores", std::to_string(scores.size()),
          "report_cross_validation_scores");
  trial.set_system_attr(scores_key, List(scores.begin(), scores.end()));
}

MedianErrorEvaluator::MedianErrorEvaluator(ImprovementEvaluatorRef improvement, MedianErrorEvaluatorOptions options)
    : improvement_(std::move(improvement)), options_(options) {
  constexpr const char* where = "MedianErrorEvaluator";
  require(static_cast<bool>(improvement_), "it needs an improvement evaluator", "none", where);
  require(options.warm_up_trials >= 0, "warm_up_trials must not be negative", std::to_string(options.warm_up_trials),
          where);
  require(options.n_initial_trials >= 1, "n_initial_trials must be positive", std::to_string(options.n_initial_trials),
          where);
  require(options.threshold_ratio > 0 && std::isfinite(options.threshold_ratio), "threshold_ratio must be positive",
          format_double(options.threshold_ratio), where);
}

double MedianErrorEvaluator::evaluate(const std::vector<FrozenTrial>& trials, Direction direction) {
  if (threshold_) return *threshold_;
  std::vector<FrozenTrial> complete;
  for (const auto& trial : trials) {
    if (trial.state == TrialState::complete) complete.push_back(trial);
  }
  if (std::cmp_less(complete.size(), options_.warm_up_trials + options_.n_initial_trials)) {
    return -std::numeric_limits<double>::min();
  }
  std::sort(complete.begin(), complete.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  const auto first = complete.begin() + static_cast<std::ptrdiff_t>(options_.warm_up_trials);
  std::vector<double> improvements;
  for (std::int64_t n = 1; n <= options_.n_initial_trials; ++n) {
    improvements.push_back(improvement_.get()->evaluate({first, first + static_cast<std::ptrdiff_t>(n)}, direction));
  }
  std::sort(improvements.begin(), improvements.end());
  threshold_ =
      std::min(std::numeric_limits<double>::max(), improvements[improvements.size() / 2] * options_.threshold_ratio);
  return *threshold_;
}

Terminator::Terminator(TerminatorOptions options) : options_(std::move(options)) {
  require(options_.min_n_trials >= 1, "min_n_trials must be positive", std::to_string(options_.min_n_trials),
          "Terminator");
  if (!options_.improvement_evaluator) options_.improvement_evaluator = BestValueStagnationEvaluator();
  if (options_.error_evaluator) return;
  const bool counts_trials =
      dynamic_cast<BestValueStagnationEvaluator*>(options_.improvement_evaluator.get().get()) != nullptr;
  if (counts_trials) {
    options_.error_evaluator = StaticErrorEvaluator(0);
  } else {
    options_.error_evaluator = CrossValidationErrorEvaluator();
  }
}

bool Terminator::should_terminate(const Study& study) {
  const Direction direction = study.direction();
  const auto trials = study.trials();
  const auto n_complete = std::count_if(trials.begin(), trials.end(),
                                        [](const auto& trial) { return trial.state == TrialState::complete; });
  if (n_complete < options_.min_n_trials) return false;
  const double improvement = options_.improvement_evaluator.get()->evaluate(trials, direction);
  return improvement < options_.error_evaluator.get()->evaluate(trials, direction);
}

StudyCallback terminator_callback(Terminator terminator) {
  return [terminator = std::move(terminator)](Study& study, const FrozenTrial&) mutable {
    if (!terminator.should_terminate(study)) return;
    console::info("study \"" + study.study_name() + "\" ends: no improvement worth having is in sight");
    study.stop();
  };
}

StudyCallback max_trials_callback(std::int64_t n_trials, std::vector<TrialState> states) {
  require(n_trials >= 1, "n_trials must be positive", std::to_string(n_trials), "max_trials_callback");
  return [n_trials, states = std::move(states)](Study& study, const FrozenTrial&) {
    if (std::cmp_greater_equal(study.trials(states).size(), n_trials)) study.stop();
  };
}

}  // namespace levin::tune
