#include <levin/app/command_objective.h>

#include <levin/app/arguments.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/json.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <string_view>
#include <sys/wait.h>
#include <unistd.h>

namespace levin::app {
namespace {

// Calls `use` for each {NAME} of the command, and puts what it returns in its place; other braces stay.
std::string replaced(const std::string& command, const std::function<std::string(const std::string&)>& use) {
  std::string out;
  for (std::size_t at = 0; at < command.size();) {
    const auto open = command.find('{', at);
    const auto close = open == std::string::npos ? open : command.find('}', open);
    if (close == std::string::npos) return out + command.substr(at);
    const std::string name = command.substr(open + 1, close - open - 1);
    const bool is_name = !name.empty() && std::all_of(name.begin(), name.end(), [](unsigned char c) {
      return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
    });
    if (!is_name) {
      out += command.substr(at, open + 1 - at);
      at = open + 1;
      continue;
    }
    out += command.substr(at, open - at) + use(name);
    at = close + 1;
  }
  return out;
}

std::optional<double> number_of(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0) text.remove_prefix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && !text.empty() ? std::optional(value)
                                                                                   : std::nullopt;
}

// A program in a process group of its own, so that a Ctrl-C at the terminal reaches it through its worker only.
class Program {
 public:
  Program(const std::string& command, const std::vector<std::string>& environment) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
      throw Error("no pipe can be made: " + errno_text(errno));
    }
    // Made before the fork: after it, only what is safe in a signal handler may be called.
    std::vector<std::string> entries;
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string_view old(*entry);
      const auto name = old.substr(0, old.find('=') + 1);
      const bool given = std::any_of(environment.begin(), environment.end(),
                                     [&](const std::string& text) { return text.starts_with(name); });
      if (!given) entries.emplace_back(old);
    }
    entries.insert(entries.end(), environment.begin(), environment.end());
    std::vector<char*> pointers;
    for (auto& entry : entries) pointers.push_back(entry.data());
    pointers.push_back(nullptr);
    process_ = ::fork();
    if (process_ == 0) {
      ::setpgid(0, 0);
      ::dup2(ends[1], STDOUT_FILENO);
      std::signal(SIGINT, SIG_DFL);
      std::signal(SIGTERM, SIG_DFL);
      const char* words[] = {"/bin/sh", "-c", command.c_str(), nullptr};
      ::execve(words[0], const_cast<char* const*>(words), pointers.data());
      ::_exit(127);
    }
    const int error = errno;
    ::close(ends[1]);
    output_ = ends[0];
    if (process_ < 0) {
      ::close(output_);
      throw Error("no process can be started: " + errno_text(error));
    }
    ::setpgid(process_, process_);
  }

  ~Program() {
    if (process_ > 0) end();
    if (output_ >= 0) ::close(output_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // The lines that came within a tenth of a second; nothing once the output has ended.
  std::optional<std::vector<std::string>> lines() {
    std::vector<std::string> out;
    pollfd wait{output_, POLLIN, 0};
    if (::poll(&wait, 1, 100) <= 0) return out;
    char buffer[4096];
    const auto got = ::read(output_, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) return out;
    if (got <= 0) {
      if (text_.empty()) return std::nullopt;
      out.push_back(std::exchange(text_, {}));
      return out;
    }
    text_.append(buffer, static_cast<std::size_t>(got));
    for (auto end = text_.find('\n'); end != std::string::npos; end = text_.find('\n')) {
      out.push_back(text_.substr(0, end));
      text_.erase(0, end + 1);
    }
    return out;
  }

  int wait() {
    int status = 0;
    while (::waitpid(process_, &status, 0) < 0 && errno == EINTR) {
    }
    process_ = 0;
    return status;
  }

  // Asks first, and insists after ten seconds.
  void end() {
    ::kill(-process_, SIGTERM);
    for (int i = 0; i < 100; ++i) {
      if (::waitpid(process_, nullptr, WNOHANG) == process_) {
        ::kill(-process_, SIGKILL);  // what it may have started
        process_ = 0;
        return;
      }
      ::usleep(100'000);
    }
    ::kill(-process_, SIGKILL);
    wait();
  }

 private:
  pid_t process_ = 0;
  int output_ = -1;
  std::string text_;
};

}  // namespace

CommandObjective::CommandObjective(std::string command, tune::SearchSpace space)
    : command_(std::move(command)), space_(std::move(space)) {
  std::vector<std::string> names;
  for (const auto& [name, distribution] : space_) names.push_back(name);
  replaced(command_, [&](const std::string& name) -> std::string {
    if (name != "number" && name != "checkpoint_dir" && !space_.contains(name)) {
      throw Error({.what = "the command names a parameter that the search does not have",
                   .value = "{" + name + "}",
                   .where = "--command",
                   .hint = names.empty() ? "add --param '" + name + "=uniform(0,1)', say" : did_you_mean(name, names)});
    }
    return "";
  });
}

std::vector<double> CommandObjective::operator()(tune::Trial& trial, const std::vector<std::string>& environment,
                                                 const std::function<bool()>& stopped) const {
  Map params;
  for (const auto& [name, distribution] : space_) params[name] = trial.suggest(name, distribution);
  std::vector<std::string> variables = environment;
  variables.push_back("LEVIN_PARAMS=" + to_json(params));
  variables.push_back("LEVIN_TRIAL_NUMBER=" + std::to_string(trial.number()));
  std::string folder;
  try {
    folder = trial.checkpoint_dir();
    variables.push_back("LEVIN_CHECKPOINT_DIR=" + folder);
  } catch (const Error&) {
    if (command_.find("{checkpoint_dir}") != std::string::npos) throw;
  }
  const std::string line = replaced(command_, [&](const std::string& name) {
    if (name == "number") return std::to_string(trial.number());
    return shell_quoted(name == "checkpoint_dir" ? folder : params.at(name).to_string());
  });

  Program program(line, variables);
  std::optional<std::vector<double>> result;
  std::optional<double> last_number;
  while (const auto lines = program.lines()) {
    if (stopped()) {
      program.end();
      throw Interrupted{};
    }
    for (const auto& text : *lines) {
      last_number = number_of(text);
      Map message;
      if (text.starts_with("{")) {
        try {
          message = parse_json(text).as_map();
        } catch (const Error&) {
        }
      }
      if (const Value* values = message.find("values"); values != nullptr && values->is_list()) {
        result.emplace();
        for (const auto& value : values->as_list()) result->push_back(value.as_double());
      } else if (const Value* value = message.find("value"); value != nullptr && value->is_number()) {
        if (const Value* step = message.find("step"); step != nullptr && step->is_int()) {
          trial.report(value->as_double(), step->as_int());
          if (trial.should_prune()) {
            program.end();
            throw tune::TrialPruned();
          }
        } else {
          result = {value->as_double()};
        }
      } else if (!last_number) {
        console::write(text + "\n");
      }
    }
  }
  const int status = program.wait();
  if (stopped() && status != 0) throw Interrupted{};
  if (status != 0) {
    throw Error({.what = WIFEXITED(status) ? "the program ended with code " + std::to_string(WEXITSTATUS(status))
                                           : "the program was ended by signal " + std::to_string(WTERMSIG(status)),
                 .value = line,
                 .where = {},
                 .hint = {}});
  }
  if (result) return *result;
  if (last_number) return {*last_number};
  throw Error({.what = "the program gave no value",
               .value = line,
               .where = {},
               .hint = "its last line must be a number or {\"value\": NUMBER}"});
}

}  // namespace levin::app
