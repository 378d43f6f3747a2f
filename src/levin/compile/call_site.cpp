#include <levin/compile/call_site.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <dlfcn.h>
#include <fcntl.h>
#include <filesystem>
#include <link.h>
#include <spawn.h>
#include <sstream>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

namespace levin::compile {
namespace {

// Of one address: the functions inlined there, the innermost first.
struct Place {
  std::string function, line;
};

// A program or library, and an address as its file counts.
struct Location {
  std::string file;
  std::uintptr_t address = 0;
};

bool is_library(const std::string& file) {
  static constexpr std::array<std::string_view, 7> kNames = {"libtorch", "libc10", "liblevin", "libstdc++",
                                                             "libc.so", "libgcc", "libc++"};
  const std::string name = std::filesystem::path(file).filename().string();
  return std::ranges::any_of(kNames, [&](std::string_view known) { return name.starts_with(known); });
}

Location locate(std::uintptr_t address) {
  Dl_info info{};
  link_map* map = nullptr;
  if (::dladdr1(reinterpret_cast<void*>(address), &info, reinterpret_cast<void**>(&map), RTLD_DL_LINKMAP) == 0) return {};
  // The program itself goes without a name.
  const bool program = map->l_name == nullptr || *map->l_name == '\0';
  return {.file = program ? std::filesystem::read_symlink("/proc/self/exe").string() : map->l_name,
          .address = address - map->l_addr};
}

// What a program writes to its standard output; "" when it cannot be started.
std::string output_of(std::vector<std::string> command) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  std::string output;
  if (error == 0) {
    char buffer[4096];
    for (ssize_t n = 0; (n = ::read(ends[0], buffer, sizeof buffer)) > 0;) output.append(buffer, static_cast<std::size_t>(n));
    ::waitpid(child, nullptr, 0);
  }
  ::close(ends[0]);
  return output;
}

// Two lines a place: the function, and file:line.
std::vector<Place> places(const Location& location) {
  char address[32];
  std::snprintf(address, sizeof address, "0x%zx", static_cast<std::size_t>(location.address));
  std::istringstream lines(output_of({"addr2line", "-C", "-f", "-i", "-e", location.file, address}));
  std::vector<Place> found;
  Place place;
  while (std::getline(lines, place.function) && std::getline(lines, place.line)) {
    place.line = place.line.substr(0, place.line.find(" ("));  // (discriminator 2)
    if (place.line.starts_with('?') || place.line.ends_with('?')) place.line.clear();
    if (place.function.starts_with('?')) place.function.clear();
    found.push_back(place);
  }
  return found;
}

bool is_library_header(const std::string& line) {
  static constexpr std::array<std::string_view, 6> kParts = {"/torch/", "/ATen/", "/c10/", "/c++/", "/include/levin/",
                                                             "/src/levin/"};
  return std::ranges::any_of(kParts, [&](std::string_view part) { return line.find(part) != std::string::npos; });
}

// "Net::step(levin::Batch const&)" is Net::step; a lambda is named by where it was written.
std::string short_name(const std::string& function) {
  if (const auto lambda = function.find("::{lambda("); lambda != std::string::npos) {
    return "a lambda in " + short_name(function.substr(0, lambda));
  }
  std::size_t end = function.size();
  for (std::size_t i = 0, depth = 0; i < function.size(); ++i) {
    if (function[i] == '<') ++depth;
    if (function[i] == '>' && depth > 0) --depth;
    if (function[i] == '(' && depth == 0 && !function.substr(i).starts_with("(anonymous namespace)")) {
      end = i;
      break;
    }
  }
  return function.substr(0, end);
}

bool is_library_function(const std::string& function) {
  static constexpr std::array<std::string_view, 5> kSpaces = {"std::", "at::", "torch::", "c10::", "levin::"};
  // A template is written with its result before it: "void std::__invoke_impl<...>(...)".
  const std::string name = short_name(function);
  const std::size_t arguments = std::min(name.find('<'), name.size());
  const std::size_t blank = name.substr(0, arguments).rfind(' ');
  const std::string_view bare = std::string_view(name).substr(blank == std::string::npos ? 0 : blank + 1);
  return std::ranges::any_of(kSpaces, [&](std::string_view space) { return bare.starts_with(space); });
}

}  // namespace

std::vector<StackFrame> stack_frames() {
  std::vector<StackFrame> frames;
  const auto visit = [](_Unwind_Context* context, void* list) {
    static_cast<std::vector<StackFrame>*>(list)->push_back({.address = ::_Unwind_GetIP(context),
                                                            .frame = ::_Unwind_GetCFA(context)});
    return _URC_NO_REASON;
  };
  ::_Unwind_Backtrace(visit, &frames);
  return frames;
}

std::string user_code(const std::vector<StackFrame>& frames, std::uintptr_t outermost) {
  std::string function;
  for (const StackFrame& frame : frames) {
    if (frame.frame > outermost) break;
    if (frame.address == 0) continue;
    const Location location = locate(frame.address - 1);  // of the call, not of what follows it
    if (location.file.empty() || is_library(location.file)) continue;
    for (const Place& place : places(location)) {
      if (!place.line.empty() && !is_library_header(place.line)) return place.line;
      const bool theirs = place.function.empty() || !place.line.empty() || is_library_function(place.function);
      if (function.empty() && !theirs) function = short_name(place.function);
    }
  }
  return function;
}

}  // namespace levin::compile
