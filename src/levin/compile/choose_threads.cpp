#include <levin/compile/choose_threads.h>

#include <levin/compile/debug.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace levin::compile {

void choose_threads(Code& code, int threads, const std::function<void()>& fresh,
                    const std::function<void(std::vector<double>&)>& run) {
  constexpr double kShortest = 5e3;      // nanoseconds: less than threads need to come together
  constexpr double kWorthIt = 0.85;      // of the time on one thread
  constexpr double kEnough = 2e7;        // a longer program is measured once
  const auto may_split = [](const Code::Step& step) { return step.pieces > 1 && !step.boxed; };
  code.threads = threads;
  if (debug::splits_steps()) {
    for (Code::Step& step : code.steps) step.split = may_split(step);
    return fresh();
  }
  std::vector<double> alone, shared;
  run(alone);
  if (std::ranges::none_of(alone, [](double took) { return took > kShortest; })) return;
  const int runs = std::accumulate(alone.begin(), alone.end(), 0.0) > kEnough ? 1 : 3;
  for (int i = 1; i < runs; ++i) run(alone);
  for (std::size_t i = 0; i < code.steps.size(); ++i) {
    code.steps[i].split = alone[i] > kShortest && may_split(code.steps[i]);
  }
  if (!code.splits()) return;
  fresh();
  for (int i = 0; i < runs + 1; ++i) run(shared);  // the first meets new memory
  for (std::size_t i = 0; i < code.steps.size(); ++i) {
    Code::Step& step = code.steps[i];
    step.split = step.split && shared[i] < kWorthIt * alone[i];
  }
  fresh();
}

}  // namespace levin::compile
