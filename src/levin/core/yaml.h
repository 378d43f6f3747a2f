// Values as YAML text.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <string>

namespace levin {

/** A map as YAML, nested maps indented below their key after the plain values; reads back to the same values. */
LEVIN_API std::string to_yaml(const Map& map);

}  // namespace levin
