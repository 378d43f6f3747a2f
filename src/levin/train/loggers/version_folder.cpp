#include <levin/train/loggers/version_folder.h>

#include <levin/core/error.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

namespace levin {

namespace fs = std::filesystem;

namespace {

// The N of a folder "version_N", or -1.
std::int64_t number_of(const std::string& folder) {
  constexpr std::string_view prefix = "version_";
  if (!folder.starts_with(prefix)) return -1;
  std::int64_t number = -1;
  const char* end = folder.data() + folder.size();
  const auto [rest, error] = std::from_chars(folder.data() + prefix.size(), end, number);
  return error == std::errc() && rest == end ? number : -1;
}

}  // namespace

VersionFolder::VersionFolder(std::string logger, std::string save_dir, std::string name,
                             std::optional<LoggerVersion> version, std::string sub_dir)
    : logger_(std::move(logger)), save_dir_(std::move(save_dir)), name_(std::move(name)), sub_dir_(std::move(sub_dir)) {
  if (!version) return;
  if (const auto* number = std::get_if<std::int64_t>(&*version)) {
    if (*number < 0) {
      throw Error({.what = logger_ + ": version must be at least 0",
                   .value = std::to_string(*number),
                   .where = {},
                   .hint = "leave it out for the next free number"});
    }
    version_ = "version_" + std::to_string(*number);
  } else {
    version_ = std::get<std::string>(*version);
    if (version_.empty()) {
      throw Error({.what = logger_ + ": version must not be empty",
                   .value = "\"\"",
                   .where = {},
                   .hint = "leave it out for the next free number"});
    }
  }
}

std::string VersionFolder::root() const { return (fs::path(save_dir_) / name_).string(); }

void VersionFolder::fail(const std::string& path, const std::string& reason) const {
  throw Error({.what = "the folder for logs cannot be created",
               .value = path + " (" + reason + ")",
               .where = logger_,
               .hint = "set .save_dir to a folder you may write to, or .logger = false"});
}

const std::string& VersionFolder::path() const {
  if (!path_.empty()) return path_;
  if (version_.empty()) {
    std::error_code error;
    fs::create_directories(root(), error);
    if (error) fail(root(), error.message());
    std::int64_t next = 0;
    for (const auto& entry : fs::directory_iterator(root(), error)) {
      next = std::max(next, number_of(entry.path().filename().string()) + 1);
    }
    // Another run may take the number between the look and the making: then the next one is tried.
    for (;; ++next) {
      const std::string candidate = "version_" + std::to_string(next);
      const bool made = !error && fs::create_directory(fs::path(root()) / candidate, error);
      if (error) fail(root() + "/" + candidate, error.message());
      if (made) {
        version_ = candidate;
        break;
      }
    }
  }
  path_ = known_path();
  return path_;
}

std::string VersionFolder::known_path() const {
  if (version_.empty()) return {};
  fs::path path = fs::path(root()) / version_;
  if (!sub_dir_.empty()) path /= sub_dir_;
  return path.string();
}

const std::string& VersionFolder::make() const {
  std::error_code error;
  fs::create_directories(path(), error);
  if (error) fail(path_, error.message());
  return path_;
}

std::string VersionFolder::version() const {
  path();
  return version_;
}

std::string with_prefix(const std::string& prefix, const std::string& metric) {
  return prefix.empty() ? metric : prefix + "-" + metric;
}

}  // namespace levin
