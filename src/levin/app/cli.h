// The command line: from arguments to a command that runs, or to help, settings or an error.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace levin::app {

/**
 * Runs `levin` with `arguments` (without the program's name) and returns its exit code: 0, 2 for a mistake of the
 * user (one paragraph "levin: error: ..." on `err`), 1 for any other failure.
 */
int run(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err);

}  // namespace levin::app
