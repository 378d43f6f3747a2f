#include <levin/core/console.h>
#include <levin/tune/importance/importance.h>
#include <levin/tune/pareto.h>
#include <levin/tune/samplers/truncated_normal.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

namespace levin::tune {
namespace {

constexpr std::size_t max_cells = 50;
constexpr double prior_weight = 1;
constexpr std::size_t min_regime = 2;  // trials that a regime must have

// Trials, named by their place in the list.
using Places = std::vector<std::size_t>;

// How often each cell of a parameter's range was tried; the cells of a categorical parameter are its choices.
std::vector<double> count_cells(const std::string& name, const Distribution& d, const std::vector<FrozenTrial>& trials,
                                const Places& places) {
  std::size_t n_cells = d.size();
  double low = 0, width = 1;
  if (!d.is_categorical()) {
    n_cells = max_cells;
    if (d.kind() == Distribution::Kind::integer && d.log()) {
      n_cells =
          std::min(n_cells, static_cast<std::size_t>(std::ceil(std::log(d.high() - d.low() + 1) / std::log(2.0))) + 1);
    } else if (d.step() > 0) {
      n_cells = std::min(n_cells, static_cast<std::size_t>(std::nearbyint((d.high() - d.low()) / d.step())) + 1);
    }
    low = d.log() ? std::log(d.low()) : d.low();
    const double high = d.log() ? std::log(d.high()) : d.high();
    width = (high - low) / static_cast<double>(n_cells - 1);
  }
  std::vector<double> counts(n_cells, 0.0);
  for (const auto i : places) {
    double value = d.to_internal(trials[i].params.at(name));
    if (!d.is_categorical()) {
      if (d.log()) value = std::log(value);
      value = std::clamp(std::ceil((value - low) / width - 0.5), 0.0, static_cast<double>(n_cells - 1));
    }
    ++counts[static_cast<std::size_t>(value)];
  }
  return counts;
}

// The Parzen density of the cells' numbers, with Scott's bandwidth; a prior of weight 1 over all cells.
std::vector<double> density_of_numbers(const std::vector<double>& counts) {
  std::vector<double> cells, weights;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    cells.push_back(static_cast<double>(i));
    weights.push_back(counts[i]);
  }
  const double high = static_cast<double>(counts.size() - 1),
               total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double mean = std::inner_product(cells.begin(), cells.end(), weights.begin(), 0.0) / total;
  double squares = 0;
  for (std::size_t i = 0; i < cells.size(); ++i) squares += weights[i] * (cells[i] - mean) * (cells[i] - mean);
  const double deviation = std::sqrt(squares / std::max(1.0, total - 1));
  std::vector<double> cumulative(weights.size());
  std::partial_sum(weights.begin(), weights.end(), cumulative.begin());
  const auto q1 = std::lower_bound(cumulative.begin(), cumulative.end(), std::floor(total / 4)) - cumulative.begin();
  const auto q3 =
      std::upper_bound(cumulative.begin(), cumulative.end(), std::floor(total * 3 / 4)) - cumulative.begin();
  const auto last = static_cast<std::ptrdiff_t>(cells.size()) - 1;
  const double range = cells[static_cast<std::size_t>(std::min(last, q3))] - cells[static_cast<std::size_t>(q1)];
  const double sigma = std::max(1.059 * std::min(range / 1.34, deviation) * std::pow(total, -0.2), 0.5 / 1.64);

  cells.push_back(high / 2);
  weights.push_back(prior_weight);
  std::vector<double> density(counts.size(), 0.0);
  for (std::size_t k = 0; k < cells.size(); ++k) {
    const double s = k + 1 < cells.size() ? sigma : high + 1, mu = cells[k];
    const double whole = log_normal_mass((-0.5 - mu) / s, (high + 0.5 - mu) / s);
    for (std::size_t i = 0; i < density.size(); ++i) {
      const double x = static_cast<double>(i);
      const double mass = log_normal_mass((x - 0.5 - mu) / s, (x + 0.5 - mu) / s);
      density[i] += weights[k] / (total + prior_weight) * std::exp(mass - whole);
    }
  }
  return density;
}

// The same for choices: each tried choice is a kernel that leaves a little to the others.
std::vector<double> density_of_choices(const std::vector<double>& counts) {
  const double n = static_cast<double>(counts.size());
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  const double n_kernels =
      static_cast<double>(std::count_if(counts.begin(), counts.end(), [](double c) { return c > 0; })) + 1;
  const double base = prior_weight / n_kernels, row = 1 + n * base;
  std::vector<double> density(counts.size());
  for (std::size_t i = 0; i < density.size(); ++i) {
    density[i] = (counts[i] * (1 + base) + (total - counts[i]) * base) / row + prior_weight / n;
    density[i] /= total + prior_weight;
  }
  return density;
}

double divergence(const std::string& name, const Distribution& d, const std::vector<FrozenTrial>& trials,
                  const Places& good, const Places& all, bool local) {
  const auto density = [&](const Places& places) {
    const auto counts = count_cells(name, d, trials, places);
    return d.is_categorical() ? density_of_choices(counts) : density_of_numbers(counts);
  };
  const auto top = density(good);
  std::vector<double> base(top.size(), 1 / static_cast<double>(top.size()));
  if (local) {
    base = density(all);
    for (double& p : base) p += 1e-12;
  }
  double out = 0;
  for (std::size_t i = 0; i < top.size(); ++i) out += base[i] * std::pow((top[i] + 1e-12) / base[i] - 1, 2);
  return out;
}

// The best share of the trials: with ties at the border by value, without by dominance.
Places best_share(const ImportanceProblem& problem, const Places& finite, double share) {
  if (share == 1) return finite;
  const auto n = static_cast<std::size_t>(std::ceil(share * static_cast<double>(finite.size())));
  Places out;
  if (problem.directions.size() > 1 && !problem.target) {
    std::vector<std::vector<double>> losses;
    for (const auto i : finite) losses.push_back(to_losses(problem.trials[i].values, problem.directions));
    for (const auto k : best_by_dominance(losses, n)) out.push_back(finite[k]);
    return out;
  }
  std::vector<double> losses;
  for (const auto i : finite) {
    const double value = problem.target ? problem.target(problem.trials[i]) : problem.trials[i].values.front();
    losses.push_back(!problem.target && problem.directions.front() == Direction::maximize ? -value : value);
  }
  std::vector<double> sorted = losses;
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(n) - 1, sorted.end());
  for (std::size_t k = 0; k < losses.size(); ++k) {
    if (losses[k] <= sorted[n - 1]) out.push_back(finite[k]);
  }
  return out;
}

}  // namespace

PedAnovaImportanceEvaluator::PedAnovaImportanceEvaluator(PedAnovaOptions options) : options_(options) {
  const bool right =
      options.target_quantile > 0 && options.target_quantile < options.region_quantile && options.region_quantile <= 1;
  if (!right) {
    throw Error({.what = "0 < target_quantile < region_quantile <= 1 must hold",
                 .value = format_double(options.target_quantile) + " and " + format_double(options.region_quantile),
                 .where = "PedAnovaImportanceEvaluator",
                 .hint = {}});
  }
}

Importances PedAnovaImportanceEvaluator::evaluate(const ImportanceProblem& problem) const {
  const auto& trials = problem.trials;
  std::vector<std::string> params = problem.params;
  if (params.empty()) {
    std::set<std::string> names;
    for (const auto& trial : trials) {
      for (const auto& entry : trial.distributions) names.insert(entry.first);
    }
    params.assign(names.begin(), names.end());
  }
  Importances out;
  for (const auto& name : params) out.emplace_back(name, 0.0);

  Places finite;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const bool usable = problem.target ? std::isfinite(problem.target(trials[i]))
                                       : std::all_of(trials[i].values.begin(), trials[i].values.end(),
                                                     [](double v) { return std::isfinite(v); });
    if (usable) finite.push_back(i);
  }
  if (finite.size() <= 1) {
    console::warn_once("too few complete trials to tell importances; all are equal");
    return out;
  }
  const Places good = best_share(problem, finite, options_.target_quantile);
  const Places region = best_share(problem, finite, options_.region_quantile);
  const std::set<std::size_t> is_good(good.begin(), good.end());
  const double n_good = static_cast<double>(good.size()), n_region = static_cast<double>(region.size());

  for (auto& [name, importance] : out) {
    // The trials that had the parameter with the same distribution make up a regime.
    std::vector<std::pair<Distribution, Places>> regimes;
    for (const auto i : region) {
      const Distribution* d = trials[i].distributions.find(name);
      if (d == nullptr) continue;
      auto it = std::find_if(regimes.begin(), regimes.end(), [&](const auto& regime) { return regime.first == *d; });
      if (it == regimes.end()) it = regimes.emplace(regimes.end(), *d, Places());
      it->second.push_back(i);
    }
    for (const auto& [distribution, members] : regimes) {
      Places good_members;
      for (const auto i : members) {
        if (is_good.contains(i)) good_members.push_back(i);
      }
      if (members.size() < min_regime || distribution.single() || good_members.empty()) continue;
      const double good_share = static_cast<double>(good_members.size()) / n_good;
      const double share = static_cast<double>(members.size()) / n_region;
      importance += good_share * good_share / share *
                    divergence(name, distribution, trials, good_members, members, options_.evaluate_on_local);
    }
    importance *= n_good / n_region * (n_good / n_region);
  }
  return out;
}

}  // namespace levin::tune
