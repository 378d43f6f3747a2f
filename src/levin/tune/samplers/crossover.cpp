#include <levin/tune/samplers/crossover.h>

#include <levin/core/error.h>
#include <levin/core/value.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace levin::tune {
namespace {

void require(bool holds, const char* where, const char* what, double value) {
  if (!holds) throw Error({.what = what, .value = format_double(value), .where = where, .hint = {}});
}

void check(const SBXCrossoverOptions& options, const char* where) {
  require(!options.eta || *options.eta >= 0, where, "eta must not be negative", options.eta.value_or(0));
  require(options.uniform_crossover_prob >= 0 && options.uniform_crossover_prob <= 1, where,
          "uniform_crossover_prob must lie between 0 and 1", options.uniform_crossover_prob);
  require(options.use_child_gene_prob > 0 && options.use_child_gene_prob <= 1, where,
          "use_child_gene_prob must lie above 0 and not above 1", options.use_child_gene_prob);
}

// One of two children, gene by gene from the new genes c1, c2 or from the parents, swapped now and then.
Genes pick_child(const Genes& c1, const Genes& c2, const std::vector<Genes>& parents,
                 const SBXCrossoverOptions& options, Rng& rng) {
  const bool first = rng.uniform() < 0.5;
  Genes child(c1.size());
  for (std::size_t i = 0; i < child.size(); ++i) {
    const bool fresh = rng.uniform() < options.use_child_gene_prob;
    const bool straight = rng.uniform() >= options.uniform_crossover_prob;
    const double a = fresh ? c1[i] : parents[0][i], b = fresh ? c2[i] : parents[1][i];
    child[i] = straight == first ? a : b;
  }
  return child;
}

double dot(const Genes& a, const Genes& b) { return std::inner_product(a.begin(), a.end(), b.begin(), 0.0); }

}  // namespace

Crossover::~Crossover() = default;
Mutation::~Mutation() = default;

UniformCrossover::UniformCrossover(double swapping_prob) : swapping_prob_(swapping_prob) {
  require(swapping_prob >= 0 && swapping_prob <= 1, "UniformCrossover", "swapping_prob must lie between 0 and 1",
          swapping_prob);
}

Genes UniformCrossover::cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
                              bool) const {
  Genes child(ranges.size());
  for (std::size_t i = 0; i < child.size(); ++i) child[i] = parents[rng.uniform() >= swapping_prob_ ? 1 : 0][i];
  return child;
}

BLXAlphaCrossover::BLXAlphaCrossover(double alpha) : alpha_(alpha) {
  require(alpha >= 0, "BLXAlphaCrossover", "alpha must not be negative", alpha);
}

Genes BLXAlphaCrossover::cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
                               bool) const {
  Genes child(ranges.size());
  for (std::size_t i = 0; i < child.size(); ++i) {
    const auto [low, high] = std::minmax(parents[0][i], parents[1][i]);
    const double margin = alpha_ * (high - low);
    child[i] = low - margin + (high - low + 2 * margin) * rng.uniform();
  }
  return child;
}

SPXCrossover::SPXCrossover(std::optional<double> epsilon) : epsilon_(epsilon) {
  require(!epsilon || *epsilon >= 0, "SPXCrossover", "epsilon must not be negative", epsilon.value_or(0));
}

Genes SPXCrossover::cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng, bool) const {
  const double epsilon = epsilon_.value_or(std::sqrt(static_cast<double>(ranges.size()) + 2));
  const double r[2] = {rng.uniform(), std::sqrt(rng.uniform())};
  Genes child(ranges.size());
  for (std::size_t i = 0; i < child.size(); ++i) {
    const double centre = (parents[0][i] + parents[1][i] + parents[2][i]) / 3;
    double corner[3], offset = 0;
    for (std::size_t k = 0; k < 3; ++k) corner[k] = centre + epsilon * (parents[k][i] - centre);
    for (std::size_t k = 1; k < 3; ++k) offset = r[k - 1] * (corner[k - 1] - corner[k] + offset);
    child[i] = corner[2] + offset;
  }
  return child;
}

SBXCrossover::SBXCrossover(SBXCrossoverOptions options) : options_(options) { check(options, "SBXCrossover"); }

Genes SBXCrossover::cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
                          bool multi_objective) const {
  const double eta = options_.eta.value_or(multi_objective ? 20 : 2);
  Genes c1(ranges.size()), c2(ranges.size());
  for (std::size_t i = 0; i < c1.size(); ++i) {
    const auto [low, high] = std::minmax(parents[0][i], parents[1][i]);
    const double gap = std::max(high - low, 1e-10), u = rng.uniform();
    const auto spread = [&](double room) {  // how far the child goes, as a multiple of the gap
      const double alpha = 2 - std::pow(1 + 2 * room / gap, -(eta + 1));
      return std::pow(u > 1 / alpha ? 1 / (2 - u * alpha) : u * alpha, 1 / (eta + 1));
    };
    c1[i] = 0.5 * (low + high - spread(low - ranges[i].low) * gap);
    c2[i] = 0.5 * (low + high + spread(ranges[i].high - high) * gap);
  }
  return pick_child(c1, c2, parents, options_, rng);
}

VSBXCrossover::VSBXCrossover(SBXCrossoverOptions options) : options_(options) { check(options, "VSBXCrossover"); }

Genes VSBXCrossover::cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng,
                           bool multi_objective) const {
  const double eta = options_.eta.value_or(multi_objective ? 20 : 2);
  const bool outer1 = rng.uniform() <= 0.5, outer2 = rng.uniform() <= 0.5;
  Genes c1(ranges.size()), c2(ranges.size());
  for (std::size_t i = 0; i < c1.size(); ++i) {
    const double u = rng.uniform(), a = parents[0][i], b = parents[1][i];
    const double beta1 = std::pow(1 / std::max(2 * u, 1e-10), 1 / (eta + 1));
    const double beta2 = std::pow(1 / std::max(2 * (1 - u), 1e-10), 1 / (eta + 1));
    c1[i] = outer1 ? 0.5 * ((1 + beta1) * a + (1 - beta2) * b) : 0.5 * ((1 - beta1) * a + (1 + beta2) * b);
    c2[i] = outer2 ? 0.5 * ((3 - beta1) * a - (1 - beta2) * b) : 0.5 * (-(1 - beta1) * a + (3 - beta2) * b);
  }
  return pick_child(c1, c2, parents, options_, rng);
}

UNDXCrossover::UNDXCrossover(UNDXCrossoverOptions options) : options_(options) {
  require(options.sigma_xi >= 0, "UNDXCrossover", "sigma_xi must not be negative", options.sigma_xi);
  require(!options.sigma_eta || *options.sigma_eta >= 0, "UNDXCrossover", "sigma_eta must not be negative",
          options.sigma_eta.value_or(0));
}

Genes UNDXCrossover::cross(const std::vector<Genes>& parents, std::span<const GeneRange> ranges, Rng& rng, bool) const {
  const std::size_t n = ranges.size();
  const double sigma_eta = options_.sigma_eta.value_or(0.35 / std::sqrt(static_cast<double>(n)));
  Genes along(n), towards_third(n), child(n);
  for (std::size_t i = 0; i < n; ++i) {
    along[i] = parents[1][i] - parents[0][i];
    towards_third[i] = parents[2][i] - parents[0][i];
  }
  const double xi = rng.normal() * options_.sigma_xi * options_.sigma_xi;
  for (std::size_t i = 0; i < n; ++i) child[i] = (parents[0][i] + parents[1][i]) / 2 - xi * along[i];
  if (n == 1) return child;

  const double length = std::max(std::sqrt(dot(along, along)), 1e-10);
  for (double& x : along) x /= length;
  const double shadow = dot(towards_third, along);
  double distance = 0;
  for (std::size_t i = 0; i < n; ++i) distance += std::pow(towards_third[i] - shadow * along[i], 2);
  distance = std::sqrt(distance);

  // A normal vector without its part along the parents is normal in the directions across.
  Genes across(n);
  for (double& x : across) x = rng.normal() * sigma_eta * sigma_eta;
  const double part = dot(across, along);
  for (std::size_t i = 0; i < n; ++i) child[i] += distance * (across[i] - part * along[i]);
  return child;
}

PolynomialMutation::PolynomialMutation(double eta) : eta_(eta) {
  require(eta >= 0, "PolynomialMutation", "eta must not be negative", eta);
}

double PolynomialMutation::mutate(double gene, GeneRange range, Rng& rng) const {
  const double width = range.high - range.low;
  if (width <= 0) return gene;
  const double u = rng.uniform(), power = 1 / (eta_ + 1);
  if (u <= 0.5) {
    const double room = 1 - (gene - range.low) / width;
    return gene + width * (std::pow(2 * u + (1 - 2 * u) * std::pow(room, eta_ + 1), power) - 1);
  }
  const double room = 1 - (range.high - gene) / width;
  return gene + width * (1 - std::pow(2 * (1 - u) + 2 * (u - 0.5) * std::pow(room, eta_ + 1), power));
}

}  // namespace levin::tune
