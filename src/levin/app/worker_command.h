// `levin worker`: a process that works on a study with others, running any program as the objective.
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

namespace levin::app {

/** `levin worker` with its arguments; returns the exit code. */
int run_worker(const std::vector<std::string>& arguments, std::ostream& out);

}  // namespace levin::app
