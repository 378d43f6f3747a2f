// Elite selection: which individuals of two generations become the parents of the next.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>
#include <levin/tune/frozen_trial.h>

#include <cstddef>
#include <optional>
#include <vector>

namespace levin::tune {

/** A complete trial as genetic samplers see it. */
struct Individual {
  TrialPtr trial;
  std::vector<double> losses;  ///< values, signed so that less is better
  double violation = 0;        ///< sum of the positive constraint values
};

LEVIN_API Individual to_individual(TrialPtr trial, const std::vector<Direction>& directions);

/**
 * Whether `a` beats `b`: feasible ones by dominance, a feasible one any other, infeasible ones by their violation
 * (Deb et al. 2002, section VI).
 */
LEVIN_API bool constrained_dominates(const Individual& a, const Individual& b);

/** Indices by front: the nondominated fronts of the feasible, then the infeasible by violation, equals together. */
LEVIN_API std::vector<std::vector<std::size_t>> constrained_fronts(const std::vector<Individual>& population);

/**
 * The crowding distance of each point of one front: over all objectives, the gap between its neighbours as a share of
 * the finite width; infinite at the ends (Deb et al. 2002).
 */
LEVIN_API std::vector<double> crowding_distances(const std::vector<std::vector<double>>& losses);

/** The `n` individuals that NSGA-II keeps: front by front, of the last those with the largest crowding distance. */
LEVIN_API std::vector<Individual> select_by_crowding(const std::vector<Individual>& population, std::size_t n);

/** Das and Dennis' points with the coordinates' sum `divisions`; the lines from 0 through them spread evenly. */
LEVIN_API std::vector<std::vector<double>> reference_points(std::size_t n_objectives, std::size_t divisions);

/** Where an individual stands among the reference lines. */
struct Niche {
  std::size_t line = 0;  ///< the nearest line's index
  double distance = 0;   ///< from it
};

/**
 * Losses moved and scaled so that the ideal point is 0 and the extreme points lie on the unit plane (Deb and Jain 2014,
 * section IV-C). Infinite losses are drawn in to three widths beyond the finite ones.
 */
LEVIN_API std::vector<std::vector<double>> normalise_losses(std::vector<std::vector<double>> losses);

LEVIN_API std::vector<Niche> nearest_lines(const std::vector<std::vector<double>>& normalised,
                                           const std::vector<std::vector<double>>& points);

/** The `n` individuals that NSGA-III keeps: front by front, of the last those in the emptiest niches. */
LEVIN_API std::vector<Individual> select_by_niche(const std::vector<Individual>& population, std::size_t n,
                                                  const std::vector<std::vector<double>>& points, Rng& rng);

}  // namespace levin::tune
