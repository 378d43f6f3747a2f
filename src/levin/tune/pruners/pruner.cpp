#include <levin/tune/pruners/pruner.h>

namespace levin::tune {

Pruner::~Pruner() = default;

Grouping Pruner::grouping(StudyView&) { return {}; }

bool judged_at_last_step(const FrozenTrial& trial, std::int64_t n_warmup_steps, std::int64_t interval_steps) {
  if (trial.intermediate_values.empty()) return false;
  const std::int64_t step = trial.intermediate_values.back().first;
  if (step < n_warmup_steps) return false;
  if (trial.intermediate_values.size() == 1) return true;
  const std::int64_t interval_start = (step - n_warmup_steps) / interval_steps * interval_steps + n_warmup_steps;
  return (trial.intermediate_values.end() - 2)->first < interval_start;
}

}  // namespace levin::tune
