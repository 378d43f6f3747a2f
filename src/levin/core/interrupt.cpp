#include <levin/core/interrupt.h>

#include <atomic>
#include <csignal>
#include <unistd.h>

namespace levin {
namespace {

std::atomic<bool> requested{false};
std::atomic<int> guards{0};
struct sigaction old_int, old_term;

extern "C" void on_signal(int signal) {
  // Only async-signal-safe calls here.
  if (requested.exchange(true)) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    return;
  }
  constexpr char text[] = "\nlevin: finishing the running step; once more to quit at once\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof text - 1);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  if (guards++ > 0) return;
  struct sigaction action = {};
  action.sa_handler = on_signal;
  sigemptyset(&action.sa_mask);
  // No SA_RESTART and no SA_NODEFER: the second signal must reach a default handler even while the first is handled.
  action.sa_flags = SA_NODEFER;
  ::sigaction(SIGINT, &action, &old_int);
  ::sigaction(SIGTERM, &action, &old_term);
}

InterruptGuard::~InterruptGuard() {
  if (--guards > 0) return;
  ::sigaction(SIGINT, &old_int, nullptr);
  ::sigaction(SIGTERM, &old_term, nullptr);
}

bool interrupt_requested() noexcept { return requested.load(std::memory_order_relaxed); }

void request_interrupt(bool value) noexcept { requested.store(value); }

}  // namespace levin
