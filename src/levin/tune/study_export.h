// All trials of a study as a table, in the layout of Optuna's trials_dataframe.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/study.h>

#include <iosfwd>
#include <string>
#include <vector>

namespace levin::tune {

/** A table of the trials: a row each, cells that are null where a trial has nothing. */
struct TrialsTable {
  std::vector<std::string> columns;
  std::vector<List> rows;
};

/**
 * The trials by number with the columns of `study.trials_dataframe()`: number, value (values_0, ... with several
 * objectives, or named by the study's metrics), datetime_start, datetime_complete, duration (seconds), params_NAME,
 * user_attrs_NAME and system_attrs_NAME each in order of their names, state. Times are local.
 */
LEVIN_API TrialsTable trials_table(const Study& study);

/** The table as CSV; lists and maps as JSON, durations as pandas writes them ("0 days 00:00:01.500000"). */
LEVIN_API void write_csv(const TrialsTable& table, std::ostream& out);
/** The table as a JSON list of maps, without the cells that are null. */
LEVIN_API void write_json(const TrialsTable& table, std::ostream& out);

}  // namespace levin::tune
