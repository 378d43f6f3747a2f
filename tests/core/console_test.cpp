// The console and the progress bar as a terminal, a pipe and a log file see them: each case runs in a child process
// whose standard error is a pseudo-terminal or a pipe that the test reads.
#include <levin/core/console.h>
#include <levin/core/progress_bar.h>
#include <levin/core/text.h>

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <pty.h>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace levin {
namespace {

struct Setting {
  int columns = 0;  // of the terminal; 0: a pipe
  std::map<std::string, std::string> environment = {};
};

std::string run(const Setting& setting, const std::function<void()>& body) {
  int reader = -1, writer = -1;
  if (setting.columns > 0) {
    winsize size{};
    size.ws_col = static_cast<unsigned short>(setting.columns);
    size.ws_row = 24;
    if (::openpty(&reader, &writer, nullptr, nullptr, &size) != 0) return "no pseudo-terminal";
  } else {
    int ends[2];
    if (::pipe(ends) != 0) return "no pipe";
    reader = ends[0], writer = ends[1];
  }
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(writer, STDERR_FILENO);
    ::close(reader);
    ::close(writer);
    for (const char* name : {"NO_COLOR", "LEVIN_LOG", "LC_ALL", "LC_CTYPE", "LANG", "COLUMNS"}) ::unsetenv(name);
    ::setenv("TERM", "xterm", 1);
    for (const auto& [name, value] : setting.environment) ::setenv(name.c_str(), value.c_str(), 1);
    body();
    ::_exit(0);
  }
  ::close(writer);
  std::string out;
  char buffer[4096];
  for (ssize_t got = 0; (got = ::read(reader, buffer, sizeof buffer)) > 0;) {
    out.append(buffer, static_cast<std::size_t>(got));
  }
  ::close(reader);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << out;
  return out;
}

// What stands on the screen after the output, line by line. A line that is wider than the terminal shows up as two.
std::vector<std::string> screen(const std::string& output, std::size_t columns) {
  std::vector<std::string> lines = {""};
  for (std::size_t i = 0; i < output.size();) {
    if (output.compare(i, 3, "\033[K") == 0) {
      i += 3;
    } else if (output.compare(i, 4, "\r\033[K") == 0) {
      lines.back().clear();
      i += 4;
    } else if (output[i] == '\n') {
      lines.emplace_back();
      ++i;
    } else if (output[i] == '\r') {
      ++i;
    } else {
      std::string character(1, output[i++]);
      while (i < output.size() && (output[i] & 0xC0) == 0x80) character += output[i++];
      if (display_width(lines.back() + character) > columns) lines.emplace_back();
      lines.back() += character;
    }
  }
  return lines;
}

std::size_t count(const std::string& text, const std::string& piece) {
  std::size_t found = 0;
  for (auto at = text.find(piece); at != std::string::npos; at = text.find(piece, at + 1)) ++found;
  return found;
}

void say_everything() {
  console::debug("d");
  console::info("i");
  console::warning("w");
  console::error("e");
}

TEST(Console, LevelsComeFromTheEnvironment) {
  EXPECT_EQ(run({}, say_everything), "i\nlevin: warning: w\nlevin: error: e\n");
  EXPECT_EQ(run({.environment = {{"LEVIN_LOG", "debug"}}}, say_everything),
            "levin: debug: d\ni\nlevin: warning: w\nlevin: error: e\n");
  EXPECT_EQ(run({.environment = {{"LEVIN_LOG", "error"}}}, say_everything), "levin: error: e\n");
  EXPECT_EQ(run({.environment = {{"LEVIN_LOG", "off"}}}, say_everything), "");
  const auto wrong = run({.environment = {{"LEVIN_LOG", "debgu"}}}, say_everything);
  EXPECT_EQ(count(wrong, "LEVIN_LOG has no level \"debgu\"; did you mean \"debug\"?"), 1U) << wrong;
}

TEST(Console, ColoursOnlyOnATerminalThatWantsThem) {
  const auto warn = [] { console::warning("w"); };
  EXPECT_EQ(run({.columns = 80}, warn), "levin: \033[33mwarning\033[0m: w\r\n");
  EXPECT_EQ(run({.columns = 80, .environment = {{"NO_COLOR", "1"}}}, warn), "levin: warning: w\r\n");
  EXPECT_EQ(run({.columns = 80, .environment = {{"TERM", "dumb"}}}, warn), "levin: warning: w\r\n");
}

TEST(Console, WarnOnceWarnsOnceFromManyThreads) {
  const auto out = run({}, [] {
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([] {
        for (int i = 0; i < 100; ++i) console::warn_once("text " + std::to_string(i % 3));
      });
    }
    for (auto& thread : threads) thread.join();
  });
  EXPECT_EQ(count(out, "\n"), 3U);
  EXPECT_EQ(count(out, "levin: warning: text 2\n"), 1U);
}

TEST(Console, MessagesOfThreadsDoNotMix) {
  const auto out = run({}, [] {
    std::vector<std::thread> threads;
    for (char c : {'a', 'b', 'c', 'd'}) {
      threads.emplace_back([c] {
        for (int i = 0; i < 50; ++i) console::info(std::string(200, c));
      });
    }
    for (auto& thread : threads) thread.join();
  });
  std::size_t lines = 0;
  for (std::size_t at = 0; at < out.size(); at += 201, ++lines) {
    ASSERT_EQ(out.substr(at, 200), std::string(200, out[at]));
    ASSERT_EQ(out[at + 200], '\n');
  }
  EXPECT_EQ(lines, 200U);
}

TEST(ProgressBar, RedrawsOneLineInATerminal) {
  const auto out = run({.columns = 80}, [] {
    ProgressBar bar({.description = "Epoch 1/2", .total = 200});
    for (int i = 0; i < 200; ++i) {
      bar.metric("loss", 1.0 / (1 + i));
      bar.advance();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  // 200 steps took about half a second: some redraws, not 200.
  EXPECT_GE(count(out, "\r\033[K"), 3U);
  EXPECT_LE(count(out, "\r\033[K"), 40U);
  EXPECT_EQ(count(out, "\n"), 1U);
  const auto lines = screen(out, 80);
  ASSERT_EQ(lines.size(), 2U) << out;
  EXPECT_NE(lines[0].find("Epoch 1/2 |###"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find("| 100% 200/200 [00:0"), std::string::npos) << lines[0];
  EXPECT_NE(lines[0].find(" loss=0.005"), std::string::npos) << lines[0];
}

TEST(ProgressBar, NeverWraps) {
  for (int columns : {20, 30, 40, 60, 80, 120}) {
    for (const char* locale : {"C", "en_US.UTF-8"}) {
      const auto out = run({.columns = columns, .environment = {{"LC_ALL", locale}}}, [] {
        ProgressBar bar({.description = "\xc3\x89poque 12/2000", .total = 123456});
        for (int i = 0; i < 12; ++i) bar.metric("a_long_metric_name_" + std::to_string(i), 0.123456);
        bar.set_position(61728);
        bar.refresh();
        bar.set_position(123456);
      });
      const auto lines = screen(out, static_cast<std::size_t>(columns));
      ASSERT_EQ(lines.size(), 2U) << out;
      EXPECT_LT(display_width(lines[0]), static_cast<std::size_t>(columns)) << lines[0];
      EXPECT_NE(lines[0].find(columns < 30 ? "poque 12/2" : "123456"), std::string::npos) << lines[0];
      EXPECT_EQ(lines[0].find("\xe2\x96\x88") != std::string::npos, columns >= 60 && std::string(locale) != "C");
    }
  }
}

TEST(ProgressBar, MessagesStandAboveTheBar) {
  const auto out = run({.columns = 80, .environment = {{"NO_COLOR", "1"}}}, [] {
    ProgressBar bar({.description = "work", .total = 10});
    for (int i = 0; i < 10; ++i) {
      bar.advance();
      bar.refresh();
      if (i % 4 == 0) console::warning("message " + std::to_string(i));
    }
  });
  const auto lines = screen(out, 80);
  ASSERT_EQ(lines.size(), 5U) << out;
  EXPECT_EQ(lines[0], "levin: warning: message 0");
  EXPECT_EQ(lines[2], "levin: warning: message 8");
  EXPECT_NE(lines[3].find("10/10"), std::string::npos);
}

TEST(ProgressBar, AnInnerBarLeavesTheOuterOneAlone) {
  const auto out = run({.columns = 80}, [] {
    ProgressBar outer({.description = "trials", .total = 2});
    outer.refresh();
    {
      ProgressBar inner({.description = "epochs", .total = 5});
      for (int i = 0; i < 5; ++i) inner.advance();
    }
    outer.advance(2);
  });
  EXPECT_EQ(count(out, "epochs"), 0U) << out;
  EXPECT_EQ(screen(out, 80).size(), 2U);
}

TEST(ProgressBar, AFinishedBarCanGoAway) {
  const auto out = run({.columns = 80}, [] {
    ProgressBar bar({.description = "work", .total = 3, .leave = false});
    bar.advance(3);
  });
  EXPECT_EQ(screen(out, 80), (std::vector<std::string>{""}));
}

TEST(ProgressBar, WritesOneFinalLineToAPipe) {
  const auto out = run({}, [] {
    ProgressBar bar({.description = "Epoch 1/2", .total = 5000, .unit = "batch"});
    for (int i = 0; i < 5000; ++i) bar.advance();
    bar.metric("val_acc", 0.96875);
  });
  EXPECT_EQ(count(out, "\n"), 1U) << out;
  EXPECT_EQ(count(out, "\r") + count(out, "\033"), 0U) << out;
  EXPECT_EQ(out.find("Epoch 1/2: 5000/5000 100% [00:00, "), 0U) << out;
  EXPECT_NE(out.find(" batch/s] val_acc=0.9688\n"), std::string::npos) << out;
}

TEST(ProgressBar, UnknownTotalShowsTheCount) {
  const auto out = run({}, [] {
    ProgressBar bar({.unit = "trial"});
    bar.advance(7);
  });
  EXPECT_EQ(out.find("7 trial [00:00, "), 0U) << out;
  EXPECT_EQ(count(out, "%"), 0U);
}

TEST(ProgressBar, IsSilentWhenAskedTo) {
  const auto body = [](bool enabled) {
    return [enabled] {
      ProgressBar bar({.total = 3, .enabled = enabled});
      bar.advance(3);
      bar.refresh();
    };
  };
  EXPECT_EQ(run({.columns = 80}, body(false)), "");
  EXPECT_EQ(run({.columns = 80, .environment = {{"LEVIN_LOG", "warning"}}}, body(true)), "");
}

TEST(ProgressBar, CountsStepsOfManyThreads) {
  ProgressBar bar({.initial = 10, .enabled = false});
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10000; ++i) bar.advance();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(bar.position(), 40010);
}

TEST(ProgressBar, Durations) {
  EXPECT_EQ(format_duration(0), "00:00");
  EXPECT_EQ(format_duration(187.9), "03:07");
  EXPECT_EQ(format_duration(3729), "1:02:09");
  EXPECT_EQ(format_duration(INFINITY), "?");
}

}  // namespace
}  // namespace levin
