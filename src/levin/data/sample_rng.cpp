#include <levin/data/sample_rng.h>

#include <levin/data/seed.h>

#include <ATen/CPUGeneratorImpl.h>

namespace levin {
namespace {

thread_local const WorkerInfo* current = nullptr;

}  // namespace

const WorkerInfo* worker_info() noexcept { return current; }

Rng sample_rng(std::int64_t index, std::string_view purpose) {
  const auto seed = current ? current->seed : current_seed();
  const auto epoch = current ? current->epoch : 0;
  return Rng(mix_seed(seed, static_cast<std::uint64_t>(epoch)), purpose, static_cast<std::uint64_t>(index));
}

at::Generator sample_generator(std::int64_t index, std::string_view purpose) {
  return at::detail::createCPUGenerator(sample_rng(index, purpose)());
}

WorkerScope::WorkerScope(const WorkerInfo& info) : info_(info), outer_(current) { current = &info_; }

WorkerScope::~WorkerScope() { current = outer_; }

}  // namespace levin
