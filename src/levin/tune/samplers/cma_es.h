// CmaEs: the covariance matrix adaptation evolution strategy on the unit cube, without anything of studies.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace levin::tune {

/** Where a search starts: a normal distribution with covariance sigma^2 * cov. */
struct CmaStart {
  std::vector<double> mean;
  double sigma = 1.0 / 6;
  std::vector<double> cov = {};  ///< d x d by rows; the identity by default
};

struct CmaEsOptions {
  CmaStart start;
  std::int64_t population_size = 0;  ///< 4 + floor(3 ln d) by default
  bool separable = false;            ///< a diagonal covariance: O(d) a point, learns faster (d > 1)
  std::vector<double> steps = {};    ///< with margin: the distance of a coordinate's points, 0 where continuous
  bool lr_adapt = false;             ///< learning rates that follow the signal-to-noise ratio
};

/**
 * Hansen 2016, "The CMA evolution strategy: a tutorial", with active (negative) weights. Variants: separable (Ros and
 * Hansen 2008), with margin for discrete coordinates (Hamano et al. 2022, "CMA-ES with margin"), with learning rate
 * adaptation (Nomura et al. 2023, "CMA-ES with learning rate adaptation"). Constants as in the `cmaes` package 0.13.
 * Minimises.
 */
class LEVIN_API CmaEs {
 public:
  explicit CmaEs(const CmaEsOptions& options);
  ~CmaEs();
  CmaEs(CmaEs&&) noexcept;
  CmaEs& operator=(CmaEs&&) noexcept;

  /** A point to evaluate and the point to tell: they differ in discrete coordinates only, when there is a margin. */
  struct Proposal {
    std::vector<double> point, raw;
  };
  /** Draws from the distribution until the point lies inside the cube, at most 10 d times; then it is clipped. */
  Proposal ask(Rng& rng) const;

  /** Moves the distribution by a generation: points as told by `ask`'s raw, with their values. */
  void tell(std::vector<std::pair<std::vector<double>, double>> solutions);

  /** Whether the search has converged, diverged or stands still. */
  bool should_stop() const;

  std::int64_t population_size() const noexcept;
  std::int64_t generation() const noexcept;
  std::vector<double> mean() const;
  double sigma() const noexcept;
  std::vector<double> covariance() const;  ///< d x d by rows, without sigma^2

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/**
 * A start from solutions (point, loss) of a related task: the normal distribution of its best tenth, widened (Nomura
 * et al. 2021, "Warm starting CMA-ES for hyperparameter optimization"). Throws Error for fewer than 10 solutions.
 */
LEVIN_API CmaStart warm_start(std::vector<std::pair<std::vector<double>, double>> solutions);

}  // namespace levin::tune
