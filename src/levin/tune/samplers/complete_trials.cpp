#include <levin/tune/samplers/complete_trials.h>

#include <algorithm>
#include <string>

namespace levin::tune {
namespace {

SearchSpace by_name_without_single(const SearchSpace& space) {
  std::vector<SearchSpace::value_type> entries;
  for (const auto& entry : space) {
    if (!entry.second.single()) entries.push_back(entry);
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  SearchSpace out;
  for (auto& [name, distribution] : entries) out.append(name, distribution);
  return out;
}

}  // namespace

void CompleteTrials::update(const TrialsSnapshot& snapshot, bool with_pruned) {
  const auto finished = snapshot.finished();
  for (; n_seen_ < finished.size(); ++n_seen_) {
    const TrialPtr& trial = finished[n_seen_];
    if (trial->state != TrialState::complete && !(with_pruned && trial->state == TrialState::pruned)) continue;
    const auto later = [](std::int64_t number, const TrialPtr& other) { return number < other->number; };
    by_number_.insert(std::upper_bound(by_number_.begin(), by_number_.end(), trial->number, later), trial);
    if (any_ && shared_ == trial->distributions) continue;
    if (any_) {
      std::vector<std::string> gone;
      for (const auto& [name, distribution] : shared_) {
        const Distribution* other = trial->distributions.find(name);
        if (other == nullptr || !(*other == distribution)) gone.push_back(name);
      }
      for (const auto& name : gone) shared_.erase(name);
      if (gone.empty()) continue;
    } else {
      any_ = true;
      shared_ = trial->distributions;
    }
    space_ = by_name_without_single(shared_);
  }
}

}  // namespace levin::tune
