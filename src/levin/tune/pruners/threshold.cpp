#include <levin/tune/pruners/threshold.h>

#include <cmath>
#include <limits>
#include <string>

namespace levin::tune {
namespace {

void require(bool holds, const char* what, const std::string& value) {
  if (!holds) throw Error({.what = what, .value = value, .where = "ThresholdPruner", .hint = {}});
}

}  // namespace

ThresholdPruner::ThresholdPruner(ThresholdPrunerOptions options) : options_(options) {
  require(options.lower || options.upper, "it needs lower, upper or both", "neither");
  for (const auto& bound : {options.lower, options.upper}) {
    require(!bound || !std::isnan(*bound), "a bound must be a number", "nan");
  }
  if (options.lower && options.upper) {
    require(*options.lower <= *options.upper, "lower must not exceed upper",
            format_double(*options.lower) + " and " + format_double(*options.upper));
  }
  require(options.n_warmup_steps >= 0, "n_warmup_steps must not be negative", std::to_string(options.n_warmup_steps));
  require(options.interval_steps >= 1, "interval_steps must be at least 1", std::to_string(options.interval_steps));
}

bool ThresholdPruner::prune(StudyView&, const FrozenTrial& trial) {
  if (!judged_at_last_step(trial, options_.n_warmup_steps, options_.interval_steps)) return false;
  const double value = trial.intermediate_values.back().second;
  return std::isnan(value) || value < options_.lower.value_or(-std::numeric_limits<double>::infinity()) ||
         value > options_.upper.value_or(std::numeric_limits<double>::infinity());
}

}  // namespace levin::tune
