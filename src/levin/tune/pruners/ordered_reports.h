// What trials reported, kept in order as reports come, so that judging one trial does not go through all others.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace levin::tune::detail {

/** The reports of one objective, in ascending order. */
class SortedReports {
 public:
  void add(double value) {
    ++count_;
    if (!std::isnan(value)) fresh_.push_back(value);
  }
  std::int64_t count() const { return count_; }  // with NaN

  const std::vector<double>& sorted() {
    if (fresh_.size() < 16) {
      for (const double value : fresh_) sorted_.insert(std::upper_bound(sorted_.begin(), sorted_.end(), value), value);
    } else {
      const auto middle = static_cast<std::ptrdiff_t>(sorted_.size());
      sorted_.insert(sorted_.end(), fresh_.begin(), fresh_.end());
      std::sort(sorted_.begin() + middle, sorted_.end());
      std::inplace_merge(sorted_.begin(), sorted_.begin() + middle, sorted_.end());
    }
    fresh_.clear();
    return sorted_;
  }

 private:
  std::int64_t count_ = 0;
  std::vector<double> sorted_, fresh_;
};

}  // namespace levin::tune::detail
