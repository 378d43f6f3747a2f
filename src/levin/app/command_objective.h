// A program as an objective: its command line takes the parameters, its output gives the value.
#pragma once

#include <levin/app/work_loop.h>
#include <levin/core/value.h>
#include <levin/tune/space.h>
#include <levin/tune/trial.h>

#include <functional>
#include <string>
#include <vector>

namespace levin::app {

/**
 * Runs `command` in a shell for each trial.
 *
 * In the command, {NAME} is the value of parameter NAME, quoted for the shell; {number} is the trial's number and
 * {checkpoint_dir} its folder for checkpoints. The program finds the same in its environment: LEVIN_PARAMS (a JSON
 * object), LEVIN_TRIAL_NUMBER, LEVIN_CHECKPOINT_DIR (where the study has a place for it).
 *
 * Of its output, a line {"step": N, "value": X} is a report, after which the trial may be pruned (the program gets
 * SIGTERM, and SIGKILL ten seconds later), and a line {"value": X} or {"values": [X, Y]} is the result; without one,
 * the last line is, when it holds just a number. Other lines are passed on. A program that fails or gives no value
 * fails its trial.
 */
class CommandObjective {
 public:
  /** Throws Error when the command names no parameter of the space, or one that it lacks. */
  CommandObjective(std::string command, tune::SearchSpace space);

  /**
   * Runs the program; `environment`: further NAME=VALUE. `stopped` is asked now and then: when it says so, the program
   * is ended and Interrupted thrown. Throws tune::TrialPruned, and Error when the program failed.
   */
  std::vector<double> operator()(tune::Trial& trial, const std::vector<std::string>& environment,
                                 const std::function<bool()>& stopped) const;

 private:
  std::string command_;
  tune::SearchSpace space_;
};

}  // namespace levin::app
