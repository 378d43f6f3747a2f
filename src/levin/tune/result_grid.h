// ResultGrid: what came of a Tuner's trials.
#pragma once

#include <levin/core/export.h>
#include <levin/core/mode.h>
#include <levin/tune/frozen_trial.h>
#include <levin/tune/schedulers/scheduler.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/** One trial at its end. */
struct TrialResult {
  std::int64_t number = 0;                  ///< in the study
  TrialState state = TrialState::complete;  ///< complete; pruned: ended early by the scheduler or the end of the search
  Config config;                            ///< what it ran with last
  Metrics metrics;                          ///< its last result; empty if it gave none
  std::vector<std::pair<std::int64_t, double>> history;  ///< the Tuner's metric by training_iteration, as it came
  std::string error;                                     ///< why it failed, or empty
  SnapshotPtr checkpoint;                                ///< its last saved state, where checkpoints were asked for
  std::filesystem::path checkpoint_folder;               ///< where its checkpoints are on disk, if any

  bool failed() const noexcept { return state == TrialState::fail; }
};

/** Which of a trial's results stands for it. */
enum class Scope {
  last,  ///< its last one
  all,   ///< its best one
};

/** The results of a search in order of trial number. */
class LEVIN_API ResultGrid {
 public:
  ResultGrid(std::string metric, Mode mode, std::vector<TrialResult> results);

  std::size_t size() const noexcept { return results_.size(); }
  bool empty() const noexcept { return results_.empty(); }
  auto begin() const noexcept { return results_.begin(); }
  auto end() const noexcept { return results_.end(); }
  const TrialResult& operator[](std::size_t i) const { return results_.at(i); }

  /**
   * The trial with the best metric (the Tuner's by default); NaN, failed trials and those without the metric do not
   * count. Throws Error when none is left. `Scope::all` knows the Tuner's metric only.
   */
  const TrialResult& best(const std::string& metric = "", std::optional<Mode> mode = std::nullopt,
                          Scope scope = Scope::last) const;
  std::vector<const TrialResult*> errors() const;  ///< the trials that failed
  std::size_t num_errors() const { return errors().size(); }
  std::size_t num_terminated() const { return size() - num_errors(); }  ///< trials that ended without an error

  /** A row a trial: trial, state, last metrics, config/..., error. */
  std::string to_csv() const;
  /** Writes `to_csv` to a file, atomically. */
  void write_csv(const std::filesystem::path& path) const;
  /** A row a result: trial, training_iteration, metric. */
  std::string history_csv() const;

 private:
  std::string metric_;
  Mode mode_;
  std::vector<TrialResult> results_;
};

}  // namespace levin::tune
