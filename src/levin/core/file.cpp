#include <levin/core/error.h>
#include <levin/core/file.h>

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <vector>

namespace levin {
namespace {

namespace fs = std::filesystem;

std::string neighbour_hint(const fs::path& path) {
  std::error_code ignored;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, ignored)) return "the folder " + folder.string() + " does not exist either";
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end && names.size() < 1000;
       it.increment(ignored)) {
    names.push_back(it->path().filename().string());
  }
  const auto name = closest(path.filename().string(), names);
  if (name.empty()) return "check the path; it is relative to " + fs::current_path(ignored).string();
  return "did you mean \"" + (path.has_parent_path() ? (folder / name).string() : name) + "\"?";
}

Error file_error(const fs::path& path, std::string what, std::string hint) {
  return Error({.what = std::move(what), .value = {}, .where = path.string(), .hint = std::move(hint)});
}

Error open_error(const fs::path& path, int reason) {
  if (reason == ENOENT || reason == ENOTDIR) {
    return file_error(path, "there is no such file", neighbour_hint(path));
  }
  return file_error(path, "the file cannot be opened: " + errno_text(reason), {});
}

Error directory_error(const fs::path& path) {
  return file_error(path, "this is a directory, not a file", "give the path of a file in it");
}

class Descriptor {
 public:
  explicit Descriptor(const fs::path& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::string errno_text(int number) { return std::generic_category().message(number); }

void require_file(const fs::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) throw open_error(path, errno);
  if (S_ISDIR(status.st_mode)) throw directory_error(path);
}

std::string read_file(const fs::path& path, std::size_t max_bytes) {
  const auto fail = [&](std::string what, std::string hint) {
    return file_error(path, std::move(what), std::move(hint));
  };
  const Descriptor file(path);
  if (file.get() < 0) throw open_error(path, errno);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw fail("the file cannot be read: " + errno_text(errno), {});
  if (S_ISDIR(status.st_mode)) throw directory_error(path);

  std::string bytes;
  std::size_t used = 0;
  if (S_ISREG(status.st_mode)) bytes.resize(static_cast<std::size_t>(status.st_size) + 1);
  while (true) {
    if (used == bytes.size()) bytes.resize(std::max<std::size_t>(bytes.size() * 2, 1 << 16));
    const ssize_t got = ::read(file.get(), bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw fail("the file cannot be read: " + errno_text(errno), {});
    if (got == 0) break;
    used += static_cast<std::size_t>(got);
    if (used > max_bytes) {
      throw fail("the file is too long", "at most " + std::to_string(max_bytes) + " bytes are allowed here");
    }
  }
  bytes.resize(used);
  return bytes;
}

}  // namespace levin
