// StudyCache: what a sampler keeps of each study it serves, so that it computes only what is new.
#pragma once

#include <levin/tune/study_view.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <utility>

namespace levin::tune {

/** A few T by the log of their study (see TrialsSnapshot::log), the least recently used leaving first. */
template <class T>
class StudyCache {
 public:
  T& of(const TrialsSnapshot& snapshot) {
    auto it =
        std::find_if(entries_.begin(), entries_.end(), [&](auto& entry) { return entry.first == snapshot.log(); });
    if (it != entries_.end()) {
      entries_.splice(entries_.begin(), entries_, it);
    } else {
      if (entries_.size() >= 8) entries_.pop_back();
      entries_.emplace_front(snapshot.log(), T());
    }
    return entries_.front().second;
  }

 private:
  std::list<std::pair<std::uint64_t, T>> entries_;
};

}  // namespace levin::tune
