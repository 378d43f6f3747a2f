// The hooks of a run, by name, and which of them a class overrides: a hook that nobody overrides is never called.
#pragma once

#include <levin/core/export.h>

#include <array>
#include <concepts>
#include <cstdint>
#include <string_view>

// One list for everything that must know all hooks: callbacks, modules and the dispatch tables.
#define LEVIN_PLAIN_HOOKS(X)   \
  X(on_fit_start)              \
  X(on_fit_end)                \
  X(on_sanity_check_start)     \
  X(on_sanity_check_end)       \
  X(on_train_start)            \
  X(on_train_end)              \
  X(on_train_epoch_start)      \
  X(on_train_epoch_end)        \
  X(on_validation_start)       \
  X(on_validation_end)         \
  X(on_validation_epoch_start) \
  X(on_validation_epoch_end)   \
  X(on_test_start)             \
  X(on_test_end)               \
  X(on_test_epoch_start)       \
  X(on_test_epoch_end)         \
  X(on_predict_start)          \
  X(on_predict_end)            \
  X(on_predict_epoch_start)    \
  X(on_predict_epoch_end)      \
  X(on_after_backward)

#define LEVIN_BATCH_HOOKS(X)   \
  X(on_train_batch_start)      \
  X(on_train_batch_end)        \
  X(on_validation_batch_start) \
  X(on_validation_batch_end)   \
  X(on_test_batch_start)       \
  X(on_test_batch_end)         \
  X(on_predict_batch_start)    \
  X(on_predict_batch_end)

#define LEVIN_OTHER_HOOKS(X)  \
  X(setup)                    \
  X(teardown)                 \
  X(on_before_zero_grad)      \
  X(on_before_backward)       \
  X(on_before_optimizer_step) \
  X(on_exception)             \
  X(on_save_checkpoint)       \
  X(on_load_checkpoint)

// Hooks of a module or data module that replace what the Trainer does by itself, or provide what it needs.
#define LEVIN_OWNER_HOOKS(X)       \
  X(prepare_data)                  \
  X(train_dataloader)              \
  X(val_dataloader)                \
  X(test_dataloader)               \
  X(predict_dataloader)            \
  X(on_before_batch_transfer)      \
  X(transfer_batch_to_device)      \
  X(on_after_batch_transfer)       \
  X(configure_callbacks)           \
  X(configure_model)               \
  X(configure_optimizers)          \
  X(configure_gradient_clipping)   \
  X(backward)                      \
  X(optimizer_step)                \
  X(optimizer_zero_grad)           \
  X(lr_scheduler_step)             \
  X(on_validation_model_zero_grad) \
  X(on_validation_model_eval)      \
  X(on_validation_model_train)     \
  X(on_test_model_eval)            \
  X(on_test_model_train)           \
  X(on_predict_model_eval)         \
  X(on_predict_model_train)

namespace levin {

/** A hook, or the step function from which `log` is called. */
enum class Hook : std::uint8_t {
  none,
  training_step,
  validation_step,
  test_step,
  predict_step,
#define LEVIN_HOOK(name) name,
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK) LEVIN_BATCH_HOOKS(LEVIN_HOOK) LEVIN_OTHER_HOOKS(LEVIN_HOOK)
      LEVIN_OWNER_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
          count_
};

/** The hook's name as users write it, for messages. */
LEVIN_API const char* hook_name(Hook hook);
/** The hook of that name, or Hook::none. */
LEVIN_API Hook find_hook(std::string_view name);

/** A set of hooks. */
class HookSet {
 public:
  constexpr HookSet() = default;
  static constexpr HookSet all() {
    HookSet set;
    set.words_ = {~std::uint64_t{0}, ~std::uint64_t{0}};
    return set;
  }
  constexpr bool has(Hook hook) const { return words_[word(hook)] >> bit(hook) & 1; }
  constexpr void add(Hook hook) { words_[word(hook)] |= std::uint64_t{1} << bit(hook); }

 private:
  static constexpr std::size_t word(Hook hook) { return static_cast<std::size_t>(hook) / 64; }
  static constexpr unsigned bit(Hook hook) { return static_cast<unsigned>(hook) % 64; }

  std::array<std::uint64_t, 2> words_{};
};
static_assert(static_cast<unsigned>(Hook::count_) <= 128);

/**
 * The hooks of `Base` that `T` or a class between the two overrides, found at compile time from the type of the
 * member pointer. A hook that cannot be seen from here (declared private) counts as overridden.
 */
template <class T, class Base>
constexpr HookSet overridden_hooks() {
  if constexpr (std::same_as<T, Base>) {
    return HookSet::all();  // only the base is known: the object may be anything
  } else {
    HookSet set;
#define LEVIN_HOOK(name)                                                        \
  if constexpr (requires { &Base::name; }) {                                    \
    if constexpr (requires { &T::name; }) {                                     \
      if constexpr (!std::same_as<decltype(&T::name), decltype(&Base::name)>) { \
        set.add(Hook::name);                                                    \
      }                                                                         \
    } else {                                                                    \
      set.add(Hook::name);                                                      \
    }                                                                           \
  }
    LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
    LEVIN_BATCH_HOOKS(LEVIN_HOOK)
    LEVIN_OTHER_HOOKS(LEVIN_HOOK)
    LEVIN_OWNER_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
    return set;
  }
}

}  // namespace levin
