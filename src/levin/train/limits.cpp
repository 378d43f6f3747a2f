#include <levin/train/limits.h>

#include <levin/core/config.h>
#include <levin/core/error.h>
#include <levin/core/value.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <vector>

namespace levin {
namespace {

std::optional<double> read_number(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// The text between "name(" and ")", or nothing.
std::optional<std::string_view> argument_of(std::string_view text, std::string_view name) {
  if (!text.starts_with(name) || text.size() < name.size() + 2) return std::nullopt;
  text.remove_prefix(name.size());
  if (text.front() != '(' || text.back() != ')') return std::nullopt;
  return text.substr(1, text.size() - 2);
}

const char* unit_name(Unit unit) {
  return unit == Unit::batches ? "batches" : unit == Unit::steps ? "steps" : "epochs";
}

}  // namespace

std::int64_t Limit::of(std::int64_t batches) const {
  if (kind_ == Kind::count) return std::min(batches, static_cast<std::int64_t>(value_));
  if (batches == kUnknownLength) return value_ == 0 ? 0 : kUnknownLength;
  return static_cast<std::int64_t>(std::floor(static_cast<double>(batches) * value_));
}

std::string Limit::to_string() const {
  return kind_ == Kind::count ? "count(" + std::to_string(static_cast<std::int64_t>(value_)) + ")"
                              : "fraction(" + format_double(value_) + ")";
}

Limit Limit::parse(std::string_view text) {
  const auto in_count = argument_of(text, "count"), in_fraction = argument_of(text, "fraction");
  const std::string_view digits = in_count ? *in_count : in_fraction ? *in_fraction : text;
  const auto number = read_number(digits);
  const bool whole = digits.find_first_of(".eE") == std::string_view::npos;
  if (number && std::isfinite(*number) && *number >= 0) {
    if (in_fraction || !whole) {
      if (*number <= 1) return fraction(*number);
    } else {
      return count(static_cast<std::int64_t>(*number));
    }
  }
  throw Error({.what = "not a number of batches",
               .value = "\"" + std::string(text) + "\"",
               .where = {},
               .hint = "write count(10), or fraction(0.1) for a share"});
}

std::string Every::to_string() const {
  return by_clock_ ? "every(" + format_double(period_.count()) + " s)"
                   : "every(" + std::to_string(count_) + ", " + unit_name(unit_) + ")";
}

ValCheckInterval ValCheckInterval::parse(std::string_view text) {
  if (const auto argument = argument_of(text, "every")) {
    const auto comma = argument->find(',');
    if (comma == std::string_view::npos) return every(parse_duration(*argument));
    std::string_view unit = argument->substr(comma + 1);
    unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
    const auto number = read_number(argument->substr(0, comma));
    for (const Unit known : {Unit::batches, Unit::steps, Unit::epochs}) {
      if (number && *number >= 1 && unit == unit_name(known)) return every(static_cast<std::int64_t>(*number), known);
    }
    throw Error({.what = "not an interval",
                 .value = "\"" + std::string(text) + "\"",
                 .where = {},
                 .hint = "write every(100, steps), every(500, batches), every(2, epochs) or every(10m)"});
  }
  if (text.find_first_of(":smhd") != std::string_view::npos && !text.starts_with("count"))
    return every(parse_duration(text));
  return Limit::parse(text);
}

std::chrono::milliseconds parse_duration(std::string_view text) {
  using namespace std::chrono;
  if (text.find(':') == std::string_view::npos) {
    const Value value = config::parse({.key = "duration", .type = config::Type::duration}, text);
    return milliseconds(static_cast<std::int64_t>(std::llround(value.as_double() * 1000)));
  }
  // DD:HH:MM:SS, from the right.
  std::vector<double> fields;
  for (std::string_view rest = text;;) {
    const auto colon = rest.find(':');
    const auto number = read_number(rest.substr(0, colon));
    if (!number || *number < 0) break;
    fields.push_back(*number);
    if (colon == std::string_view::npos) {
      constexpr double seconds_of[] = {1, 60, 3600, 86400};
      double total = 0;
      if (fields.size() > 4) break;
      for (std::size_t i = 0; i < fields.size(); ++i) total += fields[fields.size() - 1 - i] * seconds_of[i];
      return milliseconds(static_cast<std::int64_t>(std::llround(total * 1000)));
    }
    rest.remove_prefix(colon + 1);
  }
  throw Error({.what = "not a duration",
               .value = "\"" + std::string(text) + "\"",
               .where = {},
               .hint = "write DD:HH:MM:SS, for instance 00:12:00:00, or 90s, 10m, 1h30m"});
}

}  // namespace levin
