// JournalFile: a file of lines that many processes append to, under the lock that Optuna's journal uses.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <utility>

namespace levin::tune::detail {

/**
 * Appends are whole lines. A writer that died within a line leaves a torn one: readers stop before it, and the next
 * writer of ours takes it away (or ends it, where only the line end was missing), so that no later line is damaged.
 * For one thread at a time.
 */
class JournalFile {
 public:
  /** Opens the file; when `create` is false it must exist. `timeout`: seconds to wait for others' locks. */
  JournalFile(std::string path, bool create, double timeout);
  ~JournalFile();
  JournalFile(const JournalFile&) = delete;
  JournalFile& operator=(const JournalFile&) = delete;

  /** Hands each line that was not read yet to `use`, without its end. Throws Error when the file was cut or replaced.
   */
  void read_new(const std::function<void(std::string_view)>& use);
  /** The number of lines read so far. */
  std::int64_t lines_read() const { return lines_read_; }

  /**
   * Takes the lock, reads what is new, and appends what `compose` returns (whole lines), all before anyone else may
   * append. What was appended is handed to `use`, too. With `durable` it is on the disk when this returns.
   * Nothing is appended when `compose` throws or the disk is full.
   */
  void append(const std::function<void(std::string_view)>& use, const std::function<std::string()>& compose,
              bool durable);

  const std::string& path() const { return path_; }

 private:
  class Lock;

  off_t size() const;
  void mend_end(const std::function<void(std::string_view)>& use);
  [[noreturn]] void fail(const std::string& what, int error, const std::string& hint = {}) const;

  std::string path_;
  std::string absolute_;
  std::string lock_path_;
  double timeout_;
  int file_ = -1;
  bool writable_ = true;
  std::pair<dev_t, ino_t> identity_{};
  off_t offset_ = 0;  ///< what lies before was read
  std::int64_t lines_read_ = 0;
};

}  // namespace levin::tune::detail
