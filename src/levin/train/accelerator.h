// Accelerator: the device that a Trainer or a Fabric computes on, from the user's words.
#pragma once

#include <levin/core/export.h>

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

namespace levin {

/**
 * The device of `accelerator`: "cpu", "cuda" or "gpu" (the GPU of number `device`), "mps", or "auto", a GPU where there
 * is one. Throws Error for an unknown name and for a device that is not there; `where` names the option's place.
 */
LEVIN_API c10::Device choose_device(const std::string& accelerator, std::int64_t device, const std::string& where);

}  // namespace levin
