// Points in time as the texts that Optuna's storages keep.
#pragma once

#include <levin/tune/frozen_trial.h>

#include <optional>
#include <string>

namespace levin::tune::detail {

/** "2026-01-31 12:00:00.123456" in UTC, as the tables have it. */
std::string to_table_time(TimePoint time);
/** "2026-01-31T12:00:00.123456+00:00" in UTC, as the journal has it. */
std::string to_iso_time(TimePoint time);
/** Reads both, with any offset from UTC (none: UTC); nothing for other texts. */
std::optional<TimePoint> parse_time(const std::string& text);

}  // namespace levin::tune::detail
