// The one error type of Levin. A message says what was wrong, the value seen, where it was set and what to do instead.
#pragma once

#include <levin/core/export.h>

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace levin {

/** The parts of an error message; empty parts are left out of the text. */
struct ErrorInfo {
  std::string what;   ///< what is wrong, one sentence without a full stop
  std::string value;  ///< the value seen, as the user wrote it
  std::string where;  ///< where it was set: a flag, a key of a config file, a file with line and column
  std::string hint;   ///< what to write or do instead
};

/** Thrown for every mistake that a caller can mend; `what()` is one paragraph made of the parts. */
class LEVIN_API Error : public std::runtime_error {
 public:
  explicit Error(ErrorInfo info);
  explicit Error(const std::string& what) : Error(ErrorInfo{.what = what, .value = {}, .where = {}, .hint = {}}) {}

  const ErrorInfo& info() const noexcept { return info_; }

 private:
  ErrorInfo info_;
};

/** The candidate closest to `word` (edit distance, case-blind), or "" when none is close enough to be meant. */
LEVIN_API std::string closest(std::string_view word, std::span<const std::string> candidates);

/** A hint such as `did you mean "lr"?`; falls back to listing the candidates (at most `max_listed`). */
LEVIN_API std::string did_you_mean(std::string_view word, std::span<const std::string> candidates,
                                   std::size_t max_listed = 12);

/** "a, b and c": a list in prose. */
LEVIN_API std::string join_words(std::span<const std::string> words);

}  // namespace levin
