// Files that a test may write: in a folder of its own process, emptied at its end.
#pragma once

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <system_error>

namespace levin::tune {

class Scratch {
 public:
  Scratch() : folder_(std::filesystem::temp_directory_path() / ("levin-tune-test-" + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  std::filesystem::path folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

/** A path for a new file, different at each call. */
inline std::string scratch_file(const std::string& name) {
  static const Scratch scratch;
  static std::atomic<int> count{0};
  return scratch.folder() / (std::to_string(count++) + "-" + name);
}

}  // namespace levin::tune
