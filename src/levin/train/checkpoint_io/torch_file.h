// PyTorch's file format (zip container, pickle protocol 2), restricted to what torch.load(weights_only=True) accepts.
#pragma once

#include <levin/core/export.h>
#include <levin/train/checkpoint_io/pickle_value.h>

#include <filesystem>

namespace levin {

/**
 * Reads a file written by torch.save or save_torch_file.
 *
 * Nothing in the file is ever executed. Tensors land on the CPU; those that shared memory when saved share it again; a
 * Parameter becomes a tensor that requires a gradient; attributes of an OrderedDict (`_metadata`) are dropped. Memory
 * and nesting are bounded by the size of the file. Throws Error when the file is missing, damaged, of another format,
 * or needs code to be executed.
 */
LEVIN_API PickleValue load_torch_file(const std::filesystem::path& path);

/**
 * Writes `value` so that torch.load(path, weights_only=True) reads it, atomically: the file is whole or as it was.
 *
 * A tensor brings only the memory it spans, not the buffer it is a view of; tensors that overlap stay shared. Tensors
 * of other devices are stored as CPU tensors. Throws Error for sparse and quantized tensors and for strings that are
 * not UTF-8.
 */
LEVIN_API void save_torch_file(const std::filesystem::path& path, const PickleValue& value);

}  // namespace levin
