// Several objectives: who dominates whom.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/frozen_trial.h>

#include <cstddef>
#include <vector>

namespace levin::tune {

/** The values with signs flipped so that less is better in each. */
LEVIN_API std::vector<double> to_losses(const std::vector<double>& values, const std::vector<Direction>& directions);

/** Whether `a` is nowhere worse and somewhere better than `b`; both are losses. */
LEVIN_API bool dominates(const std::vector<double>& a, const std::vector<double>& b);

/**
 * The front each point belongs to: 0 for the points that nobody dominates, 1 for those that only front 0 dominates,
 * and so on. Equal points share a front. Once `n_needed` points have a front, the rest all get the next number.
 */
LEVIN_API std::vector<std::size_t> nondomination_ranks(const std::vector<std::vector<double>>& losses,
                                                       std::size_t n_needed = static_cast<std::size_t>(-1));

/**
 * Points in nondominated fronts, as nondomination_ranks has them, while they are added one by one: a new point pushes
 * those that it dominates into the next front, and they others (Li et al. 2017, "Efficient nondomination level update
 * method for steady-state evolutionary multiobjective optimization"). Losses, without NaN.
 */
class LEVIN_API NondominatedFronts {
 public:
  using Point = std::vector<double>;

  void add(Point losses);

  std::size_t size() const noexcept { return size_; }
  std::size_t n_fronts() const noexcept { return fronts_.size(); }
  /** Equal points are there as often as they were added, in no particular order. */
  const std::vector<Point>& front(std::size_t rank) const { return fronts_.at(rank); }
  /** The front that a further point would belong to. */
  std::size_t rank(const Point& losses) const;
  /** How many points are in the fronts before this one. */
  std::size_t n_before(std::size_t rank) const;

 private:
  std::vector<std::vector<Point>> fronts_;
  std::size_t size_ = 0;
};

/**
 * The volume that `losses` dominate, up to the point `reference`, which none of them exceeds in any coordinate; exact
 * for any number of objectives. Infinite for an infinite reference point.
 */
LEVIN_API double hypervolume(std::vector<std::vector<double>> losses, const std::vector<double>& reference);

/** The complete, feasible trials that no other beats in all objectives, by number. Throws Error for missing values. */
LEVIN_API std::vector<FrozenTrial> pareto_front(const std::vector<FrozenTrial>& trials,
                                                const std::vector<Direction>& directions);

/**
 * The volume between `reference`, a point in the objectives' own terms, and the complete, feasible trials that are
 * better than it in every objective. Throws Error when the numbers of objectives do not fit.
 */
LEVIN_API double hypervolume(const std::vector<FrozenTrial>& trials, const std::vector<Direction>& directions,
                             const std::vector<double>& reference);

/**
 * The indices, ascending, of the `n` best points: front by front, and from the front that does not fit as a whole,
 * those that one after the other add most hypervolume (the greedy selection of Guerreiro et al. 2016). The reference
 * point lies a tenth beyond the worst of that front in every objective.
 */
LEVIN_API std::vector<std::size_t> best_by_dominance(const std::vector<std::vector<double>>& losses, std::size_t n);

/** The same for points that all belong to one front. */
LEVIN_API std::vector<std::size_t> best_of_front(const std::vector<std::vector<double>>& losses, std::size_t n);

}  // namespace levin::tune
