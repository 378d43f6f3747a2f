// The density that TPE fits to observed parameters: a mixture with one kernel per observation and a prior.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>
#include <levin/tune/samplers/truncated_normal.h>
#include <levin/tune/space.h>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace levin::tune {

/** Weights by age of n observations, oldest first: a ramp from 1/n to 1, then 25 ones (Bergstra et al. 2013). */
LEVIN_API std::vector<double> parzen_weights(std::size_t n);

/**
 * One parameter's observations and their kernels, by slot. Numeric observations stand in the space where their kernel
 * is normal: the logarithm for `log`. What a kernel needs of its bandwidth is computed when the bandwidth changes, not
 * each time it is used: adding an observation changes few.
 */
class LEVIN_API ParzenColumn {
 public:
  explicit ParzenColumn(const Distribution& distribution);

  const Distribution& distribution() const noexcept { return distribution_; }
  /** Takes another range of the same kind and scale; kernels are computed anew where it matters. */
  void set_distribution(const Distribution& distribution);

  std::size_t size() const noexcept { return center_.size(); }
  /** Appends an observation given by its internal value. */
  void push(double internal);
  /** Appends a slot without an observation. */
  void push_absent();
  bool has(std::size_t slot) const { return present_[slot] != 0; }
  /** By slot: 1 where there is an observation, else 0. */
  std::span<const std::uint8_t> present() const { return present_; }
  /** Whether every slot has an observation. */
  bool complete() const noexcept { return n_absent_ == 0; }
  double center(std::size_t slot) const { return center_[slot]; }
  double sigma(std::size_t slot) const { return sigma_[slot]; }

 private:
  friend class ParzenEstimator;
  struct Kernel {
    double center;
    std::uint32_t slot;
    auto operator<=>(const Kernel&) const = default;
  };

  double to_kernel_space(double internal) const;
  void push_slot(bool present, double center);
  void prepare_to_sample(std::size_t n);
  void truncate(std::size_t n);
  void fit(std::span<const std::uint8_t> used, std::size_t n_kept, std::size_t n_used, std::size_t prior);
  bool update_members(std::span<const std::uint8_t> used, std::size_t n_kept);
  void fit_kernel(std::span<const Kernel> sorted, std::size_t i);
  void set_kernel(std::size_t slot, double sigma);

  Distribution distribution_;
  bool categorical_ = false, log_ = false;
  double half_step_ = 0;
  double low_ = 0, high_ = 0;  // the ends of the domain in kernel space, widened by half a step
  std::vector<std::uint8_t> present_;
  std::size_t n_absent_ = 0;
  bool samples_ = false;                  // whether draws are made: then `truncated_` is kept
  std::vector<TruncatedNormal> truncated_;  // each kernel in its own unit
  std::vector<double> center_, sigma_, inverse_sigma_;
  std::vector<double> norm_;                       // log of what the kernel's exponential is multiplied by
  std::vector<Kernel> members_;                    // the kept slots that the last fit used, sorted
  std::vector<std::uint8_t> is_member_;            // the same by slot
  std::vector<double> changed_;                    // centers that came or went since the fit before
  double narrowest_ = 0;                           // the smallest bandwidth of the last fit
  bool fitted_ = false;                            // whether kernels of members are those of members alone
  std::vector<std::uint32_t> group_;               // stepped ranges: slots with the same kernel
  std::vector<std::pair<double, double>> groups_;  // stepped ranges: center and sigma of each group
  double log_hit_ = 0, log_miss_ = 0;  // categorical: log probability of the observed and of any other choice
  std::vector<Kernel> scratch_;
};

/**
 * The mixture: draw a kernel by weight, then every parameter from that kernel. Kernels are truncated normals (their
 * mass over a step for stepped ranges), or for choices a smoothed vote for the one observed. Bandwidths and the prior
 * are those of Optuna 5 (Bergstra et al. 2011, Watanabe 2023).
 */
class LEVIN_API ParzenEstimator {
 public:
  /** From observations (internal values) by parameter, in the order of `space`, each oldest first. `weights` of the
   * observations by age by default; the prior always has weight 1. */
  ParzenEstimator(const SearchSpace& space, const std::vector<std::vector<double>>& observations,
                  std::vector<double> weights = {});
  /** The same from `rows` of columns, all of which must have observations there; copies what it needs. */
  ParzenEstimator(const std::vector<ParzenColumn*>& columns, std::span<const std::uint32_t> rows,
                  std::vector<double> weights = {});

  /**
   * Over the observations that `columns` (all of one length) already hold: slot i takes part with `weights[i]`, which
   * is 0 for those left out. `extra` adds observations (internal values by parameter) with weights of their own, for
   * as long as the estimator lives. The columns must outlive it, and serve one estimator at a time.
   */
  ParzenEstimator(std::vector<ParzenColumn*> columns, std::span<const double> weights,
                  const std::vector<std::vector<double>>& extra, std::span<const double> extra_weights);
  ~ParzenEstimator();
  ParzenEstimator(const ParzenEstimator&) = delete;
  ParzenEstimator& operator=(const ParzenEstimator&) = delete;

  /** `n` draws as internal values, by parameter: result[parameter][draw]. */
  std::vector<std::vector<double>> sample(Rng& rng, std::size_t n) const;
  /** The log density of points given as `sample` gives them. */
  std::vector<double> log_pdf(const std::vector<std::vector<double>>& points) const;

  /** The kernels' weights, which sum to 1; slots left out have 0, the prior stands last. */
  const std::vector<double>& weights() const noexcept { return weights_; }
  /** The bandwidth of a numeric parameter's kernel. */
  double sigma(std::size_t parameter, std::size_t slot) const { return columns_[parameter]->sigma(slot); }

 private:
  void fit(std::span<const double> weights);
  double log_kernel(const ParzenColumn& column, std::size_t slot, double x, double transformed) const;

  std::vector<ParzenColumn> own_;
  std::vector<ParzenColumn*> columns_;
  std::size_t n_kept_ = 0;  // slots that stay in the columns
  std::vector<double> weights_;
  std::vector<double> base_;  // log weight plus the parts of the log density that no point changes
};

}  // namespace levin::tune
