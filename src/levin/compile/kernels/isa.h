// Which instruction set the kernels use. Every kernel is compiled for several; select_* functions give the best.
#pragma once

#include <levin/core/export.h>

#include <string_view>
#include <vector>

namespace levin::compile::kernels {

/**
 * Those that this processor has and the kernels were compiled for, best first: "AVX3" (AVX-512), "AVX2", "SSE4",
 * "NEON".
 */
LEVIN_API std::vector<std::string_view> instruction_sets();

/** The one that select_* functions choose kernels for: the first of instruction_sets() unless set otherwise. */
LEVIN_API std::string_view instruction_set();

/**
 * Makes later select_* calls choose kernels for this set. For tests and benchmarks. Throws levin::Error if it is not
 * here.
 */
LEVIN_API void use_instruction_set(std::string_view name);

}  // namespace levin::compile::kernels
