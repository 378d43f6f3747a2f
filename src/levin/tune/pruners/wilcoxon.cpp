#include <levin/tune/pruners/wilcoxon.h>

#include <levin/core/console.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <string>

namespace levin::tune {
namespace {

bool all_finite(const IntermediateValues& values) {
  return std::all_of(values.begin(), values.end(), [](const auto& entry) { return std::isfinite(entry.second); });
}

double mean(const IntermediateValues& values) {
  double sum = 0;
  for (const auto& [step, value] : values) sum += value;
  return sum / static_cast<double>(values.size());
}

// Of all ways to give signs to the (doubled, hence whole) ranks, the share whose positive ranks sum to at least, or at
// most, `sum`.
double exact_p_value(const std::vector<std::size_t>& ranks, std::size_t sum, Alternative alternative) {
  std::vector<double> ways{1};
  for (const std::size_t rank : ranks) {
    ways.resize(ways.size() + rank, 0);
    for (std::size_t s = ways.size(); s-- > rank;) ways[s] += ways[s - rank];
  }
  const auto at = ways.begin() + static_cast<std::ptrdiff_t>(sum);
  const double share = alternative == Alternative::greater ? std::accumulate(at, ways.end(), 0.0)
                                                           : std::accumulate(ways.begin(), at + 1, 0.0);
  return share / std::pow(2.0, static_cast<double>(ranks.size()));
}

}  // namespace

double wilcoxon_p_value(const std::vector<double>& differences, Alternative alternative) {
  const std::size_t n = differences.size();
  if (n == 0) return std::nan("");
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return std::abs(differences[a]) < std::abs(differences[b]); });

  // Twice the rank, so that shared ranks are whole.
  std::vector<std::size_t> nonzero_ranks;
  std::size_t positive = 0, zero = 0;
  double tie_correction = 0;
  bool ties = false;
  for (std::size_t first = 0; first < n;) {
    const double size = std::abs(differences[order[first]]);
    std::size_t last = first;
    while (last + 1 < n && std::abs(differences[order[last + 1]]) == size) ++last;
    const std::size_t rank = first + last + 2;
    for (std::size_t i = first; i <= last; ++i) {
      const double d = differences[order[i]];
      if (d > 0) positive += rank;
      if (d == 0) {
        zero += rank;
      } else {
        nonzero_ranks.push_back(rank);
      }
    }
    const double count = static_cast<double>(last - first + 1);
    ties = ties || last > first;
    tie_correction += count * count * count - count;
    first = last + 1;
  }

  if (n <= 13 || (n <= 50 && !ties && zero == 0)) return exact_p_value(nonzero_ranks, positive, alternative);
  const double count = static_cast<double>(n);
  const double statistic = static_cast<double>(positive) / 2 + static_cast<double>(zero) / 4;
  const double middle = count * (count + 1) / 4;
  const double deviation = std::sqrt((count * (count + 1) * (2 * count + 1) - tie_correction / 2) / 24);
  const double z = (statistic - middle) / deviation;
  return 0.5 * std::erfc((alternative == Alternative::greater ? z : -z) / std::numbers::sqrt2);
}

WilcoxonPruner::WilcoxonPruner(WilcoxonPrunerOptions options) : options_(options) {
  if (!(options.p_threshold >= 0 && options.p_threshold <= 1)) {
    throw Error({.what = "p_threshold must lie between 0 and 1",
                 .value = format_double(options.p_threshold),
                 .where = "WilcoxonPruner",
                 .hint = {}});
  }
  if (options.n_startup_steps < 0) {
    throw Error({.what = "n_startup_steps must not be negative",
                 .value = std::to_string(options.n_startup_steps),
                 .where = "WilcoxonPruner",
                 .hint = {}});
  }
}

bool WilcoxonPruner::prune(StudyView& study, const FrozenTrial& trial) {
  const auto& mine = trial.intermediate_values;
  if (mine.empty()) return false;
  if (!all_finite(mine)) {
    console::warn_once("trial " + std::to_string(trial.number) +
                       " reported infinity or NaN; WilcoxonPruner does not prune it");
    return false;
  }
  const Direction direction = study.direction();
  const TrialPtr best = study.cache()->best(direction);
  if (best == nullptr) return false;
  const auto& theirs = best->intermediate_values;
  if (theirs.empty() || !all_finite(theirs)) {
    console::warn_once("the best trial (" + std::to_string(best->number) +
                       ") has no finite reports to compare with; WilcoxonPruner prunes nothing meanwhile");
    return false;
  }
  std::vector<double> differences;
  for (const auto& [step, value] : mine) {
    if (const double* other = theirs.find(step)) differences.push_back(value - *other);
  }
  if (differences.size() < mine.size()) {
    console::warn_once("trial " + std::to_string(trial.number) +
                       " reported steps that the best trial has not; WilcoxonPruner leaves them out");
  }
  if (std::cmp_less(differences.size(), std::max<std::int64_t>(2, options_.n_startup_steps))) return false;
  const bool maximize = direction == Direction::maximize;
  const bool better_mean = maximize ? mean(theirs) <= mean(mine) : mean(theirs) >= mean(mine);
  return !better_mean &&
         wilcoxon_p_value(differences, maximize ? Alternative::less : Alternative::greater) < options_.p_threshold;
}

}  // namespace levin::tune
