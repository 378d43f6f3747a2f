#include <levin/tune/storage/time_text.h>

#include <array>
#include <cstdio>
#include <ctime>

namespace levin::tune::detail {
namespace {

std::string to_text(TimePoint time, char separator, const char* end) {
  const auto micros = std::chrono::floor<std::chrono::microseconds>(time);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(micros);
  const std::time_t whole = std::chrono::system_clock::to_time_t(seconds);
  std::tm parts{};
  ::gmtime_r(&whole, &parts);
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%04d-%02d-%02d%c%02d:%02d:%02d.%06d%s", parts.tm_year + 1900,
                parts.tm_mon + 1, parts.tm_mday, separator, parts.tm_hour, parts.tm_min, parts.tm_sec,
                static_cast<int>((micros - seconds).count()), end);
  return text.data();
}

}  // namespace

std::string to_table_time(TimePoint time) { return to_text(time, ' ', ""); }
std::string to_iso_time(TimePoint time) { return to_text(time, 'T', "+00:00"); }

std::optional<TimePoint> parse_time(const std::string& text) {
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, used = 0;
  char separator = 0;
  const int n = std::sscanf(text.c_str(), "%4d-%2d-%2d%c%2d:%2d:%2d%n", &year, &month, &day, &separator, &hour, &minute,
                            &second, &used);
  if (n < 7 || (separator != ' ' && separator != 'T')) return std::nullopt;
  using namespace std::chrono;
  const year_month_day date{std::chrono::year(year), std::chrono::month(static_cast<unsigned>(month)),
                            std::chrono::day(static_cast<unsigned>(day))};
  if (!date.ok()) return std::nullopt;
  auto at = static_cast<std::size_t>(used);
  std::int64_t micros = 0;
  if (at < text.size() && text[at] == '.') {
    std::int64_t unit = 100'000;
    for (++at; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10) {
      micros += (text[at] - '0') * unit;
    }
  }
  minutes offset{0};
  if (at < text.size() && (text[at] == '+' || text[at] == '-')) {
    int hours_off = 0, minutes_off = 0;
    if (std::sscanf(text.c_str() + at + 1, "%2d:%2d", &hours_off, &minutes_off) < 1) return std::nullopt;
    offset = hours(hours_off) + minutes(minutes_off);
    if (text[at] == '-') offset = -offset;
  } else if (at < text.size() && text[at] != 'Z') {
    return std::nullopt;
  }
  return sys_days(date) + hours(hour) + minutes(minute) + seconds(second) + microseconds(micros) - offset;
}

}  // namespace levin::tune::detail
