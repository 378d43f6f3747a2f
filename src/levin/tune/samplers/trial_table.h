// TrialTable: the finished trials of a study in columns, kept up to date as trials finish. What TPE computes from.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/samplers/parzen_estimator.h>
#include <levin/tune/study_view.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin::tune {

/**
 * Complete and pruned trials by row, in the order in which they became known.
 *
 * Everything here follows from the trials alone, in whatever order they came: a table that was filled step by step
 * gives the same answers as one filled at once.
 */
class LEVIN_API TrialTable {
 public:
  explicit TrialTable(std::vector<Direction> directions) : directions_(std::move(directions)) {}

  /** Adds the trials of `snapshot` that it does not hold yet; the snapshot's log must always be the same. */
  void update(const TrialsSnapshot& snapshot);

  std::size_t size() const noexcept { return trials_.size(); }
  const FrozenTrial& trial(std::size_t row) const { return *trials_[row]; }
  /** Rows by trial number. */
  const std::vector<std::uint32_t>& by_number() const noexcept { return by_number_; }

  /** The parameters that all trials have with equal distributions, by name. */
  const SearchSpace& intersection() const noexcept { return intersection_; }
  /** A partition of all parameters into the largest sets of which every trial has all or nothing; each by name. */
  const std::vector<SearchSpace>& groups() const noexcept { return groups_; }

  /** The `n` best rows by number: feasible complete trials first, then pruned, then infeasible ones. */
  std::vector<std::uint32_t> best(std::size_t n);

  /** The column of a parameter, brought up to date, with the given distribution. */
  ParzenColumn& column(const std::string& name, const Distribution& distribution);

 private:
  struct Ranked {
    double first, second;  // compared in this order, then by number
    std::int64_t number;
    std::uint32_t row;
    auto operator<=>(const Ranked&) const = default;
  };
  struct Column {
    ParzenColumn values;
    std::size_t n_rows = 0;  // rows taken in so far
  };

  void add(const TrialPtr& trial);
  void add_to_spaces(const SearchSpace& distributions);
  void add_to_groups(const SearchSpace& distributions);
  std::vector<std::uint32_t> best_complete(std::size_t n);

  std::vector<Direction> directions_;
  std::size_t n_seen_ = 0;  // entries of the log
  std::vector<TrialPtr> trials_;
  std::vector<std::uint32_t> by_number_;
  std::vector<Ranked> complete_, pruned_, infeasible_;  // each from best to worst
  SearchSpace intersection_;
  std::vector<SearchSpace> groups_;
  std::unordered_map<std::string, std::unique_ptr<Column>> columns_;
  // Several objectives: the best rows as last computed.
  std::size_t front_size_ = 0, front_n_ = 0;
  std::vector<std::uint32_t> front_;
};

}  // namespace levin::tune
