// Signals that end work in order: the first asks, the second quits.
#pragma once

#include <levin/core/export.h>

#include <initializer_list>

namespace levin {

/**
 * While it lives, the first of `signals` only sets a flag that loops look at (`interrupt_requested`), and the second
 * one ends the process as if there were no guard. Guards nest; the outermost installs the handlers. A signal that is
 * ignored or has a handler of the program's own is left alone.
 */
class LEVIN_API InterruptGuard {
 public:
  InterruptGuard();  ///< SIGINT and SIGTERM
  explicit InterruptGuard(std::initializer_list<int> signals);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /**
   * Ends the guard's life, and if it was the outermost and a signal had come, lets that signal take its usual effect:
   * by default the process ends with the status that whoever sent it expects.
   */
  void release_and_deliver();

 private:
  bool release();  // true when it was the outermost

  bool active_ = true;
};

/** True once a signal came while a guard was alive. */
LEVIN_API bool interrupt_requested() noexcept;
/** The signal that came, 0 for none (also when the program itself asked by `request_interrupt`). */
LEVIN_API int interrupt_signal() noexcept;

/** Sets or clears the flag, for programs with their own way of asking. */
LEVIN_API void request_interrupt(bool requested = true) noexcept;

}  // namespace levin
