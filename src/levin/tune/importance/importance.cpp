#include <levin/tune/importance/importance.h>

#include <algorithm>

namespace levin::tune {

ImportanceEvaluator::~ImportanceEvaluator() = default;

Importances param_importances(const Study& study, const ParamImportancesOptions& options) {
  ImportanceProblem problem{.trials = study.trials({TrialState::complete}),
                            .directions = study.directions(),
                            .params = options.params,
                            .target = options.target};
  std::vector<std::string> known;
  for (const auto& trial : problem.trials) {
    for (const auto& entry : trial.distributions) {
      if (std::find(known.begin(), known.end(), entry.first) == known.end()) known.push_back(entry.first);
    }
  }
  for (const auto& name : options.params) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw Error({.what = "no complete trial has a parameter \"" + name + "\"",
                 .value = {},
                 .where = "study \"" + study.study_name() + "\"",
                 .hint = did_you_mean(name, known)});
  }
  Importances out =
      options.evaluator ? (*options.evaluator).evaluate(problem) : PedAnovaImportanceEvaluator().evaluate(problem);
  if (options.normalize && !out.empty()) {
    double sum = 0;
    for (const auto& entry : out) sum += entry.second;
    for (auto& entry : out) entry.second = sum == 0 ? 1.0 / static_cast<double>(out.size()) : entry.second / sum;
  }
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

}  // namespace levin::tune
