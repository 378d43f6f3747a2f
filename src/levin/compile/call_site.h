// Call sites: which line of the user's code a call came from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace levin::compile {

/** A function under way: where it goes on, and where its frame lies on the stack. */
struct StackFrame {
  std::uintptr_t address = 0, frame = 0;
};

/** The functions under way in this thread, the innermost first. */
std::vector<StackFrame> stack_frames();

/**
 * The innermost place in code that is neither LibTorch's nor Levin's nor the language's, among the frames within
 * `outermost` (an address of __builtin_frame_address): "net.cpp:42" where the program has debug information, else the
 * function, "Net::training_step"; "" when neither is known. Asks addr2line (binutils).
 */
std::string user_code(const std::vector<StackFrame>& frames, std::uintptr_t outermost);

}  // namespace levin::compile
