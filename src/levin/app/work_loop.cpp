#include <levin/app/work_loop.h>

#include <levin/app/trial_board.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

namespace levin::app {
namespace {

using Clock = std::chrono::steady_clock;

class WorkLoop {
 public:
  WorkLoop(tune::Study& study, const WorkOptions& options, const Work& work)
      : study_(study), options_(options), work_(work) {
    if (options.show_table) {
      board_.emplace(study,
                     TrialBoardOptions{.n_trials = options.until && !options.n_trials ? left() : options.n_trials,
                                       .timeout = options.timeout});
    }
  }

  void run() {
    {
      std::vector<std::jthread> threads;
      for (std::int64_t i = 1; i < options_.n_jobs; ++i) {
        threads.emplace_back([this, i] { guarded(static_cast<std::size_t>(i)); });
      }
      guarded(0);
    }
    if (board_) board_->finish();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  enum class Next { begin, wait, leave };

  std::optional<std::int64_t> left() const {
    return std::max<std::int64_t>(0, *options_.until - count_finished(study_.snapshot()));
  }

  bool ends() const {
    return interrupt_requested() || broken_ || study_.stop_requested() ||
           (options_.timeout && std::chrono::duration<double>(Clock::now() - start_).count() >= *options_.timeout) ||
           (!options_.call_off.empty() && study_.system_attrs().contains(options_.call_off));
  }

  // Whether one more trial may begin. `beginning_` counts those that may but are not in the study yet.
  Next next() {
    const std::lock_guard lock(mutex_);
    if (ends() || (options_.n_trials && begun_ >= *options_.n_trials)) return Next::leave;
    if (options_.until) {
      const auto trials = study_.snapshot();
      const auto finished = count_finished(trials);
      if (finished >= *options_.until) return Next::leave;
      const auto open = trials.unfinished();
      const auto running =
          std::count_if(open.begin(), open.end(), [](const auto& t) { return t->state == tune::TrialState::running; });
      if (finished + running + beginning_ >= *options_.until) return Next::wait;
    }
    ++begun_;
    ++beginning_;
    return Next::begin;
  }

  void guarded(std::size_t slot) {
    try {
      loop(slot);
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      broken_ = true;
    }
  }

  void loop(std::size_t slot) {
    for (Next step = next(); step != Next::leave; step = next()) {
      if (step == Next::wait) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        study_.reclaim_stale_trials();
        continue;
      }
      std::optional<tune::Trial> trial;
      try {
        trial = options_.until ? study_.ask_below(*options_.until) : study_.ask();
      } catch (...) {
        --beginning_;
        throw;
      }
      if (!trial) {  // others were faster
        const std::lock_guard lock(mutex_);
        --begun_;
        --beginning_;
        continue;
      }
      --beginning_;
      if (board_) board_->begin(trial->frozen());
      if (!run_trial(*trial, slot)) return;
    }
  }

  // False when the trial was interrupted.
  bool run_trial(tune::Trial& trial, std::size_t slot) {
    std::optional<std::vector<double>> values;
    std::optional<tune::TrialState> state;
    try {
      values = work_(trial, slot);
    } catch (const Interrupted&) {
      study_.requeue(trial);
      if (board_) board_->drop(trial.number());
      return false;
    } catch (const tune::TrialPruned&) {
      state = tune::TrialState::pruned;
    } catch (const std::exception& error) {
      state = tune::TrialState::fail;
      trial.set_system_attr("fail_reason", error.what());
      console::warning("trial " + std::to_string(trial.number()) + " failed: " + error.what());
    }
    const auto ended = state ? study_.tell(trial, *state) : study_.tell(trial, *values);
    if (board_) board_->end(ended);
    return true;
  }

  tune::Study& study_;
  const WorkOptions& options_;
  const Work& work_;
  const Clock::time_point start_ = Clock::now();
  std::optional<TrialBoard> board_;
  std::mutex mutex_;
  std::int64_t begun_ = 0;
  std::atomic<std::int64_t> beginning_{0};
  std::atomic<bool> broken_{false};
  std::exception_ptr failure_;
};

}  // namespace

std::int64_t count_finished(const tune::TrialsSnapshot& trials) {
  const auto finished = trials.finished();
  auto count = static_cast<std::int64_t>(finished.size());
  const auto is_retry = [](const auto& trial) { return tune::retried_trial_number(*trial).has_value(); };
  count -= std::count_if(finished.begin(), finished.end(), is_retry);
  count -= std::count_if(trials.unfinished().begin(), trials.unfinished().end(), is_retry);
  return count;
}

void work_on(tune::Study& study, const WorkOptions& options, const Work& work) { WorkLoop(study, options, work).run(); }

}  // namespace levin::app
