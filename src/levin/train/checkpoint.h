// Checkpoints: a model's weights and what belongs to them, in and out of PyTorch files.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <torch/nn/module.h>

#include <string>

namespace levin {

/** The module's parameters and buffers by name, as Python's Module.state_dict(). Tensors alias the module's. */
LEVIN_API PickleDict state_dict(const torch::nn::Module& module);

/**
 * Copies `weights` into the module's parameters and buffers. Throws Error listing missing, unexpected and mis-shaped
 * names, and then changes nothing; `where` names the source in messages.
 */
LEVIN_API void load_state_dict(torch::nn::Module& module, const PickleDict& weights, const std::string& where = {});

/**
 * A checkpoint's content: a dict with "state_dict" as Lightning and Levin write them. A bare state_dict file is
 * accepted and wrapped. Throws Error for other files.
 */
LEVIN_API PickleDict load_checkpoint(const std::string& path);

/** The hyperparameters saved with a checkpoint (`Module::save_hyperparameters`); empty when there are none. */
LEVIN_API Map checkpoint_hyperparameters(const PickleDict& checkpoint);

}  // namespace levin
