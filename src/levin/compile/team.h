// The threads of one step: those of the OpenMP runtime that LibTorch computes with, so that its calls between a program's
// own instructions find no other threads in their way.
#pragma once

#include <levin/core/export.h>

#include <cstdint>

namespace levin::compile {

/** How many threads the caller may use: at::get_num_threads() without its set-up, at most `most` unless that is 0. */
LEVIN_API int threads_allowed(std::int64_t most = 0);

/**
 * Calls `work(context, part)` for each part of [0, parts), on as many threads where that is allowed, else one after the
 * other. Returns when all have ended; throws the first part's exception. Denormal numbers are kept in each part that does
 * not flush them itself.
 */
LEVIN_API void run_parts(int parts, void (*work)(void* context, int part), void* context);

/** As above for a callable of the part. */
template <class Work>
void run_parts(int parts, const Work& work) {
  run_parts(parts, [](void* context, int part) { (*static_cast<const Work*>(context))(part); }, const_cast<Work*>(&work));
}

}  // namespace levin::compile
