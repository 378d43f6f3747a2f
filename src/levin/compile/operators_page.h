// The page of operators that have kernels (docs/compiled-operators.md), written from the rules themselves.
#pragma once

#include <levin/core/export.h>

#include <string>

namespace levin::compile {

/** The page as Markdown: every rule of lowering by family, then the element-wise operators with their instructions. */
LEVIN_API std::string operators_page();

}  // namespace levin::compile
