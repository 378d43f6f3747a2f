// Opens the training part, which brings LibTorch with it, and hands it a request.
#pragma once

#include <levin/app/engine.h>

#include <filesystem>

namespace levin::app {

/** The running binary. */
std::filesystem::path this_executable();

/**
 * Runs `request` in the training part: the library named by the environment variable LEVIN_ENGINE, else
 * liblevin_engine.so in the library folder beside the binary's. Throws Error when it is missing or of another build.
 */
int run_engine(const Request& request);

}  // namespace levin::app
