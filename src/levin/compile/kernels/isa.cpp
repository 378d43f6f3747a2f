#include <levin/compile/kernels/isa.h>

#include <levin/core/error.h>

#include <hwy/highway.h>

#include <string>

namespace levin::compile::kernels {
namespace {

std::vector<std::int64_t> targets_here() {
  std::vector<std::int64_t> result;
  // The lower a target's bit, the better it is.
  const std::int64_t available = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t rest = available; rest != 0; rest &= rest - 1) result.push_back(rest & -rest);
  return result;
}

std::int64_t chosen = 0;

}  // namespace

std::vector<std::string_view> instruction_sets() {
  std::vector<std::string_view> names;
  for (const std::int64_t target : targets_here()) names.emplace_back(hwy::TargetName(target));
  return names;
}

std::string_view instruction_set() { return hwy::TargetName(chosen != 0 ? chosen : targets_here().front()); }

void use_instruction_set(std::string_view name) {
  std::string known;
  for (const std::int64_t target : targets_here()) {
    if (hwy::TargetName(target) == name) {
      chosen = target;
      hwy::GetChosenTarget().Update(target);
      return;
    }
    known += (known.empty() ? "" : ", ") + std::string(hwy::TargetName(target));
  }
  throw Error({.what = "unknown instruction set", .value = std::string(name), .hint = "here are " + known});
}

}  // namespace levin::compile::kernels
