// An optimizer's state as it stands in a PyTorch file.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer_state.h>
#include <levin/train/checkpoint_io/pickle_value.h>

namespace levin {

/** {"state": {0: {"step": ...}}, "param_groups": [{..., "params": [0, ...]}]}, what Optimizer.load_state_dict takes. */
LEVIN_API PickleValue optimizer_state_to_pickle(const optim::OptimizerState& state);

/** The reverse; throws Error where the layout is another. A `step` may be a number or a tensor. */
LEVIN_API optim::OptimizerState optimizer_state_from_pickle(const PickleValue& value);

}  // namespace levin
