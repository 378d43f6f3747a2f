#include <levin/train/hooks.h>

namespace levin {

const char* hook_name(Hook hook) {
  switch (hook) {
    case Hook::none: return "none";
    case Hook::training_step: return "training_step";
    case Hook::validation_step: return "validation_step";
    case Hook::test_step: return "test_step";
    case Hook::predict_step: return "predict_step";
#define LEVIN_HOOK(name) \
  case Hook::name: return #name;
      LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
      LEVIN_BATCH_HOOKS(LEVIN_HOOK)
      LEVIN_OTHER_HOOKS(LEVIN_HOOK)
      LEVIN_OWNER_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
    case Hook::count_: break;
  }
  return "unknown";
}

Hook find_hook(std::string_view name) {
  for (std::uint8_t i = 0; i < static_cast<std::uint8_t>(Hook::count_); ++i) {
    if (name == hook_name(static_cast<Hook>(i))) return static_cast<Hook>(i);
  }
  return Hook::none;
}

}  // namespace levin
