// A model's layers and parameters as a table.
#pragma once

#include <levin/core/export.h>

#include <torch/nn/module.h>

#include <cstdint>
#include <string>

namespace levin {

/**
 * The submodules of a module down to `max_depth` (1: its direct children; -1: all) with their type, number of
 * parameters and mode (train or eval), and the totals.
 */
LEVIN_API std::string summarize(const torch::nn::Module& module, std::int64_t max_depth = 1);

}  // namespace levin
