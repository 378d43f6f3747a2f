#include <levin/app/study_command.h>

#include <levin/app/help.h>
#include <levin/core/console.h>
#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/json.h>
#include <levin/core/progress_bar.h>
#include <levin/core/text.h>
#include <levin/core/text_table.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <filesystem>
#include <optional>
#include <ostream>
#include <sys/ioctl.h>
#include <system_error>
#include <unistd.h>

namespace levin::app {
namespace {

namespace fs = std::filesystem;
using tune::FrozenTrial;
using tune::TrialState;

const std::vector<std::string> kActions = {"list", "show", "best", "trials"};
const std::vector<std::string> kFormats = {"table", "csv", "json"};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string rounded(double number) {
  std::array<char, 32> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), number, std::chars_format::general, 5).ptr;
  return {buffer.data(), end};
}

// For tables: numbers are short there, whole elsewhere.
std::string shown(const Value& value) { return value.is_float() ? rounded(value.as_double()) : value.to_string(); }

std::string local_time(const std::optional<tune::TimePoint>& time) {
  if (!time) return "";
  const std::time_t seconds = std::chrono::system_clock::to_time_t(*time);
  std::tm parts{};
  ::localtime_r(&seconds, &parts);
  std::array<char, 32> buffer{};
  return {buffer.data(), std::strftime(buffer.data(), buffer.size(), "%Y-%m-%d %H:%M:%S", &parts)};
}

Value time_value(const std::optional<tune::TimePoint>& time) { return time ? Value(local_time(time)) : Value(); }

Value seconds_of(const FrozenTrial& trial) {
  const auto duration = trial.duration();
  return duration ? Value(duration->count()) : Value();
}

Value value_of(const std::vector<double>& values) {
  if (values.empty()) return {};
  if (values.size() == 1) return values[0];
  return List(values.begin(), values.end());
}

std::string directions_of(const std::vector<tune::Direction>& directions) {
  std::string out;
  for (const auto direction : directions) out += (out.empty() ? "" : ", ") + lower(to_string(direction));
  return out;
}

// Writes records with the same keys: as a table, as CSV, or as a JSON list.
class Records {
 public:
  explicit Records(std::vector<std::string> keys) : keys_(std::move(keys)) {}

  void add(std::vector<Value> values) { rows_.push_back(std::move(values)); }

  void write(const StudyQuery& query, std::ostream& out) const {
    if (query.format == "json") {
      List list;
      for (const auto& row : rows_) {
        Map map;
        for (std::size_t i = 0; i < keys_.size(); ++i) map[keys_[i]] = row[i];
        list.emplace_back(std::move(map));
      }
      out << to_json(list) << '\n';
    } else if (query.format == "csv") {
      csv::Writer writer(out);
      writer.row(keys_);
      for (const auto& row : rows_) {
        for (const auto& value : row) {
          writer.field(value.is_null() ? "" : value.is_list() || value.is_map() ? to_json(value) : value.to_string());
        }
        writer.end_row();
      }
    } else {
      TextTable table(keys_);
      for (const auto& row : rows_) {
        std::vector<std::string> cells;
        for (const auto& value : row) cells.push_back(value.is_null() ? "-" : shown(value));
        table.add_row(std::move(cells));
      }
      put_lines(table.to_string(), query.width, out);
    }
  }

  static void put_lines(const std::string& text, std::size_t width, std::ostream& out) {
    for (std::size_t start = 0; start < text.size();) {
      const auto end = text.find('\n', start);
      const auto line = text.substr(start, end - start);
      out << (width > 0 ? fit_to_width(line, width) : line) << '\n';
      start = end + 1;
    }
  }

 private:
  std::vector<std::string> keys_;
  std::vector<std::vector<Value>> rows_;
};

void list_studies(const StudyQuery& query, std::ostream& out) {
  Records records({"study", "direction", "trials", "best_value", "started"});
  for (const auto& study : tune::study_summaries(query.storage)) {
    records.add({study.study_name, directions_of(study.directions), study.n_trials,
                 study.best_trial ? value_of(study.best_trial->values) : Value(), time_value(study.datetime_start)});
  }
  records.write(query, out);
}

std::vector<FrozenTrial> best_of(const tune::Study& study) {
  const auto complete = study.trials({TrialState::complete});
  if (complete.empty()) {
    throw Error({.what = "no trial of study \"" + study.study_name() + "\" is complete yet",
                 .value = std::to_string(study.trials().size()) + " trials",
                 .where = {},
                 .hint = "see levin study trials"});
  }
  if (study.directions().size() > 1) return study.best_trials();
  return {study.best_trial()};
}

void show_study(const StudyQuery& query, const tune::Study& study, std::ostream& out) {
  const auto trials = study.trials();
  std::vector<std::pair<std::string, Value>> facts = {
      {"study", study.study_name()}, {"direction", directions_of(study.directions())}, {"trials", trials.size()}};
  for (const auto state :
       {TrialState::complete, TrialState::pruned, TrialState::fail, TrialState::running, TrialState::waiting}) {
    const auto count = std::count_if(trials.begin(), trials.end(), [&](const auto& t) { return t.state == state; });
    if (count > 0 || query.format != "table") facts.emplace_back(lower(to_string(state)), count);
  }
  std::optional<tune::TimePoint> first, last;
  for (const auto& trial : trials) {
    if (trial.datetime_start && (!first || *trial.datetime_start < *first)) first = trial.datetime_start;
    if (trial.datetime_complete && (!last || *trial.datetime_complete > *last)) last = trial.datetime_complete;
  }
  facts.emplace_back("started", time_value(first));
  facts.emplace_back("last_finished", time_value(last));
  const bool any =
      std::any_of(trials.begin(), trials.end(), [](const auto& t) { return t.state == TrialState::complete; });
  const bool single = study.directions().size() == 1;
  const std::optional<FrozenTrial> best = any && single ? std::optional(study.best_trial()) : std::nullopt;
  facts.emplace_back("best_trial", best ? Value(best->number) : Value());
  facts.emplace_back("best_value", best ? value_of(best->values) : Value());

  if (query.format != "table") {
    std::vector<std::string> keys;
    std::vector<Value> values;
    for (const auto& [key, value] : facts) keys.push_back(key), values.push_back(value);
    keys.emplace_back("best_params");
    values.push_back(best ? Value(best->params) : Value());
    Records records(std::move(keys));
    records.add(std::move(values));
    records.write(query, out);
    return;
  }
  for (const auto& [key, value] : facts) {
    out << pad_to_width(key, 15) << (value.is_null() ? "-" : shown(value)) << '\n';
  }
  if (!best) return;
  out << "\nbest settings\n";
  for (const auto& [key, value] : best->params) out << "  " << key << " = " << shown(value) << '\n';
}

// One column for each parameter that any of the trials has, in order of appearance.
std::vector<std::string> parameter_names(const std::vector<FrozenTrial>& trials) {
  std::vector<std::string> names;
  for (const auto& trial : trials) {
    for (const auto& [name, value] : trial.params) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

void list_trials(const StudyQuery& query, const std::vector<FrozenTrial>& trials, std::ostream& out) {
  if (query.format == "json") {
    Records records({"number", "state", "value", "params", "started", "seconds", "user_attrs"});
    for (const auto& trial : trials) {
      records.add({trial.number, lower(to_string(trial.state)), value_of(trial.values), trial.params,
                   time_value(trial.datetime_start), seconds_of(trial), trial.user_attrs});
    }
    records.write(query, out);
    return;
  }
  if (query.format == "table") {
    Records records({"trial", "state", "value", "time", "settings"});
    for (const auto& trial : trials) {
      std::string settings;
      for (const auto& [name, value] : trial.params) {
        settings += (settings.empty() ? "" : " ") + name.substr(name.rfind('.') + 1) + "=" + shown(value);
      }
      const auto duration = trial.duration();
      records.add({trial.number, lower(to_string(trial.state)), value_of(trial.values),
                   duration ? Value(format_duration(duration->count())) : Value(), settings});
    }
    records.write(query, out);
    return;
  }
  std::vector<std::string> keys = {"number", "state", "value", "started", "seconds"};
  const auto names = parameter_names(trials);
  keys.insert(keys.end(), names.begin(), names.end());
  Records records(std::move(keys));
  for (const auto& trial : trials) {
    std::vector<Value> row = {trial.number, lower(to_string(trial.state)), value_of(trial.values),
                              time_value(trial.datetime_start), seconds_of(trial)};
    for (const auto& name : names) {
      const Value* value = trial.params.find(name);
      row.push_back(value == nullptr ? Value() : *value);
    }
    records.add(std::move(row));
  }
  records.write(query, out);
}

void show_best(const StudyQuery& query, const tune::Study& study, std::ostream& out) {
  const auto trials = best_of(study);
  if (query.format != "table" || trials.size() > 1) {
    list_trials(query, trials, out);
    return;
  }
  const auto& trial = trials.front();
  out << "trial " << trial.number << ": " << rounded(trial.value()) << '\n';
  for (const auto& [key, value] : trial.params) out << "  " << key << " = " << shown(value) << '\n';
}

std::string newest_storage() {
  std::error_code ignored;
  fs::path newest;
  fs::file_time_type when{};
  for (fs::directory_iterator it("runs", ignored), end; !ignored && it != end; it.increment(ignored)) {
    const fs::path path = it->path() / "study.db";
    std::error_code failed;
    const auto time = fs::last_write_time(path, failed);
    if (failed || (!newest.empty() && time <= when)) continue;
    newest = path, when = time;
  }
  if (newest.empty()) {
    throw Error({.what = "there is no study.db below runs/",
                 .value = {},
                 .where = {},
                 .hint = "name the storage with --storage, such as --storage sqlite:///study.db"});
  }
  return newest.string();
}

// A file is named by its path alone, too. What is only to be looked at must be there.
std::string storage_url(const std::string& given) {
  constexpr std::string_view kScheme = "sqlite:///";
  if (given.starts_with(kScheme)) {
    require_file(given.substr(kScheme.size()));
    return given;
  }
  if (given.find("://") != std::string::npos) return given;
  require_file(given);
  return std::string(kScheme) + given;
}

// Lines are cut only where they would wrap.
std::size_t terminal_width() {
  if (::isatty(STDOUT_FILENO) != 1) return 0;
  struct winsize size {};
  return ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void check_choice(const std::string& what, const std::string& value, const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
  throw Error({.what = "there is no " + what + " \"" + value + "\"",
               .value = {},
               .where = {},
               .hint = did_you_mean(value, choices)});
}

}  // namespace

void answer(const StudyQuery& query, std::ostream& out) {
  if (query.action == "list") {
    list_studies(query, out);
    return;
  }
  const auto study = tune::load_study({.study_name = query.study, .storage = query.storage});
  if (query.action == "show") {
    show_study(query, study, out);
  } else if (query.action == "best") {
    show_best(query, study, out);
  } else {
    list_trials(query, study.trials(), out);
  }
}

int run_study(const std::vector<std::string>& arguments, std::ostream& out) {
  if (arguments.empty() || std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out << study_help();
    return 0;
  }
  StudyQuery query{.action = arguments[0], .width = terminal_width()};
  check_choice("action of levin study named", query.action, kActions);
  std::string storage;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const auto equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    const std::vector<std::string> known = {"--storage", "--study", "--format"};
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw Error({.what = "levin study has no option \"" + name + "\"",
                   .value = {},
                   .where = "command line",
                   .hint = did_you_mean(name, known)});
    }
    if (equals == std::string::npos && i + 1 == arguments.size()) {
      throw Error({.what = name + " needs a value", .value = {}, .where = "command line", .hint = {}});
    }
    const std::string value = equals == std::string::npos ? arguments[++i] : argument.substr(equals + 1);
    if (name == "--storage") storage = value;
    if (name == "--study") query.study = value;
    if (name == "--format") query.format = value;
  }
  check_choice("format", query.format, kFormats);
  query.storage = tune::StorageRef(storage_url(storage.empty() ? newest_storage() : storage));
  answer(query, out);
  return 0;
}

}  // namespace levin::app
