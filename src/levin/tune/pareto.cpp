#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

namespace levin::tune {

std::vector<double> to_losses(const std::vector<double>& values, const std::vector<Direction>& directions) {
  std::vector<double> out = values;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (directions[i] == Direction::maximize) out[i] = -out[i];
  }
  return out;
}

bool dominates(const std::vector<double>& a, const std::vector<double>& b) {
  bool better = false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

std::vector<std::size_t> nondomination_ranks(const std::vector<std::vector<double>>& losses, std::size_t n_needed) {
  // In lexicographic order a point can only be dominated by one before it, so one pass over what is left finds a front.
  std::vector<std::size_t> left(losses.size());
  std::iota(left.begin(), left.end(), std::size_t{0});
  std::sort(left.begin(), left.end(), [&](std::size_t a, std::size_t b) { return losses[a] < losses[b]; });
  std::vector<std::size_t> ranks(losses.size(), 0);
  std::size_t rank = 0, ranked = 0;
  while (!left.empty()) {
    if (ranked >= n_needed) {
      for (const auto i : left) ranks[i] = rank;
      break;
    }
    std::vector<std::size_t> front, rest;
    for (const auto i : left) {
      const bool beaten =
          std::any_of(front.begin(), front.end(), [&](std::size_t f) { return dominates(losses[f], losses[i]); });
      (beaten ? rest : front).push_back(i);
    }
    for (const auto i : front) ranks[i] = rank;
    ranked += front.size();
    ++rank;
    left = std::move(rest);
  }
  return ranks;
}

namespace {

// Sweeps along objective m - 1: between two neighbours on it the volume is that of the points passed so far, seen in
// the remaining objectives. `points` are sorted anew in each dimension.
double sweep(std::vector<std::vector<double>>& points, const std::vector<double>& reference, std::size_t m) {
  if (points.empty()) return 0;
  if (m == 1) {
    double least = points.front()[0];
    for (const auto& point : points) least = std::min(least, point[0]);
    return reference[0] - least;
  }
  std::sort(points.begin(), points.end(), [&](const auto& a, const auto& b) { return a[m - 1] < b[m - 1]; });
  double volume = 0;
  if (m == 2) {
    double edge = reference[0];
    for (const auto& point : points) {
      if (point[0] >= edge) continue;
      volume += (edge - point[0]) * (reference[1] - point[1]);
      edge = point[0];
    }
    return volume;
  }
  std::vector<std::vector<double>> passed;
  for (std::size_t i = 0; i < points.size(); ++i) {
    passed.push_back(points[i]);
    const double until = i + 1 < points.size() ? points[i + 1][m - 1] : reference[m - 1];
    const double depth = until - points[i][m - 1];
    if (depth <= 0) continue;
    auto slice = passed;
    volume += depth * sweep(slice, reference, m - 1);
  }
  return volume;
}

// Picks `n` of the distinct, sorted `points`, each time the one that adds most volume. What a point adds only shrinks
// as others are picked, so an old figure bounds the new one.
std::vector<std::size_t> most_volume(const std::vector<std::vector<double>>& points, std::size_t n) {
  const std::size_t m = points.front().size();
  std::vector<double> reference = points.front();
  for (const auto& point : points) {
    for (std::size_t i = 0; i < m; ++i) reference[i] = std::max(reference[i], point[i]);
  }
  for (double& r : reference) {
    r = std::max(1.1 * r, 0.9 * r);
    if (r == 0) r = 1e-12;
  }
  std::vector<std::size_t> picked;
  const bool finite = std::all_of(reference.begin(), reference.end(), [](double r) { return std::isfinite(r); });
  if (!finite) {
    for (std::size_t i = 0; i < n; ++i) picked.push_back(i);
    return picked;
  }
  std::vector<double> gain(points.size(), std::numeric_limits<double>::infinity());
  std::vector<std::vector<double>> chosen;
  double volume = 0;
  while (picked.size() < n) {
    std::size_t best = points.size();
    double most = -1;
    for (std::size_t i = 0; i < points.size(); ++i) {
      if (gain[i] <= most) continue;
      auto with = chosen;
      with.push_back(points[i]);
      gain[i] = hypervolume(std::move(with), reference) - volume;
      if (gain[i] > most) most = gain[i], best = i;
    }
    picked.push_back(best);
    chosen.push_back(points[best]);
    volume += gain[best];
    gain[best] = -1;
  }
  return picked;
}

}  // namespace

double hypervolume(std::vector<std::vector<double>> losses, const std::vector<double>& reference) {
  return sweep(losses, reference, reference.size());
}

std::vector<std::size_t> best_by_dominance(const std::vector<std::vector<double>>& losses, std::size_t n) {
  std::vector<std::size_t> out;
  if (n >= losses.size()) {
    out.resize(losses.size());
    std::iota(out.begin(), out.end(), std::size_t{0});
    return out;
  }
  if (n == 0) return out;
  const auto ranks = nondomination_ranks(losses, n);
  std::vector<std::vector<std::size_t>> fronts;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (fronts.size() <= ranks[i]) fronts.resize(ranks[i] + 1);
    fronts[ranks[i]].push_back(i);
  }
  for (const auto& front : fronts) {
    const std::size_t need = n - out.size();
    if (front.size() <= need) {
      out.insert(out.end(), front.begin(), front.end());
      continue;
    }
    if (need == 0) break;
    // Equal points add nothing: one of each first, the doubles only to fill up.
    std::map<std::vector<double>, std::size_t> first_of;
    std::vector<std::size_t> doubles;
    for (const auto i : front) {
      if (!first_of.try_emplace(losses[i], i).second) doubles.push_back(i);
    }
    std::vector<std::vector<double>> points;
    std::vector<std::size_t> indices;
    for (const auto& [point, i] : first_of) points.push_back(point), indices.push_back(i);
    for (const auto i : most_volume(points, std::min(need, points.size()))) out.push_back(indices[i]);
    for (std::size_t i = 0; out.size() < n; ++i) out.push_back(doubles[i]);
    break;
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace levin::tune
