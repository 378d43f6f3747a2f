// What LEVIN_COMPILE_DEBUG shows: "graph" writes each graph after every pass to standard error, "code" the program,
// "all" both.
#pragma once

#include <levin/compile/passes/passes.h>
#include <levin/compile/program.h>

namespace levin::compile::debug {

PassObserver observer();
void lowered(const Code& code);
/** The instructions, a line each. */
std::string to_string(const Code& code);

}  // namespace levin::compile::debug
