// The help texts of the command line.
#pragma once

#include <levin/app/command.h>

#include <cstddef>
#include <string>

namespace levin::app {

/** `levin --help`: what there is. */
std::string overview();
/** `levin fit --help` and its kind: every setting by group, in lines of at most `width` columns. */
std::string help_of(Command command, std::size_t width = 80);

}  // namespace levin::app
