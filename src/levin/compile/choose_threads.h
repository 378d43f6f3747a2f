// Which instructions of a program several threads are worth for.
#pragma once

#include <levin/compile/program.h>

#include <functional>
#include <vector>

namespace levin::compile {

/**
 * Marks the steps of `code` that are faster on `threads` threads than on one: measured, on programs that `fresh` makes of
 * the code as it is and `run` runs and times once. Leaves alone a program that is over too soon to be worth a try.
 */
void choose_threads(Code& code, int threads, const std::function<void()>& fresh,
                    const std::function<void(std::vector<double>& least)>& run);

}  // namespace levin::compile
