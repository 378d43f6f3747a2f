// Whether a step is the same each time it is recorded: what LEVIN_COMPILE_DEBUG=check looks for. Code of the step that
// runs on the host (a weight that is annealed, a counter, a branch) leaves its traces on the tape as constants,
// operators and shapes; a program would repeat those of its capture for ever.
#pragma once

#include <levin/compile/tape.h>

#include <optional>
#include <string>
#include <vector>

namespace levin::compile {

/** What a tape says beside the numbers that it computes on: operators, shapes, constants, who reads what. */
class TapeText {
 public:
  explicit TapeText(const Tape& tape);
  /** The first call in which the two differ, for people; nothing when they are equal. */
  std::optional<std::string> difference(const TapeText& later) const;

 private:
  struct Call {
    std::string op;
    std::vector<std::string> arguments;
  };
  std::vector<Call> calls_;
};

}  // namespace levin::compile
