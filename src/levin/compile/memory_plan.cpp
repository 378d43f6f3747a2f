#include <levin/compile/memory_plan.h>

#include <algorithm>
#include <numeric>
#include <utility>

namespace levin::compile {

MemoryPlan plan_memory(const std::vector<Lifetime>& lifetimes) {
  constexpr auto round_up = [](std::size_t bytes) {
    return (bytes + MemoryPlan::kAlignment - 1) / MemoryPlan::kAlignment * MemoryPlan::kAlignment;
  };
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });

  MemoryPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<std::size_t> placed;
  for (const std::size_t i : order) {
    const Lifetime& life = lifetimes[i];
    std::vector<std::pair<std::size_t, std::size_t>> taken;  // by those that live at the same time
    for (const std::size_t j : placed) {
      if (lifetimes[j].first > life.last || life.first > lifetimes[j].last) continue;
      taken.emplace_back(plan.offsets[j], plan.offsets[j] + round_up(lifetimes[j].bytes));
    }
    std::ranges::sort(taken);
    std::size_t offset = 0;
    for (const auto& [begin, end] : taken) {
      if (offset + round_up(life.bytes) <= begin) break;
      offset = std::max(offset, end);
    }
    plan.offsets[i] = offset;
    plan.total = std::max(plan.total, offset + round_up(life.bytes));
    placed.push_back(i);
  }
  return plan;
}

}  // namespace levin::compile
