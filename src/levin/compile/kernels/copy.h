// Moving data: strided copies and transpositions, fills, rows by number, casts.
#pragma once

#include <levin/core/export.h>

#include <array>
#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

inline constexpr int kMaxCopyDims = 6;

/** Copies a strided view to another: float32, up to 6 dimensions. Strides are in elements; 0 repeats one. */
struct StridedCopy {
  int dims = 0;
  std::array<std::int64_t, kMaxCopyDims> sizes = {}, from_strides = {}, to_strides = {};
  bool accumulate = false;  ///< adds to what is there

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (int i = 0; i < dims; i++) n *= sizes[static_cast<std::size_t>(i)];
    return n;
  }
};
/** A copy made ready: dimensions are sorted, merged, and the fastest loop chosen. Throws levin::Error for bad sizes. */
LEVIN_API StridedCopy simplify(const StridedCopy& copy);
/** The views must not overlap. Takes what simplify() gives (or anything, more slowly). */
using StridedCopyFn = void (*)(const StridedCopy&, const float* from, float* to);
LEVIN_API StridedCopyFn select_strided_copy(const StridedCopy& simplified);

/** to[i] = value for n elements. */
LEVIN_API void fill(float* to, float value, std::int64_t n);

/**
 * Rows by number: to[i, :] = from[index[i], :] for rows of `row_bytes` bytes. Negative numbers count from the end.
 * Returns the first i whose number is out of range (then nothing is written), or -1.
 */
LEVIN_API std::int64_t gather_rows(const void* from, std::int64_t from_rows, std::size_t row_bytes,
                                   const std::int64_t* index, std::int64_t n, void* to);

/** to = from * scale: scale 1/255 makes pixels of bytes. */
using CastBytesFn = void (*)(const std::uint8_t* from, float* to, float scale, std::int64_t n);
LEVIN_API CastBytesFn select_cast_bytes();
LEVIN_API void cast_int64(const std::int64_t* from, float* to, std::int64_t n);

}  // namespace levin::compile::kernels
