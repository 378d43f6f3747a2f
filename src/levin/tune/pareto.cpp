#include <levin/tune/pareto.h>

#include <algorithm>
#include <cmath>
#include <iterator>
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

std::size_t NondominatedFronts::rank(const Point& losses) const {
  // Whoever is dominated within a front is so within each before it.
  const auto beaten = [&](const std::vector<Point>& front) {
    return std::any_of(front.begin(), front.end(), [&](const Point& other) { return dominates(other, losses); });
  };
  return static_cast<std::size_t>(std::partition_point(fronts_.begin(), fronts_.end(), beaten) - fronts_.begin());
}

void NondominatedFronts::add(Point losses) {
  ++size_;
  std::size_t at = rank(losses);
  std::vector<Point> moving{std::move(losses)};
  for (; at < fronts_.size(); ++at) {
    auto& front = fronts_[at];
    const auto stays = [&](const Point& point) {
      return std::none_of(moving.begin(), moving.end(), [&](const Point& other) { return dominates(other, point); });
    };
    const auto leaving = std::partition(front.begin(), front.end(), stays);
    if (leaving == front.begin()) break;  // the whole front moves, and with it all behind it
    std::vector<Point> next(std::make_move_iterator(leaving), std::make_move_iterator(front.end()));
    front.erase(leaving, front.end());
    std::move(moving.begin(), moving.end(), std::back_inserter(front));
    if (next.empty()) return;
    moving = std::move(next);
  }
  fronts_.insert(fronts_.begin() + static_cast<std::ptrdiff_t>(at), std::move(moving));
}

std::size_t NondominatedFronts::n_before(std::size_t rank) const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < std::min(rank, fronts_.size()); ++i) n += fronts_[i].size();
  return n;
}

namespace {

using Points = std::vector<std::vector<double>>;

// The index of each.
std::vector<std::size_t> all_of(const Points& points) {
  std::vector<std::size_t> indices(points.size());
  std::iota(indices.begin(), indices.end(), std::size_t{0});
  return indices;
}

// The distinct points that no other dominates, in lexicographic order.
Points front_of(Points points) {
  std::sort(points.begin(), points.end());
  points.erase(std::unique(points.begin(), points.end()), points.end());
  Points front;
  for (auto& point : points) {
    const bool beaten = std::any_of(front.begin(), front.end(), [&](const auto& f) { return dominates(f, point); });
    if (!beaten) front.push_back(std::move(point));
  }
  return front;
}

double box(const std::vector<double>& point, const std::vector<double>& reference) {
  double volume = 1;
  for (std::size_t i = 0; i < point.size(); ++i) volume *= reference[i] - point[i];
  return volume;
}

// `front` ascends in the first objective, hence descends in the second.
double volume_2d(const Points& front, const std::vector<double>& reference) {
  double volume = 0, edge = reference[1];
  for (const auto& point : front) {
    volume += (reference[0] - point[0]) * (edge - point[1]);
    edge = point[1];
  }
  return volume;
}

// Sweeps along the last objective: between two neighbours on it the volume is the area of the points passed so far.
double volume_3d(Points front, const std::vector<double>& reference) {
  std::sort(front.begin(), front.end(), [](const auto& a, const auto& b) { return a[2] < b[2]; });
  std::map<double, double> stairs;  // the front of those passed, first objective to second
  double volume = 0, area = 0;
  for (std::size_t i = 0; i < front.size(); ++i) {
    const double x = front[i][0], y = front[i][1];
    auto right = stairs.lower_bound(x);
    const bool covered = (right != stairs.end() && right->first == x && right->second <= y) ||
                         (right != stairs.begin() && std::prev(right)->second <= y);
    if (!covered) {
      // What the new point adds lies below the stairs to its right, down to y.
      double left = x, height = right == stairs.begin() ? reference[1] : std::prev(right)->second;
      while (right != stairs.end() && right->second >= y) {
        area += (right->first - left) * (height - y);
        left = right->first;
        height = right->second;
        right = stairs.erase(right);
      }
      area += ((right == stairs.end() ? reference[0] : right->first) - left) * (height - y);
      stairs[x] = y;
    }
    volume += area * ((i + 1 < front.size() ? front[i + 1][2] : reference[2]) - front[i][2]);
  }
  return volume;
}

// The exclusive volumes of the points, one after the other (While, Bradstreet and Barone 2012, "A fast way of
// calculating exact hypervolumes"): a point's box without the volume of the rest, pulled back into the box.
double volume_of(const Points& front, const std::vector<double>& reference) {
  const std::size_t m = reference.size();
  if (front.empty()) return 0;
  if (m == 1) return reference[0] - front.front()[0];
  if (front.size() == 1) return box(front.front(), reference);
  if (m == 2) return volume_2d(front, reference);
  if (m == 3) return volume_3d(front, reference);
  double volume = 0;
  for (std::size_t i = 0; i < front.size(); ++i) {
    Points limited(front.begin() + static_cast<std::ptrdiff_t>(i) + 1, front.end());
    for (auto& point : limited) {
      for (std::size_t j = 0; j < m; ++j) point[j] = std::max(point[j], front[i][j]);
    }
    volume += box(front[i], reference) - volume_of(front_of(std::move(limited)), reference);
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
      if (std::isnan(gain[i])) gain[i] = std::numeric_limits<double>::infinity();  // of infinite volumes all are equal
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
  constexpr double inf = std::numeric_limits<double>::infinity();
  for (const double r : reference) {
    if (!std::isfinite(r)) return inf;
  }
  const double volume = volume_of(front_of(std::move(losses)), reference);
  return std::isfinite(volume) ? volume : inf;
}

std::vector<FrozenTrial> pareto_front(const std::vector<FrozenTrial>& trials,
                                      const std::vector<Direction>& directions) {
  std::vector<const FrozenTrial*> candidates;
  Points losses;
  for (const auto& trial : trials) {
    if (trial.state != TrialState::complete || trial.infeasibility() > 0) continue;
    if (trial.values.size() != directions.size()) {
      throw Error({.what = "a trial has as many values as there are directions",
                   .value = std::to_string(trial.values.size()) + " for " + std::to_string(directions.size()),
                   .where = "trial " + std::to_string(trial.number),
                   .hint = {}});
    }
    candidates.push_back(&trial);
    losses.push_back(to_losses(trial.values, directions));
  }
  const auto ranks = nondomination_ranks(losses, 1);
  std::vector<FrozenTrial> out;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    if (ranks[i] == 0) out.push_back(*candidates[i]);
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return out;
}

double hypervolume(const std::vector<FrozenTrial>& trials, const std::vector<Direction>& directions,
                   const std::vector<double>& reference) {
  if (reference.size() != directions.size()) {
    throw Error({.what = "a reference point has one coordinate for each objective",
                 .value = std::to_string(reference.size()) + " for " + std::to_string(directions.size()),
                 .where = "hypervolume",
                 .hint = {}});
  }
  const std::vector<double> bound = to_losses(reference, directions);
  Points losses;
  for (const auto& trial : pareto_front(trials, directions)) {
    auto point = to_losses(trial.values, directions);
    bool inside = true;
    for (std::size_t i = 0; i < point.size(); ++i) inside = inside && point[i] < bound[i];
    if (inside) losses.push_back(std::move(point));
  }
  return hypervolume(std::move(losses), bound);
}

std::vector<std::size_t> best_by_dominance(const std::vector<std::vector<double>>& losses, std::size_t n) {
  if (n >= losses.size()) return all_of(losses);
  std::vector<std::size_t> out;
  if (n == 0) return out;
  const auto ranks = nondomination_ranks(losses, n);
  std::vector<std::vector<std::size_t>> fronts;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    if (fronts.size() <= ranks[i]) fronts.resize(ranks[i] + 1);
    fronts[ranks[i]].push_back(i);
  }
  for (const auto& front : fronts) {
    Points points;
    for (const auto i : front) points.push_back(losses[i]);
    for (const auto i : best_of_front(points, n - out.size())) out.push_back(front[i]);
    if (out.size() == n) break;
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<std::size_t> best_of_front(const std::vector<std::vector<double>>& losses, std::size_t n) {
  if (n >= losses.size()) return all_of(losses);
  std::vector<std::size_t> out;
  if (n == 0) return out;
  // Equal points add nothing: one of each first, the doubles only to fill up.
  std::map<std::vector<double>, std::size_t> first_of;
  std::vector<std::size_t> doubles;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    if (!first_of.try_emplace(losses[i], i).second) doubles.push_back(i);
  }
  std::vector<std::vector<double>> points;
  std::vector<std::size_t> indices;
  for (const auto& [point, i] : first_of) points.push_back(point), indices.push_back(i);
  for (const auto i : most_volume(points, std::min(n, points.size()))) out.push_back(indices[i]);
  for (std::size_t i = 0; out.size() < n; ++i) out.push_back(doubles[i]);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace levin::tune
