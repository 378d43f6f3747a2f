// Writes trials that wait to be written, a little later, on a thread of its own.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace levin::tune::detail {

class StudyTrial;

/** One per process: a trial that is handed in gets flushed within about a tenth of a second. */
class DeferredWrites {
 public:
  static DeferredWrites& instance();
  ~DeferredWrites();

  void add(std::weak_ptr<StudyTrial> trial);

 private:
  void run(std::stop_token stop);

  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<std::weak_ptr<StudyTrial>> trials_;
  std::jthread thread_;
};

}  // namespace levin::tune::detail
