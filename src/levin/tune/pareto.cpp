#include <levin/tune/pareto.h>

#include <algorithm>
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

}  // namespace levin::tune
