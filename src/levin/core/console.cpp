#include <levin/core/console.h>
#include <levin/core/error.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sys/ioctl.h>
#include <unistd.h>
#include <unordered_set>
#include <vector>

namespace levin::console {
namespace {

constexpr int kStream = STDERR_FILENO;
constexpr std::string_view kClearLine = "\r\033[K";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

struct State {
  std::mutex mutex;
  const LiveLine* owner = nullptr;
  std::string live;
  std::unordered_set<std::string> warned;
};

State& state() {
  static State* instance = new State;  // outlives every static object that may still say something
  return *instance;
}

// One write call, so that messages of several processes do not mix within a line.
void put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(kStream, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // nobody listens: there is no place to complain to
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::atomic<Level>& level_slot() {
  static std::atomic<Level> slot = [] {
    const std::string wanted = environment("LEVIN_LOG");
    const std::vector<std::string> names = {"debug", "info", "warning", "error", "off"};
    const auto found = std::find(names.begin(), names.end(), wanted);
    if (found != names.end()) return static_cast<Level>(found - names.begin());
    if (!wanted.empty()) {
      put("levin: warning: LEVIN_LOG has no level \"" + wanted + "\"; " + did_you_mean(wanted, names) + "\n");
    }
    return Level::info;
  }();
  return slot;
}

bool has_colours() {
  static const bool colours = is_terminal() && environment("NO_COLOR").empty();
  return colours;
}

void say(Level at, std::string_view mark, std::string_view colour, std::string_view text) {
  if (at < level()) return;
  std::string line;
  if (!mark.empty()) {
    const bool colours = has_colours();
    line += "levin: ";
    if (colours) line += colour;
    line += mark;
    if (colours) line += "\033[0m";
    line += ": ";
  }
  line += text;
  line += '\n';
  write(line);
}

}  // namespace

Level level() { return level_slot().load(std::memory_order_relaxed); }
void set_level(Level level) { level_slot().store(level, std::memory_order_relaxed); }

void debug(std::string_view text) { say(Level::debug, "debug", "\033[2m", text); }
void info(std::string_view text) { say(Level::info, "", "", text); }
void warning(std::string_view text) { say(Level::warning, "warning", "\033[33m", text); }
void error(std::string_view text) { say(Level::error, "error", "\033[31m", text); }

void warn_once(std::string_view text) {
  {
    const std::lock_guard lock(state().mutex);
    if (!state().warned.emplace(text).second) return;
  }
  warning(text);
}

bool is_terminal() {
  static const bool terminal = ::isatty(kStream) == 1 && environment("TERM") != "dumb";
  return terminal;
}

std::size_t width() {
  struct winsize size {};
  if (::ioctl(kStream, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  const std::string columns = environment("COLUMNS");
  std::size_t value = 0;
  const auto [end, failure] = std::from_chars(columns.data(), columns.data() + columns.size(), value);
  return failure == std::errc() && value > 0 ? value : 80;
}

bool has_utf8() {
  static const bool utf8 = [] {
    for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
      std::string value = environment(name);
      if (value.empty()) continue;
      std::transform(value.begin(), value.end(), value.begin(),
                     [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
      return value.find("UTF-8") != std::string::npos || value.find("UTF8") != std::string::npos;
    }
    return false;
  }();
  return utf8;
}

void write(std::string_view lines) {
  const std::lock_guard lock(state().mutex);
  if (state().owner == nullptr) {
    put(lines);
    return;
  }
  std::string text(kClearLine);
  text += lines;
  text += state().live;
  put(text);
}

LiveLine::~LiveLine() { release(true); }

bool LiveLine::draw(std::string text) {
  const std::lock_guard lock(state().mutex);
  if (state().owner != nullptr && state().owner != this) return false;
  state().owner = this;
  state().live = std::move(text);
  put(std::string(kClearLine) + state().live);
  return true;
}

void LiveLine::release(bool keep) {
  const std::lock_guard lock(state().mutex);
  if (state().owner != this) return;
  put(keep ? "\n" : kClearLine);
  state().owner = nullptr;
  state().live.clear();
}

}  // namespace levin::console
