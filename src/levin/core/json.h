// JSON text of a Value and back, in the dialect Python's json module speaks (NaN, Infinity and -Infinity are numbers).
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <string>
#include <string_view>

namespace levin {

enum class JsonStyle {
  spaced,  ///< as Python's `json.dumps` spaces it: `{"lr": 0.1, "layers": [1, 2]}`
  compact  ///< without spaces: `{"lr":0.1,"layers":[1,2]}`
};

/**
 * The value as JSON on one line.
 *
 * Floats take the shortest text that reads back to the same number; not-a-number and the infinities become `NaN`,
 * `Infinity` and `-Infinity`. Bytes that are no UTF-8 become U+FFFD. Throws Error for an opaque handle.
 */
LEVIN_API std::string to_json(const Value& value, JsonStyle style = JsonStyle::spaced);

/**
 * Reads JSON text; also accepts `NaN`, `Infinity` and `-Infinity`.
 *
 * A number without fraction and exponent is an int, or a float when it does not fit 64 bits. Of two equal keys the
 * last wins, as in Python. Nesting deeper than 256 levels is refused. Throws Error with line and column.
 */
LEVIN_API Value parse_json(std::string_view text);

}  // namespace levin
