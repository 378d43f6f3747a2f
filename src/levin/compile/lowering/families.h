// The rules of lowering, a file for each family of operators.
#pragma once

#include <levin/compile/lower.h>

#include <span>
#include <vector>

namespace levin::compile::lowering {

std::vector<std::span<const Rule>> families();

}  // namespace levin::compile::lowering
