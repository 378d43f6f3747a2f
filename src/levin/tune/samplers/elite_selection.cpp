#include <levin/tune/samplers/elite_selection.h>

#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace levin::tune {
namespace {

using Matrix = std::vector<std::vector<double>>;

// x with a x = 1, or nothing when `a` is singular to working precision.
std::optional<std::vector<double>> solve_for_ones(Matrix a) {
  const std::size_t n = a.size();
  double largest = 0;
  for (const auto& row : a) {
    for (const double v : row) {
      if (!std::isfinite(v)) return std::nullopt;
      largest = std::max(largest, std::abs(v));
    }
  }
  const double tiny = largest * static_cast<double>(n) * std::numeric_limits<double>::epsilon();
  std::vector<double> x(n, 1.0);
  for (std::size_t k = 0; k < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < n; ++i) {
      if (std::abs(a[i][k]) > std::abs(a[pivot][k])) pivot = i;
    }
    if (std::abs(a[pivot][k]) <= tiny) return std::nullopt;
    std::swap(a[k], a[pivot]);
    std::swap(x[k], x[pivot]);
    for (std::size_t i = k + 1; i < n; ++i) {
      const double factor = a[i][k] / a[k][k];
      for (std::size_t j = k; j < n; ++j) a[i][j] -= factor * a[k][j];
      x[i] -= factor * x[k];
    }
  }
  for (std::size_t k = n; k-- > 0;) {
    for (std::size_t j = k + 1; j < n; ++j) x[k] -= a[k][j] * x[j];
    x[k] /= a[k][k];
  }
  return x;
}

void draw_in_infinities(Matrix& losses) {
  const std::size_t m = losses.front().size();
  for (std::size_t j = 0; j < m; ++j) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const auto& row : losses) {
      if (!std::isfinite(row[j])) continue;
      low = std::min(low, row[j]);
      high = std::max(high, row[j]);
    }
    if (low > high) low = high = 0;  // nothing finite
    const double margin = 3 * (high - low);
    for (auto& row : losses) row[j] = std::clamp(row[j], low - margin, high + margin);
  }
}

// Takes whole fronts while they fit with room to spare; what is left of `n` is for the next front.
struct Filled {
  std::vector<std::size_t> taken;
  std::vector<std::size_t> border;  // the front that is taken in part
};

Filled fill(const std::vector<Individual>& population, std::size_t n) {
  Filled out;
  for (auto& front : constrained_fronts(population)) {
    if (out.taken.size() + front.size() > n) {
      out.border = std::move(front);
      break;
    }
    out.taken.insert(out.taken.end(), front.begin(), front.end());
    if (out.taken.size() == n) break;
  }
  return out;
}

std::vector<Individual> pick(const std::vector<Individual>& population, const std::vector<std::size_t>& indices) {
  std::vector<Individual> out;
  out.reserve(indices.size());
  for (const auto i : indices) out.push_back(population[i]);
  return out;
}

template <class T>
void shuffle(std::vector<T>& items, Rng& rng) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

}  // namespace

Individual to_individual(TrialPtr trial, const std::vector<Direction>& directions) {
  Individual out;
  out.losses = to_losses(trial->values, directions);
  out.violation = trial->infeasibility();
  out.trial = std::move(trial);
  return out;
}

bool constrained_dominates(const Individual& a, const Individual& b) {
  if (a.violation > 0 || b.violation > 0) return a.violation < b.violation;
  return dominates(a.losses, b.losses);
}

std::vector<std::vector<std::size_t>> constrained_fronts(const std::vector<Individual>& population) {
  std::vector<std::size_t> feasible;
  std::map<double, std::vector<std::size_t>> infeasible;
  Matrix losses;
  for (std::size_t i = 0; i < population.size(); ++i) {
    if (population[i].violation > 0) {
      infeasible[population[i].violation].push_back(i);
    } else {
      feasible.push_back(i);
      losses.push_back(population[i].losses);
    }
  }
  std::vector<std::vector<std::size_t>> fronts;
  const auto ranks = nondomination_ranks(losses);
  for (std::size_t i = 0; i < feasible.size(); ++i) {
    if (fronts.size() <= ranks[i]) fronts.resize(ranks[i] + 1);
    fronts[ranks[i]].push_back(feasible[i]);
  }
  for (auto& entry : infeasible) fronts.push_back(std::move(entry.second));
  return fronts;
}

std::vector<double> crowding_distances(const Matrix& losses) {
  constexpr double inf = std::numeric_limits<double>::infinity();
  const std::size_t n = losses.size();
  std::vector<double> out(n, 0.0);
  if (n == 0) return out;
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t j = 0; j < losses.front().size(); ++j) {
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return losses[a][j] < losses[b][j]; });
    const auto at = [&](std::size_t place) { return losses[order[place]][j]; };
    if (at(0) == at(n - 1)) continue;
    double low = inf, high = -inf;  // the ends of what is not infinite on that side
    for (std::size_t i = 0; i < n && low == inf; ++i) low = at(i) != -inf ? at(i) : inf;
    for (std::size_t i = n; i-- > 0 && high == -inf;) high = at(i) != inf ? at(i) : -inf;
    double width = high - low;
    if (!(width > 0)) width = 1;
    for (std::size_t i = 0; i < n; ++i) {
      const double before = i == 0 ? -inf : at(i - 1), after = i + 1 == n ? inf : at(i + 1);
      if (before != after) out[order[i]] += (after - before) / width;
    }
  }
  return out;
}

std::vector<Individual> select_by_crowding(const std::vector<Individual>& population, std::size_t n) {
  auto [taken, border] = fill(population, n);
  if (taken.size() < n && !border.empty()) {
    Matrix losses;
    for (const auto i : border) losses.push_back(population[i].losses);
    const auto distance = crowding_distances(losses);
    std::vector<std::size_t> order(border.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return distance[a] > distance[b]; });
    for (std::size_t i = 0; taken.size() < n; ++i) taken.push_back(border[order[i]]);
  }
  return pick(population, taken);
}

Matrix reference_points(std::size_t n_objectives, std::size_t divisions) {
  // All ways to hand out `divisions` units to the objectives, first objectives first.
  Matrix out;
  std::vector<double> point(n_objectives, 0.0);
  const auto hand_out = [&](auto&& self, std::size_t objective, std::size_t left) -> void {
    if (objective + 1 == n_objectives) {
      point[objective] = static_cast<double>(left);
      out.push_back(point);
      return;
    }
    for (std::size_t units = left + 1; units-- > 0;) {
      point[objective] = static_cast<double>(units);
      self(self, objective + 1, left - units);
    }
  };
  hand_out(hand_out, 0, divisions);
  return out;
}

Matrix normalise_losses(Matrix losses) {
  if (losses.empty()) return losses;
  const std::size_t m = losses.front().size();
  draw_in_infinities(losses);
  for (std::size_t j = 0; j < m; ++j) {
    double ideal = losses.front()[j];
    for (const auto& row : losses) ideal = std::min(ideal, row[j]);
    for (auto& row : losses) row[j] -= ideal;
  }
  // The extreme point of an objective is the one that is nearest to its axis.
  Matrix extreme;
  for (std::size_t j = 0; j < m; ++j) {
    const std::vector<double>* best = nullptr;
    double least = std::numeric_limits<double>::infinity();
    for (const auto& row : losses) {
      double achievement = 0;
      for (std::size_t k = 0; k < m; ++k) achievement = std::max(achievement, row[k] * (k == j ? 1 : 1e6));
      if (best == nullptr || achievement < least) {
        least = achievement;
        best = &row;
      }
    }
    extreme.push_back(*best);
  }
  std::vector<double> factors(m);
  if (const auto inverse_intercepts = solve_for_ones(extreme)) {
    factors = *inverse_intercepts;
  } else {
    for (std::size_t j = 0; j < m; ++j) {
      double most = 0;
      for (const auto& row : losses) most = std::max(most, row[j]);
      factors[j] = most == 0 ? 1 : 1 / most;
    }
  }
  for (auto& row : losses) {
    for (std::size_t j = 0; j < m; ++j) row[j] *= std::isfinite(factors[j]) ? factors[j] : 1;
  }
  return losses;
}

std::vector<Niche> nearest_lines(const Matrix& normalised, const Matrix& points) {
  std::vector<double> norm2;
  for (const auto& point : points) norm2.push_back(std::inner_product(point.begin(), point.end(), point.begin(), 0.0));
  std::vector<Niche> out;
  for (const auto& row : normalised) {
    Niche nearest{0, std::numeric_limits<double>::infinity()};
    for (std::size_t p = 0; p < points.size(); ++p) {
      const double along = std::inner_product(row.begin(), row.end(), points[p].begin(), 0.0) / norm2[p];
      double distance2 = 0;
      for (std::size_t j = 0; j < row.size(); ++j) distance2 += std::pow(row[j] - along * points[p][j], 2);
      if (const double distance = std::sqrt(distance2); distance < nearest.distance) nearest = {p, distance};
    }
    out.push_back(nearest);
  }
  return out;
}

std::vector<Individual> select_by_niche(const std::vector<Individual>& population, std::size_t n, const Matrix& points,
                                        Rng& rng) {
  auto [taken, border] = fill(population, n);
  if (taken.size() >= n || border.empty()) return pick(population, taken);
  Matrix losses;
  for (const auto i : taken) losses.push_back(population[i].losses);
  for (const auto i : border) losses.push_back(population[i].losses);
  const auto niches = nearest_lines(normalise_losses(std::move(losses)), points);

  struct Line {
    std::size_t n_taken = 0;
    std::vector<std::pair<double, std::size_t>> waiting;  // distance and index in the population
  };
  std::map<std::size_t, Line> lines;
  for (std::size_t i = 0; i < taken.size(); ++i) ++lines[niches[i].line].n_taken;
  for (std::size_t i = 0; i < border.size(); ++i) {
    const Niche& niche = niches[taken.size() + i];
    lines[niche.line].waiting.emplace_back(niche.distance, border[i]);
  }
  // An empty niche takes its nearest individual, one that has some takes any.
  std::map<std::size_t, std::vector<Line*>> by_count;
  for (auto& [line, entry] : lines) {
    if (entry.waiting.empty()) continue;
    if (entry.n_taken == 0) {
      std::sort(entry.waiting.rbegin(), entry.waiting.rend());
    } else {
      shuffle(entry.waiting, rng);
    }
    by_count[entry.n_taken].push_back(&entry);
  }
  while (taken.size() < n) {
    auto& [count, emptiest] = *by_count.begin();
    shuffle(emptiest, rng);
    std::vector<Line*> next;
    while (!emptiest.empty() && taken.size() < n) {
      Line* line = emptiest.back();
      emptiest.pop_back();
      taken.push_back(line->waiting.back().second);
      line->waiting.pop_back();
      if (count == 0) shuffle(line->waiting, rng);  // from its second on, any
      if (!line->waiting.empty()) next.push_back(line);
    }
    const std::size_t more = count + 1;
    by_count.erase(by_count.begin());
    if (!next.empty()) {
      auto& list = by_count[more];
      list.insert(list.end(), next.begin(), next.end());
    }
  }
  return pick(population, taken);
}

}  // namespace levin::tune
