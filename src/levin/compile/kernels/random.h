// Random numbers by position: element i of a stream is a function of (seed, offset, i) alone, so neither the width of
// vectors nor the number of threads changes it. Philox 4x32-10.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/** A stream; steps of a training use one offset each. Read at each call. */
struct RandomStream {
  std::uint64_t seed = 0, offset = 0;
};

// Elements [begin, end) of `out` are written; `begin` is a multiple of kRandomGrain.

/** Where ranges may be cut. */
inline constexpr std::int64_t kRandomGrain = 64;

/** 0 with probability p, else 1 / (1 - p): a dropout mask. p = 1 gives zeros. */
using DropoutMaskFn = void (*)(const RandomStream&, float p, float* out, std::int64_t begin, std::int64_t end);
LEVIN_API DropoutMaskFn select_dropout_mask();
/** The mask, and y = x * mask with it. */
using DropoutFn = void (*)(const RandomStream&, float p, const float* x, float* y, float* mask, std::int64_t begin,
                           std::int64_t end);
LEVIN_API DropoutFn select_dropout();
/** In [low, high), of 24 bits. */
using UniformFn = void (*)(const RandomStream&, float low, float high, float* out, std::int64_t begin,
                           std::int64_t end);
LEVIN_API UniformFn select_uniform();
/** 1 with probability p, else 0. */
using BernoulliFn = void (*)(const RandomStream&, float p, float* out, std::int64_t begin, std::int64_t end);
LEVIN_API BernoulliFn select_bernoulli();

}  // namespace levin::compile::kernels
