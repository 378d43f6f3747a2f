// The loop of a worker: takes trials from a study, has them worked, tells what came of it.
#pragma once

#include <levin/tune/study.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace levin::app {

/** Thrown when a trial's work is interrupted; the trial has not ended, and goes back into the queue. */
struct Interrupted {};

struct WorkOptions {
  std::optional<std::int64_t> n_trials = std::nullopt;  ///< trials that this worker runs
  /**
   * Ends once the study has so many finished trials, whoever ran them; a trial that failed and was run again counts
   * once. While trials of others make up what is missing, the loop waits for them, for they may come back.
   */
  std::optional<std::int64_t> until = std::nullopt;
  std::optional<double> timeout = std::nullopt;  ///< seconds after which no trial begins
  std::int64_t n_jobs = 1;                       ///< trials at the same time
  bool show_table = true;                        ///< whether the live table is shown
  /**
   * The study attribute that calls this worker off once it is set, for workers whose master may be gone before they
   * begin; "" for none.
   */
  std::string call_off = "";
};

/** The values of a trial; `slot`, below n_jobs: which of the jobs works it. May throw Interrupted, TrialPruned. */
using Work = std::function<std::vector<double>(tune::Trial& trial, std::size_t slot)>;

/**
 * Works until the options, the study's sampler or an interrupt end it. What `work` throws fails its trial, with the
 * reason in the attribute `fail_reason` and a warning; errors of the storage are thrown on.
 */
void work_on(tune::Study& study, const WorkOptions& options, const Work& work);

/** Finished trials of the study; those that failed and were run again count once. */
std::int64_t count_finished(const tune::TrialsSnapshot& trials);

}  // namespace levin::app
