// How steps are compiled.
#pragma once

#include <levin/core/export.h>

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
   * Dropout's masks (every `bernoulli_` of a float32 tensor) come from a counter-based generator, Philox 4x32-10, which
   * takes its key from torch's generator at each call: several times as fast as torch's own numbers, and others than
   * those of an eager step. The same seed gives the same run, on any number of threads and resumed from a checkpoint.
   * Needs `fuse`; on an accelerator, whose own generator is of this kind, it changes nothing.
   */
  bool fast_dropout = false;
  /**
   * Each new program is compared with the eager step before it is trusted: the largest difference allowed, relative to
   * the largest element of each gradient and result. Where it is exceeded the step stays eager, with a warning.
   */
  double tolerance = 1e-3;
  /**
   * Most threads that one step may use, with the same bits on any number of them. What a program gains by them is
   * measured when it is captured, instruction by instruction; small steps use one. Never more than LibTorch may use
   * where the step runs (at::get_num_threads), which is one for trials of run_together; 0: as many as that. Calls of ATen
   * in a program use LibTorch's own number whatever stands here.
   */
  std::int64_t threads = 0;
  /** A step of more shapes than this runs the further ones eagerly (each shape has a program of its own). */
  std::int64_t max_programs = 16;
};

/** Throws Error where options contradict each other or are out of range. */
LEVIN_API void check(const CompileOptions& options);

}  // namespace levin
