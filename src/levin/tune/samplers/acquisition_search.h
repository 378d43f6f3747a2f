// Where an acquisition function is largest: a search over floats, stepped ranges and choices together.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>
#include <levin/tune/samplers/acquisition.h>
#include <levin/tune/samplers/unit_cube.h>

#include <vector>

namespace levin::tune {

struct AcquisitionSearchOptions {
  std::size_t n_preliminary = 2048;  ///< scrambled Sobol points that are looked at first
  std::size_t n_local = 10;          ///< local searches: from the best of them, from some good ones, and from `starts`
  std::vector<std::vector<double>> starts = {};  ///< points known to be good; fewer than n_local
};

/**
 * The best point found. A local search alternates between L-BFGS over the continuous coordinates, scaled by their
 * lengthscales, and each discrete coordinate alone, until none of them moves (as Optuna 5's GPSampler does).
 */
LEVIN_API std::vector<double> maximize_acquisition(const Acquisition& acquisition, const UnitCube& cube, Rng& rng,
                                                   const AcquisitionSearchOptions& options = {});

}  // namespace levin::tune
