// CompleteTrials: the complete trials of a study and the parameters they share, kept up to date as trials finish.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study_view.h>

#include <cstddef>
#include <vector>

namespace levin::tune {

class LEVIN_API CompleteTrials {
 public:
  /** Takes in what `snapshot` has more than the one before; its log must always be the same. Pruned trials count as
   * well when `with_pruned`. */
  void update(const TrialsSnapshot& snapshot, bool with_pruned = false);

  const std::vector<TrialPtr>& by_number() const noexcept { return by_number_; }
  /** The parameters that all these trials have with equal distributions and more than one value, by name. */
  const SearchSpace& space() const noexcept { return space_; }

 private:
  std::size_t n_seen_ = 0;
  std::vector<TrialPtr> by_number_;
  bool any_ = false;
  SearchSpace shared_;  // as the first trial suggested them
  SearchSpace space_;
};

}  // namespace levin::tune
