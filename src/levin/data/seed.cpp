#include <levin/data/seed.h>

#include <ATen/Context.h>

#include <mutex>

namespace levin {
namespace {

struct ProcessSeed {
  std::mutex mutex;
  std::optional<std::uint64_t> seed;
};

ProcessSeed& process_seed() {
  static ProcessSeed instance;
  return instance;
}

thread_local std::optional<std::uint64_t> thread_seed;

}  // namespace

void seed_everything(std::uint64_t seed) {
  at::manual_seed(seed);
  thread_seed = seed;
  auto& process = process_seed();
  const std::lock_guard lock(process.mutex);
  process.seed = seed;
}

std::uint64_t current_seed() {
  if (thread_seed) return *thread_seed;
  auto& process = process_seed();
  {
    const std::lock_guard lock(process.mutex);
    if (process.seed) return *process.seed;
  }
  auto generator = at::globalContext().defaultGenerator(at::kCPU);
  const std::lock_guard lock(generator.mutex());
  return generator.current_seed();
}

SeedScope::SeedScope(std::uint64_t seed) : outer_(thread_seed) { thread_seed = seed; }

SeedScope::~SeedScope() { thread_seed = outer_; }

}  // namespace levin
