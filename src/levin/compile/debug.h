// What LEVIN_COMPILE_DEBUG asks for, words with commas between: "graph" writes each graph after every pass to standard
// error, "code" the program, "all" both; "check" records steps again to find code that is not the same each time; "split"
// shares everything between threads that can be shared, worth it or not.
#pragma once

#include <levin/compile/passes/passes.h>
#include <levin/compile/program.h>

namespace levin::compile::debug {

PassObserver observer();
/** Whether graphs or programs are to be written. */
bool dumps();
/** Whether programs are to share all that threads can share, worth it or not. */
bool splits_steps();
/** Whether steps are to be recorded twice at their capture, and again at later calls, and compared (tape_check.h). */
bool checks_steps();
void lowered(const Code& code);
/** The instructions, a line each. */
std::string to_string(const Code& code);

}  // namespace levin::compile::debug
