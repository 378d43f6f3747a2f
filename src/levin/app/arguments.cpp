#include <levin/app/arguments.h>

#include <levin/core/error.h>
#include <levin/core/text.h>

#include <algorithm>
#include <charconv>
#include <sys/ioctl.h>
#include <unistd.h>

namespace levin::app {

Arguments::Arguments(std::string command, std::vector<Option> options, const std::vector<std::string>& arguments)
    : command_(std::move(command)), options_(std::move(options)) {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const auto equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const auto option = std::find_if(options_.begin(), options_.end(),
                                     [&](const Option& candidate) { return "--" + candidate.name == name; });
    if (option == options_.end()) {
      std::vector<std::string> known;
      for (const auto& candidate : options_) known.push_back("--" + candidate.name);
      throw Error({.what = argument.starts_with("-") ? command_ + " has no option \"" + name + "\""
                                                     : command_ + " takes options only",
                   .value = argument.starts_with("-") ? "" : "\"" + argument + "\"",
                   .where = "command line",
                   .hint = did_you_mean(name, known, 20)});
    }
    if (has(option->name) && !option->repeats) {
      throw Error({.what = name + " is given twice", .value = {}, .where = "command line", .hint = {}});
    }
    if (option->placeholder.empty()) {
      if (equals != std::string::npos) {
        throw Error({.what = name + " takes no value", .value = argument, .where = "command line", .hint = {}});
      }
      given_.emplace_back(option->name, "");
      continue;
    }
    if (equals == std::string::npos && i + 1 == arguments.size()) {
      throw Error({.what = name + " needs a value",
                   .value = {},
                   .where = "command line",
                   .hint = "write " + name + " " + option->placeholder});
    }
    given_.emplace_back(option->name, equals == std::string::npos ? arguments[++i] : argument.substr(equals + 1));
  }
}

bool Arguments::has(const std::string& name) const {
  return std::any_of(given_.begin(), given_.end(), [&](const auto& entry) { return entry.first == name; });
}

std::string Arguments::get(const std::string& name, const std::string& fallback) const {
  const auto values = all(name);
  return values.empty() ? fallback : values.back();
}

std::string Arguments::require(const std::string& name) const {
  if (has(name)) return get(name);
  const auto option =
      std::find_if(options_.begin(), options_.end(), [&](const Option& candidate) { return candidate.name == name; });
  throw Error({.what = command_ + " needs --" + name + " " + option->placeholder,
               .value = {},
               .where = {},
               .hint = "see " + command_ + " --help"});
}

std::vector<std::string> Arguments::all(const std::string& name) const {
  std::vector<std::string> out;
  for (const auto& [key, value] : given_) {
    if (key == name) out.push_back(value);
  }
  return out;
}

std::optional<std::int64_t> Arguments::integer(const std::string& name, std::int64_t least) const {
  if (!has(name)) return std::nullopt;
  const std::string text = get(name);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size() && value >= least) return value;
  throw Error({.what = "--" + name + " takes a whole number from " + std::to_string(least) + " on",
               .value = "\"" + text + "\"",
               .where = "command line",
               .hint = {}});
}

std::optional<double> Arguments::number(const std::string& name) const {
  if (!has(name)) return std::nullopt;
  const std::string text = get(name);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  throw Error(
      {.what = "--" + name + " takes a number", .value = "\"" + text + "\"", .where = "command line", .hint = {}});
}

std::optional<double> Arguments::duration(const std::string& name) const {
  if (!has(name)) return std::nullopt;
  const std::string text = get(name);
  double total = 0;
  const char* at = text.data();
  const char* const last = at + text.size();
  bool fits = at != last;
  while (fits && at != last) {
    double count = 0;
    const auto [end, error] = std::from_chars(at, last, count);
    fits = error == std::errc() && count >= 0;
    at = end;
    const char unit = at == last ? 's' : *at++;
    const double seconds = unit == 's' ? 1 : unit == 'm' ? 60 : unit == 'h' ? 3600 : unit == 'd' ? 86400 : -1;
    fits = fits && seconds > 0;
    total += count * seconds;
  }
  if (fits) return total;
  throw Error({.what = "--" + name + " takes a time",
               .value = "\"" + text + "\"",
               .where = "command line",
               .hint = "write it like 90s, 5m or 1h30m"});
}

std::string help_of(const std::vector<Option>& options) {
  constexpr std::size_t kLeft = 26, kWidth = 80;
  std::string out;
  for (const auto& option : options) {
    std::string left = "  --" + option.name + (option.placeholder.empty() ? "" : " " + option.placeholder);
    if (display_width(left) + 2 > kLeft) {
      left += "\n" + std::string(kLeft, ' ');
    } else {
      left = pad_to_width(left, kLeft);
    }
    out += left + wrap_text(option.help, kWidth - kLeft, kLeft) + "\n";
  }
  return out;
}

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> out;
  for (std::size_t start = 0; start <= text.size();) {
    const auto comma = std::min(text.find(',', start), text.size());
    std::string part = text.substr(start, comma - start);
    const auto first = part.find_first_not_of(' ');
    part = first == std::string::npos ? "" : part.substr(first, part.find_last_not_of(' ') - first + 1);
    if (!part.empty()) out.push_back(std::move(part));
    start = comma + 1;
  }
  return out;
}

std::pair<std::string, std::string> split_pair(const std::string& text, const std::string& option) {
  const auto equals = text.find('=');
  if (equals != std::string::npos && equals > 0) return {text.substr(0, equals), text.substr(equals + 1)};
  throw Error(
      {.what = "--" + option + " takes NAME=VALUE", .value = "\"" + text + "\"", .where = "command line", .hint = {}});
}

void require_choice(const std::string& what, const std::string& value, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  throw Error({.what = "there is no " + what + " \"" + value + "\"",
               .value = {},
               .where = {},
               .hint = did_you_mean(value, choices)});
}

std::string shell_quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::size_t output_width() {
  if (::isatty(STDOUT_FILENO) != 1) return 0;
  struct winsize size {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace levin::app
