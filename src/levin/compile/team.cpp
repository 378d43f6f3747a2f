#include <levin/compile/team.h>

#include <levin/compile/flush_denormals.h>

#include <algorithm>
#include <exception>
#include <vector>

// Of the OpenMP runtime that torch was built with, if it was. GOMP_parallel is what compilers make of a parallel region.
extern "C" {
__attribute__((weak)) int omp_get_max_threads(void);
__attribute__((weak)) int omp_get_num_threads(void);
__attribute__((weak)) int omp_get_thread_num(void);
__attribute__((weak)) int omp_in_parallel(void);
__attribute__((weak)) void GOMP_parallel(void (*function)(void*), void* data, unsigned threads, unsigned flags);
}

namespace levin::compile {
namespace {

struct Region {
  int parts;
  void (*work)(void*, int);
  void* context;
  std::vector<std::exception_ptr> errors;

  // Fewer threads than asked for may come.
  static void run(void* data) {
    auto& region = *static_cast<Region*>(data);
    for (int part = omp_get_thread_num(); part < region.parts; part += omp_get_num_threads()) {
      try {
        region.work(region.context, part);
      } catch (...) {
        region.errors[static_cast<std::size_t>(part)] = std::current_exception();
      }
    }
  }
};

}  // namespace

int threads_allowed(std::int64_t most) {
  if (most == 1 || !GOMP_parallel || !omp_get_max_threads || omp_in_parallel()) return 1;
  const int all = omp_get_max_threads();
  return most == 0 ? all : static_cast<int>(std::min<std::int64_t>(most, all));
}

void run_parts(int parts, void (*work)(void*, int), void* context) {
  const FlushDenormals keep(false);  // a thread that begins here has what we have, for good
  if (threads_allowed() < parts) {
    for (int part = 0; part < parts; ++part) work(context, part);
    return;
  }
  Region region{.parts = parts, .work = work, .context = context,
                .errors = std::vector<std::exception_ptr>(static_cast<std::size_t>(parts))};
  GOMP_parallel(&Region::run, &region, static_cast<unsigned>(parts), 0);
  for (const auto& error : region.errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace levin::compile
