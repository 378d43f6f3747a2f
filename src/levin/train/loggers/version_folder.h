// VersionFolder: `<save_dir>/<name>/<version>`, where a logger keeps the files of one run.
#pragma once

#include <levin/core/export.h>

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

namespace levin {

/** A run's folder by number ("version_3") or by name. */
using LoggerVersion = std::variant<std::int64_t, std::string>;

/** The folder of a run, chosen at first use: a trainer that never logs leaves no folder behind. */
class LEVIN_API VersionFolder {
 public:
  /** `logger` names the caller in messages. An empty `name` or `sub_dir` is left out of the path. */
  VersionFolder(std::string logger, std::string save_dir, std::string name, std::optional<LoggerVersion> version,
                std::string sub_dir = {});

  /**
   * The folder's path. Without a version, the first call makes the folder "version_N" with N one above the largest
   * there, which claims it: two runs started at once never share one.
   */
  const std::string& path() const;
  /** The path if it is known without making a folder, else "". */
  std::string known_path() const;
  /** Makes the folder where it is missing and returns its path. */
  const std::string& make() const;

  /** "version_3", or the name given. Chooses the folder as `path` does. */
  std::string version() const;
  const std::string& name() const { return name_; }
  const std::string& save_dir() const { return save_dir_; }

 private:
  std::string root() const;
  [[noreturn]] void fail(const std::string& path, const std::string& reason) const;

  std::string logger_, save_dir_, name_, sub_dir_;
  mutable std::string version_;  // "" until chosen
  mutable std::string path_;
};

/** "prefix-metric", or the metric alone without a prefix (Lightning's naming). */
LEVIN_API std::string with_prefix(const std::string& prefix, const std::string& metric);

}  // namespace levin
