// Messages to people, on standard error: by level, from any thread, never tearing a live progress bar.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace levin::console {

enum class Level { debug, info, warning, error, off };

/**
 * Messages below this level are not shown. At the start it is what the environment variable LEVIN_LOG says (debug,
 * info, warning, error or off), else info.
 */
LEVIN_API Level level();
LEVIN_API void set_level(Level level);

/** One message; warnings, errors and debug messages are marked as such. Colours only on a terminal without NO_COLOR. */
LEVIN_API void debug(std::string_view text);
LEVIN_API void info(std::string_view text);
LEVIN_API void warning(std::string_view text);
LEVIN_API void error(std::string_view text);

/** A warning that is shown the first time this process gives it, and never again with the same text. */
LEVIN_API void warn_once(std::string_view text);

/** Whether standard error is a terminal that can redraw a line (TERM is not "dumb"). */
LEVIN_API bool is_terminal();

/** Columns of that terminal as it is now; COLUMNS or 80 where it does not say. */
LEVIN_API std::size_t width();

/** Whether the environment's character set (LC_ALL, LC_CTYPE, LANG) is UTF-8. */
LEVIN_API bool has_utf8();

/**
 * The bottom line of the terminal, redrawn in place below all messages. One owner at a time: while an outer owner
 * holds the line, draws of others do nothing. Only to be used where `is_terminal()`.
 */
class LEVIN_API LiveLine {
 public:
  LiveLine() = default;
  ~LiveLine();
  LiveLine(const LiveLine&) = delete;
  LiveLine& operator=(const LiveLine&) = delete;

  /** Shows `text`, one line no wider than the terminal; false when another owner holds the line. */
  bool draw(std::string text);
  /** Gives the line up: its last text stays on the screen when `keep`, else it goes away. */
  void release(bool keep);
};

/** Writes whole lines to standard error as they are, above a live line. */
LEVIN_API void write(std::string_view lines);

}  // namespace levin::console
