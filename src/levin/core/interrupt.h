// Ctrl-C that ends work in order: the first asks, the second quits.
#pragma once

#include <levin/core/export.h>

namespace levin {

/**
 * While it lives, the first SIGINT or SIGTERM only sets a flag that loops look at (`interrupt_requested`), and the
 * second one ends the process as if there were no guard. Guards nest; the outermost installs the handlers.
 */
class LEVIN_API InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

/** True once SIGINT or SIGTERM came while a guard was alive. */
LEVIN_API bool interrupt_requested() noexcept;

/** Sets or clears the flag, for programs with their own way of asking. */
LEVIN_API void request_interrupt(bool requested = true) noexcept;

}  // namespace levin
