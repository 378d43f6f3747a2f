#include <levin/core/ordered_prefetch.h>

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>

namespace levin {
namespace {

using namespace std::chrono_literals;

// Jobs whose duration jumps about, so that they end out of order.
std::int64_t slow_square(std::int64_t ticket, std::int64_t) {
  std::this_thread::sleep_for(std::chrono::microseconds(ticket * 7919 % 300));
  return ticket * ticket;
}

TEST(OrderedPrefetch, GivesResultsInOrderForAnyNumberOfThreads) {
  for (const std::int64_t threads : {1, 2, 4}) {
    OrderedPrefetch<std::int64_t> prefetch(threads, 2 * threads, slow_square);
    for (const std::int64_t first : {0, 5, 1000}) {  // the threads stay from run to run
      prefetch.start(first, first + 100);
      for (std::int64_t i = first; i < first + 100; ++i) ASSERT_EQ(prefetch.take(), i * i);
      prefetch.stop();
    }
  }
}

TEST(OrderedPrefetch, RunsNoFurtherAheadThanItsDepth) {
  std::atomic<std::int64_t> furthest = -1, taken = 0, too_far = 0;
  OrderedPrefetch<int> prefetch(3, 4, [&](std::int64_t ticket, std::int64_t) {
    if (ticket > taken + 4) ++too_far;  // `taken` is raised a moment after the ticket was handed out
    furthest = std::max(furthest.load(), ticket);
    return 0;
  });
  prefetch.start(0, 1000);
  std::this_thread::sleep_for(20ms);
  EXPECT_EQ(furthest, 3);
  for (int i = 0; i < 1000; ++i) {
    prefetch.take();
    ++taken;
  }
  EXPECT_EQ(too_far, 0);
}

TEST(OrderedPrefetch, ExceptionsComeAtTheirTurn) {
  OrderedPrefetch<std::int64_t> prefetch(2, 4, [](std::int64_t ticket, std::int64_t) {
    if (ticket == 3) throw std::invalid_argument("three");
    return ticket;
  });
  prefetch.start(0, 6);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(prefetch.take(), i);
  EXPECT_THROW(prefetch.take(), std::invalid_argument);
  EXPECT_EQ(prefetch.take(), 4);
  OrderedPrefetch<int> unstarted(
      2, 4, [](std::int64_t, std::int64_t) { return 1; }, [](std::int64_t) { throw std::logic_error("no"); });
  unstarted.start(0, 1);
  EXPECT_THROW(unstarted.take(), std::logic_error);
}

TEST(OrderedPrefetch, StopsAndEndsInTheMiddle) {
  std::atomic<int> running = 0;
  for (int round = 0; round < 50; ++round) {
    OrderedPrefetch<std::string> prefetch(4, 8, [&](std::int64_t ticket, std::int64_t) {
      ++running;
      std::this_thread::sleep_for(std::chrono::microseconds(ticket % 5 * 20));
      --running;
      return std::to_string(ticket);
    });
    prefetch.start(0, 1 << 30);
    for (int i = 0; i < round % 7; ++i) EXPECT_EQ(prefetch.take(), std::to_string(i));
    prefetch.stop();
    EXPECT_EQ(running, 0);
    prefetch.start(100, 200);
    EXPECT_EQ(prefetch.take(), "100");
  }
  EXPECT_EQ(running, 0);
}

TEST(OrderedPrefetch, JobsRunAtTheSameTime) {
  std::atomic<int> there = 0;
  OrderedPrefetch<bool> prefetch(3, 3, [&](std::int64_t, std::int64_t) {
    ++there;
    for (int i = 0; i < 5000 && there < 3; ++i) std::this_thread::sleep_for(1ms);
    return there == 3;
  });
  prefetch.start(0, 3);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(prefetch.take());
}

TEST(OrderedPrefetch, TimesOut) {
  std::atomic<bool> release = false;
  OrderedPrefetch<int> stuck(1, 1, [&](std::int64_t, std::int64_t) {
    while (!release) std::this_thread::sleep_for(1ms);
    return 5;
  });
  stuck.start(0, 1);
  EXPECT_THROW(stuck.take(5ms), Error);
  release = true;
  EXPECT_EQ(stuck.take(), 5);
}

}  // namespace
}  // namespace levin
