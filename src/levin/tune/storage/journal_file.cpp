#include <levin/tune/storage/journal_file.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/core/value.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <tuple>
#include <unistd.h>

namespace levin::tune::detail {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

// How long a lock may stand with nothing happening before it counts as left behind; Optuna's default.
constexpr auto kGracePeriod = std::chrono::seconds(30);

void pause(double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }

double random_fraction() {
  thread_local std::minstd_rand random{std::random_device{}()};
  return std::uniform_real_distribution(0.5, 1.5)(random);
}

// A spelling of a file of this folder that names this machine: 16 bits of the boot's id, a "/." for each 1 and a "/"
// for each 0, between "." and the name. Short, since file systems keep a short link in its directory entry's inode, and
// a longer one (60 bytes on ext4) in a block whose release waits for the disk.
std::string marked(const std::string& name) {
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  const auto bits = std::hash<std::string>{}(boot);
  std::string out = ".";
  for (int i = 0; i < 16; ++i) out += (bits >> i & 1U) != 0 ? "/." : "/";
  return out + "/" + name;
}

}  // namespace

// The lock is a symbolic link beside the journal, which is what Optuna's JournalFileSymlinkLock makes (and what its
// JournalFileOpenLock respects). Ours hold an flock on the journal around it: they queue there, and who has the flock
// knows that a link with this machine's mark was left by a process that died.
class JournalFile::Lock {
 public:
  explicit Lock(JournalFile& journal) : journal_(journal) {
    const auto start = Clock::now();
    take_flock(start);
    try {
      take_link(start);
    } catch (...) {
      if (has_flock_) ::flock(journal_.file_, LOCK_UN);
      throw;
    }
  }

  ~Lock() {
    struct stat now {};
    // A lock that somebody took for left behind and replaced is not ours to remove.
    if (::lstat(journal_.lock_path_.c_str(), &now) == 0 && now.st_ino == link_) ::unlink(journal_.lock_path_.c_str());
    if (has_flock_) ::flock(journal_.file_, LOCK_UN);
  }

  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  void take_flock(Clock::time_point start) {
    for (double wait = 1e-4;; wait = std::min(2 * wait, 2e-3)) {
      if (::flock(journal_.file_, LOCK_EX | LOCK_NB) == 0) {
        has_flock_ = true;
        return;
      }
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) return;  // a file system without: the link alone must do
      give_up_late(start);
      pause(wait * random_fraction());
    }
  }

  void take_link(Clock::time_point start) {
    const std::string name = fs::path(journal_.absolute_).filename();
    const std::string target = has_flock_ ? marked(name) : name;
    using Sight = std::tuple<ino_t, std::int64_t, off_t>;
    Sight last{};
    auto last_change = start;
    for (double wait = 2e-4;; wait = std::min(1.5 * wait, 2e-2)) {
      if (::symlink(target.c_str(), journal_.lock_path_.c_str()) == 0) {
        struct stat made {};
        if (::lstat(journal_.lock_path_.c_str(), &made) == 0) link_ = made.st_ino;
        return;
      }
      if (errno != EEXIST) journal_.fail("the journal cannot be locked", errno, "check the folder's permissions");
      std::array<char, 4096> text{};
      const auto length = ::readlink(journal_.lock_path_.c_str(), text.data(), text.size());
      if (has_flock_ && length > 0 && std::string_view(text.data(), static_cast<std::size_t>(length)) == target) {
        break_link();
        continue;
      }
      struct stat link {};
      if (::lstat(journal_.lock_path_.c_str(), &link) != 0) continue;  // released just now
      const Sight now{link.st_ino, link.st_mtim.tv_sec * 1'000'000'000 + link.st_mtim.tv_nsec, journal_.size()};
      if (now != last) {
        last = now;
        last_change = Clock::now();
      }
      if (Clock::now() - last_change > kGracePeriod) {
        console::warning("the lock " + journal_.lock_path_ + " was left behind by a process that died; it is removed");
        break_link();
        last_change = Clock::now();
        continue;
      }
      give_up_late(start);
      pause(wait * random_fraction());
    }
  }

  void break_link() const {
    const std::string aside = journal_.lock_path_ + std::to_string(::getpid()) + ".rename";
    if (::rename(journal_.lock_path_.c_str(), aside.c_str()) == 0) ::unlink(aside.c_str());
  }

  void give_up_late(Clock::time_point start) const {
    if (std::chrono::duration<double>(Clock::now() - start).count() < journal_.timeout_) return;
    throw Error({.what = "the journal stayed locked by another process for " + format_double(journal_.timeout_) + " s",
                 .value = {},
                 .where = journal_.path_,
                 .hint = "see who holds it; a lock that was left behind is the file " + journal_.lock_path_});
  }

  JournalFile& journal_;
  bool has_flock_ = false;
  ino_t link_ = 0;
};

JournalFile::JournalFile(std::string path, bool create, double timeout) : path_(std::move(path)), timeout_(timeout) {
  std::error_code ignored;
  if (fs::is_directory(path_, ignored)) {
    throw Error({.what = "a journal is a file, and this is a folder",
                 .value = "\"" + path_ + "\"",
                 .where = "storage",
                 .hint = "name a file in it"});
  }
  absolute_ = fs::absolute(path_).lexically_normal();
  lock_path_ = absolute_ + ".lock";
  const bool fresh = create && !fs::exists(path_, ignored);
  file_ = ::open(path_.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
  if (file_ < 0 && (errno == EACCES || errno == EROFS)) {
    writable_ = false;
    file_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  }
  if (file_ < 0) {
    const int error = errno;
    fail(error == ENOENT && !create ? "there is no such storage" : "the journal cannot be opened", error,
         error == ENOENT ? (create ? "create its folder" : "check the path, or run a study first") : "");
  }
  struct stat status {};
  ::fstat(file_, &status);
  identity_ = {status.st_dev, status.st_ino};
  if (fresh) {  // the file's name must outlive a crash, too
    const int folder = ::open(fs::path(absolute_).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder >= 0) {
      ::fsync(folder);
      ::close(folder);
    }
  }
  // Nothing is ever cut from a file that is no journal.
  std::array<char, 12> head{};
  const auto length = ::pread(file_, head.data(), head.size(), 0);
  const std::string_view begin(head.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  constexpr std::string_view expected = "{\"op_code\":";
  const auto common = std::min(begin.size(), expected.size());
  if (begin.substr(0, common) != expected.substr(0, common)) {
    ::close(file_);
    throw Error({.what = "this file is no journal of studies",
                 .value = {},
                 .where = path_,
                 .hint = "name another file, or write sqlite:/// for a database"});
  }
}

JournalFile::~JournalFile() { ::close(file_); }

void JournalFile::fail(const std::string& what, int error, const std::string& hint) const {
  throw Error({.what = what + ": " + errno_text(error), .value = {}, .where = path_, .hint = hint});
}

off_t JournalFile::size() const {
  struct stat status {};
  if (::fstat(file_, &status) != 0) fail("the journal cannot be read", errno);
  return status.st_size;
}

void JournalFile::read_new(const std::function<void(std::string_view)>& use) {
  const off_t end = size();
  if (end < offset_) {
    throw Error({.what = "the journal became shorter while it was in use",
                 .value = {},
                 .where = path_,
                 .hint = "restore it; studies in it can be opened again"});
  }
  constexpr std::size_t kChunk = 4 << 20;
  std::string buffer;
  for (off_t at = offset_; at < end;) {
    const std::size_t kept = buffer.size();
    buffer.resize(kept + std::min(kChunk, static_cast<std::size_t>(end - at)));
    const auto got = ::pread(file_, buffer.data() + kept, buffer.size() - kept, at);
    if (got < 0) fail("the journal cannot be read", errno);
    buffer.resize(kept + static_cast<std::size_t>(got));
    if (got == 0) break;
    at += got;
    std::size_t start = 0;
    for (auto stop = buffer.find('\n'); stop != std::string::npos; stop = buffer.find('\n', start)) {
      ++lines_read_;
      use(std::string_view(buffer).substr(start, stop - start));
      offset_ += static_cast<off_t>(stop + 1 - start);
      start = stop + 1;
    }
    buffer.erase(0, start);
  }
}

// Under the lock nobody is writing, so what follows the last line end was left by a writer that died.
void JournalFile::mend_end(const std::function<void(std::string_view)>& use) {
  const off_t end = size();
  if (end == offset_) return;
  std::string torn(static_cast<std::size_t>(end - offset_), '\0');
  const auto got = ::pread(file_, torn.data(), torn.size(), offset_);
  if (got < 0) fail("the journal cannot be read", errno);
  bool whole = false;
  try {
    whole = parse_json(torn).is_map();
  } catch (const Error&) {
  }
  if (whole) {
    if (::write(file_, "\n", 1) != 1) fail("the journal cannot be written", errno);
    read_new(use);
    return;
  }
  console::warning("the last line of " + path_ + " is torn: its writer died before it was written; it is removed");
  if (::ftruncate(file_, offset_) != 0) fail("the journal cannot be written", errno);
}

void JournalFile::append(const std::function<void(std::string_view)>& use, const std::function<std::string()>& compose,
                         bool durable) {
  if (!writable_) fail("the journal cannot be written", EACCES, "check the permissions of the file");
  read_new(use);  // the bulk of it without the lock
  {
    const Lock lock(*this);
    struct stat named {};
    if (::stat(path_.c_str(), &named) != 0 || std::pair(named.st_dev, named.st_ino) != identity_) {
      throw Error({.what = "the journal was moved or replaced while it was in use",
                   .value = {},
                   .where = path_,
                   .hint = "put it back, or open the study again"});
    }
    read_new(use);
    mend_end(use);
    const std::string lines = compose();
    if (lines.empty()) return;
    for (std::size_t done = 0; done < lines.size();) {
      const auto wrote = ::write(file_, lines.data() + done, lines.size() - done);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) {
        const int error = errno;
        if (::ftruncate(file_, offset_) != 0) console::error("the journal " + path_ + " holds a torn line");
        fail("the journal cannot be written", error, error == ENOSPC ? "make room on the disk" : "");
      }
      done += static_cast<std::size_t>(wrote);
    }
    read_new(use);
  }
  if (durable && ::fdatasync(file_) != 0) fail("the journal cannot be brought to the disk", errno);
}

}  // namespace levin::tune::detail
