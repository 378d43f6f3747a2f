#include <levin/core/interrupt.h>

#include <atomic>
#include <csignal>
#include <mutex>
#include <unistd.h>
#include <utility>
#include <vector>

namespace levin {
namespace {

std::atomic<bool> requested{false};
std::atomic<int> received{0};

std::mutex guard_mutex;
int guards = 0;
std::vector<std::pair<int, struct sigaction>> replaced;  // by the outermost guard

extern "C" void on_signal(int signal) {
  // Only async-signal-safe calls here.
  if (requested.exchange(true)) {
    ::signal(signal, SIG_DFL);
    ::raise(signal);
    return;
  }
  received.store(signal);
  constexpr char text[] = "\nlevin: finishing the running step; once more to quit at once\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text, sizeof text - 1);
}

}  // namespace

InterruptGuard::InterruptGuard() : InterruptGuard({SIGINT, SIGTERM}) {}

InterruptGuard::InterruptGuard(std::initializer_list<int> signals) {
  const std::lock_guard lock(guard_mutex);
  if (guards++ > 0) return;
  for (const int signal : signals) {
    struct sigaction old = {};
    ::sigaction(signal, nullptr, &old);
    if ((old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_DFL) continue;
    struct sigaction action = {};
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    // No SA_RESTART, and SA_NODEFER: the second signal must reach a default handler even while the first is handled.
    action.sa_flags = SA_NODEFER;
    ::sigaction(signal, &action, nullptr);
    replaced.emplace_back(signal, old);
  }
}

InterruptGuard::~InterruptGuard() { release(); }

bool InterruptGuard::release() {
  const std::lock_guard lock(guard_mutex);
  if (!std::exchange(active_, false) || --guards > 0) return false;
  for (const auto& [signal, old] : replaced) ::sigaction(signal, &old, nullptr);
  replaced.clear();
  return true;
}

void InterruptGuard::release_and_deliver() {
  if (!release()) return;
  const int signal = received.exchange(0);
  if (signal == 0) return;
  requested.store(false);
  ::raise(signal);
}

bool interrupt_requested() noexcept { return requested.load(std::memory_order_relaxed); }

int interrupt_signal() noexcept { return received.load(std::memory_order_relaxed); }

void request_interrupt(bool value) noexcept {
  requested.store(value);
  if (!value) received.store(0);
}

}  // namespace levin
