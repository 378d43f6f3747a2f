// Files that are either whole or not there: written beside their place, then renamed into it.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string_view>

namespace levin {

/**
 * A file that takes its place only on `commit()`: until then, and for good when an exception or the destructor comes
 * first, whatever stood at `path` stays as it was. Bytes go to a temporary file in the same folder; `commit()` brings
 * them to the disk (fsync), renames the file over `path` and brings the folder to the disk. A symbolic link at `path`
 * stays a link; permissions of an older file are kept. Throws Error with the path and the system's reason when the
 * folder is missing, the disk is full, and so on.
 */
class LEVIN_API AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;

  /** A stream into the file; a failed write throws Error out of the stream's own operators. */
  std::ostream& stream();
  void write(const void* bytes, std::size_t size);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }

  /** Puts the file into its place; nothing can be written afterwards. */
  void commit();

  const std::filesystem::path& path() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/** Writes `bytes` to `path` by an AtomicFile. */
LEVIN_API void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

}  // namespace levin
