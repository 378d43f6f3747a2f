// GridSampler: every combination of given values, once.
#pragma once

#include <levin/tune/samplers/sampler.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace levin::tune {

/** Parameter names to the values to try. */
using Grid = std::map<std::string, List>;

/** All points of a space of choices and stepped ranges; throws Error naming a parameter that has no finite set of
 * points, or more than a million of them. */
LEVIN_API Grid grid_of(const SearchSpace& space);

struct GridSamplerOptions {
  std::uint64_t seed = 0;  ///< of the order in which combinations are tried; give all workers of a study the same
};

/**
 * Tries every combination of the grid in a shuffled order, then ends the search.
 *
 * The combination of a trial is its attribute `grid_id`. Order and attributes are those of Optuna's GridSampler, so
 * that workers of both kinds share one grid; a few combinations may run twice when workers finish at the same time.
 * Values are used as given, even outside the range that the objective asks for (with a warning).
 *
 * Throws Error for an empty grid, more than ten million combinations, a parameter that the grid does not name, and an
 * enqueued trial that leaves a parameter open.
 */
class LEVIN_API GridSampler : public Sampler {
 public:
  explicit GridSampler(Grid grid, GridSamplerOptions options = {});

  void before_trial(StudyView& study, const FrozenTrial& trial) override;
  Value sample_independent(StudyView& study, const FrozenTrial& trial, const std::string& name,
                           const Distribution& distribution) override;
  void after_trial(StudyView& study, const FrozenTrial& trial, TrialState state,
                   const std::vector<double>& values) override;

  /** The number of combinations. */
  std::size_t size() const noexcept { return order_.size(); }

 private:
  std::vector<std::int64_t> open_ids(StudyView& study) const;
  bool same_grid(const Value& stored) const;

  Grid grid_;
  std::uint64_t seed_;
  std::vector<std::uint32_t> order_;  ///< by grid_id: the combination, counted with the last name running fastest
};

}  // namespace levin::tune
