// A callback's state as it stands in a Lightning checkpoint.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/train/checkpoint_io/pickle_value.h>

namespace levin {

/** As a dict; the scores that Lightning's callbacks hold as tensors of one number become such (float64). */
LEVIN_API PickleValue callback_state_to_pickle(const Map& state);

/** The reverse: tensors of one number become numbers. Throws Error for what is no plain value otherwise. */
LEVIN_API Map callback_state_from_pickle(const PickleValue& value);

}  // namespace levin
