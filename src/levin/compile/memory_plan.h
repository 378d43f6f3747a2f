// Where each temporary lies in the arena: memory is used again as soon as its last reader has run.
#pragma once

#include <cstddef>
#include <vector>

namespace levin::compile {

/** A piece of memory that is needed from one step to another, both included. */
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0, last = 0;
};

struct MemoryPlan {
  static constexpr std::size_t kAlignment = 64;  ///< bytes

  std::vector<std::size_t> offsets;  ///< of each lifetime, a multiple of kAlignment
  std::size_t total = 0;             ///< bytes of the arena
};

/** First fit, the largest first. */
MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes);

}  // namespace levin::compile
