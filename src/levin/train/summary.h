// A model's layers and parameters as a table.
#pragma once

#include <levin/core/export.h>

#include <torch/nn/module.h>

#include <string>

namespace levin {

/** The direct children of a module with their type and number of parameters, and the totals. */
LEVIN_API std::string summarize(const torch::nn::Module& module);

}  // namespace levin
