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

}  // namespace levin::tune
