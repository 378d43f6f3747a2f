#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/file.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <streambuf>
#include <string>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace levin {
namespace {

namespace fs = std::filesystem;

// The file that a chain of symbolic links ends in, so that a link is not replaced by a file.
fs::path resolve_links(fs::path path) {
  std::error_code ignored;
  for (int links = 0; links < 32 && fs::is_symlink(path, ignored); ++links) {
    path = path.parent_path() / fs::read_symlink(path, ignored);  // an absolute target replaces the whole
  }
  return path;
}

}  // namespace

class AtomicFile::Impl : public std::streambuf {
 public:
  explicit Impl(const fs::path& path) : path_(path), target_(resolve_links(path)), stream_(this) {
    stream_.exceptions(std::ios::badbit);
    struct stat old {};
    const bool exists = ::stat(target_.c_str(), &old) == 0;
    if (exists && !S_ISREG(old.st_mode)) fail(S_ISDIR(old.st_mode) ? "it is a directory" : "it is not a regular file");
    const fs::path folder = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    static std::atomic<unsigned> counter{0};
    do {
      temporary_ = folder / ("." + target_.filename().string().substr(0, 200) + "." + std::to_string(::getpid()) + "." +
                             std::to_string(counter++) + ".tmp");
      fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd_ < 0 && errno == EEXIST);
    if (fd_ < 0) {
      const int reason = errno;
      temporary_.clear();
      fail(errno_text(reason), reason == ENOENT ? "create the folder " + folder.string() + " first" : "");
    }
    if (exists) ::fchmod(fd_, old.st_mode & 07777);
    setp(buffer_.data(), buffer_.data() + buffer_.size());
  }

  ~Impl() override { discard(); }

  std::ostream& stream() { return stream_; }
  const fs::path& path() const { return path_; }

  void commit() {
    flush();
    if (::fsync(fd_) != 0) fail(errno_text(errno));
    const int closed = ::close(std::exchange(fd_, -1));
    if (closed != 0) fail(errno_text(errno));
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno_text(errno));
    temporary_.clear();
    setp(nullptr, nullptr);
    const fs::path folder = target_.has_parent_path() ? target_.parent_path() : fs::path(".");
    const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;  // the file is whole; some file systems have no folders to bring to the disk
    ::fsync(directory);
    ::close(directory);
  }

 protected:
  int_type overflow(int_type c) override {
    flush();
    if (traits_type::eq_int_type(c, traits_type::eof())) return traits_type::not_eof(c);
    *pptr() = traits_type::to_char_type(c);
    pbump(1);
    return c;
  }

  std::streamsize xsputn(const char* bytes, std::streamsize size) override {
    if (size > epptr() - pptr()) {
      flush();
      if (size >= epptr() - pptr()) {
        write_all(bytes, static_cast<std::size_t>(size));
        return size;
      }
    }
    std::memcpy(pptr(), bytes, static_cast<std::size_t>(size));
    pbump(static_cast<int>(size));
    return size;
  }

  int sync() override {
    flush();
    return 0;
  }

 private:
  void flush() {
    if (fd_ < 0) fail("it has been committed already");
    write_all(pbase(), static_cast<std::size_t>(pptr() - pbase()));
    setp(buffer_.data(), buffer_.data() + buffer_.size());
  }

  void write_all(const char* bytes, std::size_t size) {
    while (size > 0) {
      const ssize_t written = ::write(fd_, bytes, size);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) fail(errno_text(errno));
      bytes += written;
      size -= static_cast<std::size_t>(written);
    }
  }

  void discard() noexcept {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  [[noreturn]] void fail(const std::string& reason, std::string hint = {}) const {
    throw Error({.what = "the file cannot be written: " + reason,
                 .value = {},
                 .where = path_.string(),
                 .hint = std::move(hint)});
  }

  fs::path path_, target_, temporary_;
  int fd_ = -1;
  std::array<char, 1 << 16> buffer_{};
  std::ostream stream_;
};

AtomicFile::AtomicFile(const fs::path& path) : impl_(std::make_unique<Impl>(path)) {}
AtomicFile::~AtomicFile() = default;
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;
AtomicFile& AtomicFile::operator=(AtomicFile&&) noexcept = default;

std::ostream& AtomicFile::stream() { return impl_->stream(); }

void AtomicFile::write(const void* bytes, std::size_t size) {
  impl_->sputn(static_cast<const char*>(bytes), static_cast<std::streamsize>(size));
}

void AtomicFile::commit() { impl_->commit(); }

const fs::path& AtomicFile::path() const { return impl_->path(); }

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace levin
