// What the handles on a study share.
#pragma once

#include <levin/tune/heartbeat.h>
#include <levin/tune/pruners/pruner.h>
#include <levin/tune/samplers/sampler.h>
#include <levin/tune/storage/storage.h>
#include <levin/tune/study_view.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

namespace levin::tune::detail {

class StudyTrial;

struct StudyCore {
  std::shared_ptr<Storage> storage;
  std::int64_t id = -1;
  std::string name;
  std::vector<Direction> directions;
  std::shared_ptr<Sampler> sampler;
  std::shared_ptr<Pruner> pruner;
  std::shared_ptr<TrialCache> cache;
  std::unique_ptr<Heartbeats> heartbeats;  // null: none
  std::string checkpoint_dir;              // "": nowhere

  std::atomic<int> optimizing{0};        // optimize calls under way
  std::atomic<bool> stop{false};         // set by Study::stop, cleared by optimize
  std::atomic<bool> interrupted{false};  // set by the stop token of a running optimize

  std::optional<StudyView> first_view;     // what views are copied from
  std::atomic<std::size_t> n_params{0};    // of the trial that ended last: the next one likely has as many

  StudyView view() const { return *first_view; }

  /** What the sampler learns from: all trials, or those of the trial's group where the pruner has groups. */
  StudyView sampler_view(const FrozenTrial& trial);

  /**
   * Throws Error when the distribution does not fit what this process has seen of the name so far. Returns what it saw
   * first where the two are equal, so that trials share it, else `distribution`.
   */
  Distribution check_distribution(const std::string& param, const Distribution& distribution);

  /** Trials of this process with something still to be written, so that readers can have it written first. */
  void remember(const std::shared_ptr<StudyTrial>& trial);
  void flush_trials();

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, Distribution> distributions_;
  std::vector<std::weak_ptr<StudyTrial>> unwritten_;
  std::unordered_map<std::int64_t, std::shared_ptr<TrialCache>> groups_;
};

}  // namespace levin::tune::detail
