// Options of a command, "--name value", with help and errors from one list.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace levin::app {

struct Option {
  std::string name;         ///< without the dashes
  std::string placeholder;  ///< what stands for its value in the help; "": a switch, which takes none
  std::string help;
  bool repeats = false;
};

/** The arguments of one command. Throws Error, naming the nearest option, for what it does not know. */
class Arguments {
 public:
  /** `command`: for messages, such as "levin study create". */
  Arguments(std::string command, std::vector<Option> options, const std::vector<std::string>& arguments);

  bool has(const std::string& name) const;
  /** The last value given, or `fallback`. */
  std::string get(const std::string& name, const std::string& fallback = "") const;
  /** The last value given; throws Error when there is none. */
  std::string require(const std::string& name) const;
  std::vector<std::string> all(const std::string& name) const;
  std::optional<std::int64_t> integer(const std::string& name, std::int64_t least) const;
  std::optional<double> number(const std::string& name) const;
  /** Seconds, from texts such as 90, 90s, 5m or 1h30m. */
  std::optional<double> duration(const std::string& name) const;

 private:
  std::string command_;
  std::vector<Option> options_;
  std::vector<std::pair<std::string, std::string>> given_;
};

/** The options as lines of help, at most 80 columns wide. */
std::string help_of(const std::vector<Option>& options);

/** Splits "a, b,c" at its commas. */
std::vector<std::string> split_list(const std::string& text);

/** "name=value" in two; throws Error, for the option `name`, when there is no "=". */
std::pair<std::string, std::string> split_pair(const std::string& text, const std::string& option);

/** Throws Error, naming the nearest one, unless `value` is one of `choices`. */
void require_choice(const std::string& what, const std::string& value, const std::vector<std::string>& choices);

/** The text as one word of a shell. */
std::string shell_quoted(const std::string& text);

/** Columns of the terminal that standard output is, or 0 where it is none. */
std::size_t output_width();

}  // namespace levin::app
