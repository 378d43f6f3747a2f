// UTF-8 text as people see it: widths in terminal columns, cutting to a width, validity.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace levin {

/** Whether `text` is well-formed UTF-8 (no overlong forms, no surrogates). */
LEVIN_API bool is_utf8(std::string_view text);

/** Terminal columns that `text` takes: combining marks count 0, East Asian wide characters and emoji 2. */
LEVIN_API std::size_t display_width(std::string_view text);

/** `text` cut to at most `width` columns; a cut text ends in "..." where there is room for it. */
LEVIN_API std::string fit_to_width(std::string_view text, std::size_t width);

/** `text` with spaces added up to `width` columns, on its right or (for numbers) on its left. */
LEVIN_API std::string pad_to_width(std::string_view text, std::size_t width, bool on_left = false);

/** The words of `text` in lines of at most `width` columns, joined by newline and `indent` spaces. */
LEVIN_API std::string wrap_text(std::string_view text, std::size_t width, std::size_t indent = 0);

}  // namespace levin
