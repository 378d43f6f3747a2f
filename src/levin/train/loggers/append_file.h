// Appending to a file of a logger, so that a killed process leaves whole records.
#pragma once

#include <string>
#include <string_view>

namespace levin {

/** Appends `bytes` in one call of the system; throws Error with the system's reason. `logger` names the caller. */
void append_to_file(const std::string& path, std::string_view bytes, const char* logger);

}  // namespace levin
