// The safetensors format: named tensors and nothing else.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <filesystem>

namespace levin {

/** What a safetensors file holds. */
struct SafetensorsFile {
  PickleDict tensors;  ///< by name, on the CPU, in the order of the file's header
  Map metadata;        ///< "__metadata__": names to strings
};

/**
 * Reads a safetensors file. Memory is bounded by the size of the file, the header by 100 MB (the format's own limit).
 * Throws Error for a header that is no proper JSON, an unknown dtype, and tensors that overlap, leave holes or reach
 * outside of the file.
 */
LEVIN_API SafetensorsFile load_safetensors(const std::filesystem::path& path);

/**
 * Writes tensors as a safetensors file, atomically. Tensors that share memory are written each by itself; those of
 * other devices as CPU tensors. Throws Error for values that are no dense tensors and for dtypes outside of the format.
 */
LEVIN_API void save_safetensors(const std::filesystem::path& path, const PickleDict& tensors, const Map& metadata = {});

}  // namespace levin
