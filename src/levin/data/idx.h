// IDX: the format of the MNIST files.
#pragma once

#include <levin/core/export.h>

#include <ATen/core/Tensor.h>

#include <filesystem>

namespace levin {

/**
 * The array of an IDX file in its own shape and type (uint8, int8, int16, int32, float32 or float64), gzipped or not.
 * Throws Error for a damaged file; memory is bounded by what a file of its size can hold.
 */
LEVIN_API at::Tensor read_idx(const std::filesystem::path& path);

}  // namespace levin
