// NumPy's files: .npy (one array) and .npz (a zip of named ones).
#pragma once

#include <levin/core/export.h>
#include <levin/data/batch.h>

#include <ATen/core/Tensor.h>

#include <filesystem>

namespace levin {

struct ReadNpyOptions {
  /**
   * Maps the file instead of reading it: pages come when they are used, and writes to the tensor stay in memory. Not
   * for .npz, nor for arrays of the other byte order.
   */
  bool mmap = false;
};

/**
 * The array of a .npy file (format 1 to 3), in its own shape and type, C or Fortran order, either byte order. Throws
 * Error for types that no tensor has (objects, texts, dates), and for a damaged file. Memory is bounded by the size of
 * the file.
 */
LEVIN_API at::Tensor read_npy(const std::filesystem::path& path, const ReadNpyOptions& options = {});
/** Writes what numpy.load reads, atomically; any strided CPU or device tensor that NumPy has a type for. */
LEVIN_API void write_npy(const std::filesystem::path& path, const at::Tensor& tensor);

/** The arrays of a .npz file by name, in the order of the file; compressed or not. */
LEVIN_API Batch read_npz(const std::filesystem::path& path);

struct WriteNpzOptions {
  bool compress = false;  ///< deflate, as numpy.savez_compressed
};

/** Writes what numpy.load reads, atomically; tensors without a name are called arr_0, arr_1, ... as numpy.savez does.
 */
LEVIN_API void write_npz(const std::filesystem::path& path, const Batch& arrays, const WriteNpzOptions& options = {});

}  // namespace levin
