// The live table of a search: a line for each trial that ends, and below them how the search stands.
#pragma once

#include <levin/core/console.h>
#include <levin/tune/study.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace levin::app {

struct TrialBoardOptions {
  std::optional<std::int64_t> n_trials = std::nullopt;  ///< how many trials are to be run
  std::optional<double> timeout = std::nullopt;         ///< seconds after which none begins
};

/**
 * Writes to standard error: in a terminal with a last line that is redrawn (trials, best so far, failures, time left),
 * elsewhere the trials' lines alone. Nothing is shown when LEVIN_LOG is above info. For any number of threads.
 */
class TrialBoard {
 public:
  TrialBoard(tune::Study study, TrialBoardOptions options);

  void begin(const tune::FrozenTrial& trial);
  void end(const tune::FrozenTrial& trial);
  /** A trial that began does not end here. */
  void drop(std::int64_t number);
  /** Shows the last state and gives the line up. */
  void finish();

  /** The line below the table, as it is now. */
  std::string summary() const;
  /** The line of a trial; `best`: whether it is the best so far. */
  static std::string line(const tune::FrozenTrial& trial, bool best);

 private:
  void draw();
  double left(double elapsed) const;

  tune::Study study_;
  const TrialBoardOptions options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  mutable std::mutex mutex_;
  console::LiveLine live_;
  bool headed_ = false;
  std::map<std::int64_t, std::chrono::steady_clock::time_point> running_;
  std::int64_t ended_ = 0, pruned_ = 0, failed_ = 0;
  std::optional<tune::FrozenTrial> best_;
};

}  // namespace levin::app
