// FlushDenormals: numbers too small for a normalised float count as 0 while it lives.
#pragma once

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace levin::compile {

/**
 * Adam's moments become denormal when a network converges, and x86 takes a hundred cycles for each such number. On other
 * processors, which take none, this does nothing.
 */
class FlushDenormals {
 public:
#if defined(__SSE2__)
  /** With `flush` false they are kept, whatever was before. */
  explicit FlushDenormals(bool flush = true) : before_(_mm_getcsr()) {
    constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x0040, kBoth = kFlushToZero | kDenormalsAreZero;
    _mm_setcsr(flush ? before_ | kBoth : before_ & ~kBoth);
  }
  ~FlushDenormals() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#else
  explicit FlushDenormals(bool = true) {}
#endif

 public:
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;
};

}  // namespace levin::compile
