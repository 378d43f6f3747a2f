// FrozenTrial: everything a study knows of one trial, as plain data.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/tune/space.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin::tune {

/** Which way an objective should go. */
enum class Direction { minimize, maximize };

/** "MINIMIZE" or "MAXIMIZE". */
LEVIN_API std::string to_string(Direction direction);

enum class TrialState { running, complete, pruned, fail, waiting };

/** "RUNNING", "COMPLETE", "PRUNED", "FAIL" or "WAITING". */
LEVIN_API std::string to_string(TrialState state);

/** Whether the trial can no longer change: complete, pruned or failed. */
constexpr bool is_finished(TrialState state) { return state != TrialState::running && state != TrialState::waiting; }

using TimePoint = std::chrono::system_clock::time_point;

/** Reported values by step, in order of the step. */
class LEVIN_API IntermediateValues {
 public:
  using value_type = std::pair<std::int64_t, double>;
  using const_iterator = std::vector<value_type>::const_iterator;

  std::size_t size() const noexcept { return entries_.size(); }
  bool empty() const noexcept { return entries_.empty(); }
  const_iterator begin() const noexcept { return entries_.begin(); }
  const_iterator end() const noexcept { return entries_.end(); }
  const value_type& back() const { return entries_.back(); }

  bool contains(std::int64_t step) const { return find(step) != nullptr; }
  /** The value at `step`, or null. */
  const double* find(std::int64_t step) const;
  /** The value at `step`; throws Error when nothing was reported there. */
  double at(std::int64_t step) const;
  void set(std::int64_t step, double value);

 private:
  std::vector<value_type> entries_;
};

/**
 * The attribute that holds what a report says beyond one value: `{"values": [...], "metrics": {...}}`, with `values`
 * (one per objective) in studies with several objectives and `metrics` where further metrics were given.
 */
LEVIN_API std::string report_key(std::int64_t step);

/** One trial as stored. */
struct LEVIN_API FrozenTrial {
  std::int64_t number = 0;  ///< counts the study's trials from 0
  TrialState state = TrialState::running;
  std::vector<double> values;  ///< one per objective; empty unless complete (or pruned after a report)
  std::optional<TimePoint> datetime_start;
  std::optional<TimePoint> datetime_complete;
  Map params;                 ///< what the objective saw, in order of suggestion
  SearchSpace distributions;  ///< of each parameter, in the same order
  IntermediateValues intermediate_values;
  Map user_attrs;
  Map system_attrs;
  std::int64_t trial_id = -1;  ///< unique within the storage

  /** The value of a single-objective trial; throws Error when it has none or several. */
  double value() const;
  /**
   * What was reported at `step`, one value per objective; empty when nothing was. With one objective this is the
   * intermediate value; with several, `intermediate_values` holds the first and this reads the rest from the
   * attribute `levin:report:<step>`.
   */
  std::vector<double> reported(std::int64_t step) const;
  /** The further metric `name` reported at `step`, if it was. */
  std::optional<double> reported_metric(std::int64_t step, std::string_view name) const;
  /** The largest step reported, if any. */
  std::optional<std::int64_t> last_step() const;
  /** From start to completion, once both are known. */
  std::optional<std::chrono::duration<double>> duration() const;
  /** Constraint values by name (feasible when none is above 0), from both of Optuna's encodings. */
  std::vector<std::pair<std::string, double>> constraints() const;
  /** The sum of the positive constraint values: 0 when feasible. */
  double infeasibility() const;
};

/** Finished trials never change, so views share them. */
using TrialPtr = std::shared_ptr<const FrozenTrial>;

}  // namespace levin::tune
