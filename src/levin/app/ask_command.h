// `levin ask` and `levin tell`: a trial begun by one process and ended by another, for programs in any language.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace levin::app {

/** `levin ask` with its arguments; returns the exit code. */
int run_ask(const std::vector<std::string>& arguments, std::ostream& out);

/** `levin tell` with its arguments; returns the exit code. */
int run_tell(const std::vector<std::string>& arguments, std::ostream& out);

}  // namespace levin::app
