// ZipArchive: files packed into one, in memory.
#pragma once

#include <levin/core/export.h>

#include <set>
#include <string>
#include <string_view>

namespace levin::dist {

/** The same files in the same order make the same bytes: no times or owners are kept. */
class LEVIN_API ZipArchive {
 public:
  /** Adds a file; `name` with "/" between folders. Throws Error for a name that leaves the archive, or comes twice. */
  void add(const std::string& name, std::string_view bytes, bool executable = false);

  /** The archive as a file. Throws Error when it would be 4 GiB or larger. */
  std::string bytes() const;

 private:
  std::string files_;    // local headers and contents
  std::string listing_;  // the central directory
  std::set<std::string> names_;
};

}  // namespace levin::dist
