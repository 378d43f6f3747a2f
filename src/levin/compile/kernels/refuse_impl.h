// The errors of settings that make no sense, found where a kernel is selected. Internal to the kernels.
#pragma once

#include <levin/core/error.h>

#include <cstdint>
#include <string>
#include <utility>

namespace levin::compile::kernels {

[[noreturn]] inline void refuse(std::string what, std::string value, std::string where) {
  throw Error({.what = std::move(what), .value = std::move(value), .where = std::move(where), .hint = {}});
}

/** Refuses a size below `least`. */
inline void require_size(std::int64_t value, std::int64_t least, const char* name, const char* where) {
  if (value < least)
    refuse(std::string(name) + " has to be at least " + std::to_string(least), std::to_string(value), where);
}

}  // namespace levin::compile::kernels
