#include <levin/tune/study_export.h>

#include <levin/core/csv.h>
#include <levin/core/json.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <ostream>
#include <set>

namespace levin::tune {
namespace {

Value local_time(const std::optional<TimePoint>& time) {
  if (!time) return {};
  const auto micros = std::chrono::floor<std::chrono::microseconds>(*time);
  const auto whole = std::chrono::floor<std::chrono::seconds>(micros);
  const std::time_t seconds = std::chrono::system_clock::to_time_t(whole);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  std::array<char, 48> text{};
  const auto length = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S", &parts);
  std::array<char, 16> fraction{};
  std::snprintf(fraction.data(), fraction.size(), ".%06d", static_cast<int>((micros - whole).count()));
  return std::string(text.data(), length) + fraction.data();
}

// "0 days 00:00:01.500000"
std::string pandas_duration(double seconds) {
  const auto micros = static_cast<std::int64_t>(std::llround(seconds * 1e6));
  const std::int64_t whole = micros / 1'000'000, day = 86'400;
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%lld days %02lld:%02lld:%02lld", static_cast<long long>(whole / day),
                static_cast<long long>(whole % day / 3600), static_cast<long long>(whole % 3600 / 60),
                static_cast<long long>(whole % 60));
  std::string out = text.data();
  if (micros % 1'000'000 != 0) {
    std::snprintf(text.data(), text.size(), ".%06lld", static_cast<long long>(micros % 1'000'000));
    out += text.data();
  }
  return out;
}

}  // namespace

TrialsTable trials_table(const Study& study) {
  const auto trials = study.trials();
  const auto metrics = study.metric_names();
  const std::size_t n_values = study.directions().size();
  const auto names_of = [&](const std::function<const Map&(const FrozenTrial&)>& part) {
    std::set<std::string> names;
    for (const auto& trial : trials) {
      for (const auto& [name, value] : part(trial)) names.insert(name);
    }
    return names;
  };
  const std::array<std::pair<const char*, Map FrozenTrial::*>, 3> parts{
      {{"params_", &FrozenTrial::params},
       {"user_attrs_", &FrozenTrial::user_attrs},
       {"system_attrs_", &FrozenTrial::system_attrs}}};
  TrialsTable table;
  table.columns = {"number"};
  for (std::size_t i = 0; i < n_values; ++i) {
    const std::string name = i < metrics.size() ? metrics[i] : n_values > 1 ? std::to_string(i) : "";
    table.columns.push_back((n_values > 1 ? "values" : "value") + (name.empty() ? "" : "_" + name));
  }
  for (const char* name : {"datetime_start", "datetime_complete", "duration"}) table.columns.emplace_back(name);
  std::vector<std::set<std::string>> names;
  for (const auto& [prefix, part] : parts) {
    names.push_back(names_of([part = part](const FrozenTrial& trial) -> const Map& { return trial.*part; }));
    for (const auto& name : names.back()) table.columns.push_back(prefix + name);
  }
  table.columns.emplace_back("state");
  for (const auto& trial : trials) {
    List row{trial.number};
    for (std::size_t i = 0; i < n_values; ++i) {
      row.push_back(i < trial.values.size() ? Value(trial.values[i]) : Value());
    }
    row.push_back(local_time(trial.datetime_start));
    row.push_back(local_time(trial.datetime_complete));
    const auto duration = trial.duration();
    row.push_back(duration ? Value(duration->count()) : Value());
    for (std::size_t p = 0; p < parts.size(); ++p) {
      for (const auto& name : names[p]) {
        const Value* value = (trial.*parts[p].second).find(name);
        row.push_back(value != nullptr ? *value : Value());
      }
    }
    row.emplace_back(to_string(trial.state));
    table.rows.push_back(std::move(row));
  }
  return table;
}

void write_csv(const TrialsTable& table, std::ostream& out) {
  csv::Writer writer(out);
  writer.row(table.columns);
  for (const auto& row : table.rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const Value& value = row[i];
      if (value.is_null()) {
        writer.field("");
      } else if (table.columns[i] == "duration") {
        writer.field(pandas_duration(value.as_double()));
      } else {
        writer.field(value.is_list() || value.is_map() ? to_json(value) : value.to_string());
      }
    }
    writer.end_row();
  }
}

void write_json(const TrialsTable& table, std::ostream& out) {
  out << '[';
  for (std::size_t r = 0; r < table.rows.size(); ++r) {
    Map map;
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
      if (!table.rows[r][i].is_null()) map[table.columns[i]] = table.rows[r][i];
    }
    out << (r > 0 ? ",\n " : "") << to_json(map);
  }
  out << "]\n";
}

}  // namespace levin::tune
