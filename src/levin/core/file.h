// Reading a whole file, with errors that say what to do.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <filesystem>
#include <limits>
#include <string>
#include <string_view>

namespace levin {

/**
 * The bytes of a file or a pipe. Throws Error when the path is missing (naming the nearest file of its folder), a
 * directory, unreadable, or longer than `max_bytes`.
 */
LEVIN_API std::string read_file(const std::filesystem::path& path,
                                std::size_t max_bytes = std::numeric_limits<std::size_t>::max());

/** Throws the Error of `read_file` when `path` is missing or a directory, without reading it. */
LEVIN_API void require_file(const std::filesystem::path& path);

/** "Permission denied" and its kind, for the errno value `number`. */
LEVIN_API std::string errno_text(int number);

}  // namespace levin
