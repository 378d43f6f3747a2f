// How steps are compiled.
#pragma once

#include <cstdint>

namespace levin {

/** What a compiled step does; the defaults are right for nearly everybody. */
struct CompileOptions {
  /**
   * Native kernels and fusions. False keeps ATen's own kernels, called in the recorded order: the bits of the eager
   * step, at a part of its cost (of the eager step on a copy, where a tensor of the batch is expanded or sliced).
   */
  bool fuse = true;
  /**
   * Each new program is compared with the eager step before it is trusted: the largest difference allowed, relative to
   * the largest element of each gradient and result. Where it is exceeded the step stays eager, with a warning.
   */
  double tolerance = 1e-3;
  /** A step of more shapes than this runs the further ones eagerly (each shape has a program of its own). */
  std::int64_t max_programs = 16;
};

}  // namespace levin
