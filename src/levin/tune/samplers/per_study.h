// PerStudy: what a sampler keeps of each of the few studies it serves at a time, to be faster.
#pragma once

#include <levin/tune/study_view.h>

#include <algorithm>
#include <cstdint>
#include <list>
#include <utility>

namespace levin::tune {

/** A T by the log of its study (see TrialsSnapshot::log); those of the eight studies used last are kept. Not locked. */
template <class T>
class PerStudy {
 public:
  T& of(const TrialsSnapshot& trials) {
    const std::uint64_t log = trials.log();
    auto it = std::find_if(entries_.begin(), entries_.end(), [&](const auto& entry) { return entry.first == log; });
    if (it == entries_.end()) {
      if (entries_.size() >= 8) entries_.pop_back();
      entries_.emplace_front(log, T());
    } else {
      entries_.splice(entries_.begin(), entries_, it);
    }
    return entries_.front().second;
  }

 private:
  std::list<std::pair<std::uint64_t, T>> entries_;
};

}  // namespace levin::tune
