// Acquisition: how much a point promises to whoever evaluates it next, by Gaussian processes.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/samplers/gaussian_process.h>

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace levin::tune {

/** log E[max(0, x + z)] of a standard normal x, accurate for any z; with `slope` also its derivative. */
LEVIN_API double log_expected_improvement(double z, double* slope = nullptr);

/** An axis-parallel box by its two corners. */
struct Box {
  std::vector<double> lower, upper;
};

/**
 * The part of objective space (less is better) below `reference` that none of `losses` dominates, as boxes that do not
 * overlap; they reach to minus infinity. Points that are not below `reference` everywhere have no part in it.
 */
LEVIN_API std::vector<Box> nondominated_boxes(const std::vector<std::vector<double>>& losses,
                                              const std::vector<double>& reference);

/** What an acquisition function is made of. Larger values are better; a constraint holds at or above its threshold. */
struct AcquisitionSpec {
  std::vector<GaussianProcess> objectives;  ///< one, or several for hypervolume
  std::vector<GaussianProcess> constraints = {};
  std::vector<double> thresholds = {};  ///< of each constraint
  /** One objective: the value to improve on; minus infinity when nothing is feasible yet. */
  double best = 0;
  /** Several objectives: the feasible values so far, one row a trial; empty when nothing is feasible yet. */
  Matrix feasible_values = {};
  /** Points that are being evaluated right now. */
  Matrix running = {};
  std::size_t n_samples = 128;  ///< of the Monte Carlo estimates (a scrambled Sobol sequence)
  std::uint64_t seed = 0;       ///< of these samples
  /** The standard normal samples themselves, one matrix (n_samples x n_running + 1) each objective and constraint, or,
   * for several objectives without running points, a single one (n_samples x n_objectives). Drawn by default. */
  std::vector<Matrix> normals = {};
};

/**
 * The log of an expectation over the posterior, which always has a slope to follow:
 *
 * - one objective: improvement (logEI; Ament et al. 2023, "Unexpected improvements to expected improvement");
 * - several: improvement of the hypervolume (logEHVI; Daulton et al. 2020), by Monte Carlo;
 * - constraints: times the probability that they hold (Gardner et al. 2014);
 * - running points: over samples of what these will give (qLogEI and so on, sequentially greedy).
 */
class LEVIN_API Acquisition {
 public:
  explicit Acquisition(AcquisitionSpec spec);
  ~Acquisition();
  Acquisition(Acquisition&&) noexcept;
  Acquisition& operator=(Acquisition&&) noexcept;

  /** The value at a point, and, when `gradient` is not empty, its derivatives (0 for choices). */
  double value(std::span<const double> x, std::span<double> gradient = {}) const;
  std::vector<double> values(const Matrix& points) const;

  /** The objectives' mean lengthscale by coordinate. */
  const std::vector<double>& lengthscales() const noexcept;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace levin::tune
