#include <levin/train/loggers/append_file.h>

#include <levin/core/error.h>
#include <levin/core/file.h>

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace levin {

void append_to_file(const std::string& path, std::string_view bytes, const char* logger) {
  const int file = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  while (file >= 0 && !bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) break;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  const int reason = errno;
  if (file >= 0) ::close(file);
  if (file >= 0 && bytes.empty()) return;
  throw Error({.what = std::string(logger) + " cannot write",
               .value = errno_text(reason),
               .where = path,
               .hint = "make room on the disk or set .logger = false"});
}

}  // namespace levin
