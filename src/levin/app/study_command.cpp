#include <levin/app/study_command.h>

#include <levin/app/study_options.h>
#include <levin/core/atomic_file.h>
#include <levin/core/console.h>
#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/json.h>
#include <levin/core/progress_bar.h>
#include <levin/core/text.h>
#include <levin/core/text_table.h>
#include <levin/core/yaml.h>
#include <levin/tune/importance/importance.h>
#include <levin/tune/study.h>
#include <levin/tune/study_export.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <optional>
#include <ostream>
#include <sstream>

namespace levin::app {
namespace {

using tune::FrozenTrial;
using tune::TrialState;

const std::vector<std::string> kFormats = {"table", "csv", "json", "yaml"};

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

std::string directions_text(const std::vector<tune::Direction>& directions) {
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
    if (query.format == "json" || query.format == "yaml") {
      List list;
      for (const auto& row : rows_) {
        Map map;
        for (std::size_t i = 0; i < keys_.size(); ++i) map[keys_[i]] = row[i];
        list.emplace_back(std::move(map));
      }
      if (query.format == "json") {
        out << to_json(list) << '\n';
        return;
      }
      for (const auto& entry : list) {  // a list of maps, each indented below its dash
        std::istringstream lines(to_yaml(entry.as_map()));
        bool first = true;
        for (std::string line; std::getline(lines, line); first = false) out << (first ? "- " : "  ") << line << '\n';
      }
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
    records.add({study.study_name, directions_text(study.directions), study.n_trials,
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
      {"study", study.study_name()}, {"direction", directions_text(study.directions())}, {"trials", trials.size()}};
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
  if (query.format == "json" || query.format == "yaml") {
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

// What an action of `levin study` takes and does.
struct Action {
  std::string name;
  std::string about;
  std::vector<Option> options;
  void (*run)(const Arguments&, std::ostream&);
};

const Option kStorage{"storage", "URL",
                      "where the study is kept: sqlite:///FILE, journal:///FILE, postgresql://USER@HOST/DATABASE or "
                      "just FILE; by default the newest study.db below runs/"};
const Option kNewStorage{"storage", "URL",
                         "where to keep it: sqlite:///FILE, journal:///FILE, postgresql://USER@HOST/DATABASE or just "
                         "FILE"};
const Option kStudy{"study", "NAME", "which study, where the storage holds several"};
const Option kFormat{"format", "FORMAT", "table, csv, json or yaml [table]"};

tune::Study study_of(const Arguments& arguments) {
  return tune::load_study({.study_name = arguments.get("study"), .storage = storage_url(arguments.get("storage"))});
}

void query(const std::string& action, const Arguments& arguments, std::ostream& out) {
  require_choice("format", arguments.get("format", "table"), kFormats);
  StudyQuery query{.action = action,
                   .storage = tune::StorageRef(storage_url(arguments.get("storage"))),
                   .study = arguments.get("study"),
                   .format = arguments.get("format", "table"),
                   .width = output_width()};
  answer(query, out);
}

void create(const Arguments& arguments, std::ostream& out) {
  auto study = tune::create_study({.storage = storage_url(arguments.require("storage"), false),
                                   .study_name = arguments.get("study"),
                                   .load_if_exists = arguments.has("load-if-exists"),
                                   .directions = directions_of(arguments.get("direction", "minimize"))});
  if (arguments.has("metric-names")) study.set_metric_names(split_list(arguments.get("metric-names")));
  out << study.study_name() << '\n';
}

void export_trials(const Arguments& arguments, std::ostream& out) {
  const std::string file = arguments.get("out");
  const std::string format = arguments.get("format", file.ends_with(".json") ? "json" : "csv");
  require_choice("format", format, {"csv", "json"});
  const auto table = tune::trials_table(study_of(arguments));
  std::ostringstream text;
  format == "csv" ? tune::write_csv(table, text) : tune::write_json(table, text);
  if (file.empty()) {
    out << text.str();
  } else {
    write_file_atomically(file, text.str());
  }
}

void copy(const Arguments& arguments, std::ostream& out) {
  const std::string from = storage_url(arguments.get("storage"));
  const auto study = study_of(arguments);
  Map extend;
  for (const auto& entry : arguments.all("extend-choices")) {
    const auto [name, list] = split_pair(entry, "extend-choices");
    List choices;
    for (const auto& choice : split_list(list)) choices.push_back(value_of_text(choice));
    extend[name] = std::move(choices);
  }
  const std::string to = arguments.get("to-storage");
  const std::string name = arguments.get("to-study", study.study_name());
  tune::copy_study({.from_study_name = study.study_name(),
                    .from_storage = study.storage(),
                    .to_storage = to.empty() ? tune::StorageRef(study.storage()) : storage_url(to, false),
                    .to_study_name = name,
                    .extend_choices = std::move(extend)});
  out << name << ": " << study.trials().size() << " trials\n";
}

void importance(const Arguments& arguments, std::ostream& out) {
  StudyQuery query{.format = arguments.get("format", "table"), .width = output_width()};
  require_choice("format", query.format, kFormats);
  const std::string method = arguments.get("method", "ped-anova");
  require_choice("method", method, {"ped-anova", "fanova", "mdi"});
  tune::ParamImportancesOptions options;
  if (method == "ped-anova") options.evaluator = tune::PedAnovaImportanceEvaluator();
  if (method == "fanova") options.evaluator = tune::FanovaImportanceEvaluator();
  if (method == "mdi") options.evaluator = tune::MeanDecreaseImpurityImportanceEvaluator();
  Records records({"parameter", "importance"});
  for (const auto& [name, share] : tune::param_importances(study_of(arguments), options)) records.add({name, share});
  records.write(query, out);
}

void remove(const Arguments& arguments, std::ostream&) {
  tune::delete_study({.study_name = arguments.require("study"), .storage = storage_url(arguments.get("storage"))});
}

void enqueue(const Arguments& arguments, std::ostream&) {
  Map params;
  if (arguments.has("params")) {
    const Value given = parse_json(arguments.get("params"));
    if (!given.is_map()) {
      throw Error({.what = "--params takes a JSON object",
                   .value = arguments.get("params"),
                   .where = "command line",
                   .hint = "such as '{\"lr\": 0.1}'"});
    }
    params = given.as_map();
  }
  for (const auto& entry : arguments.all("param")) {
    const auto [name, text] = split_pair(entry, "param");
    params[name] = value_of_text(text);
  }
  if (params.empty()) arguments.require("param");
  study_of(arguments).enqueue_trial(params, {.skip_if_exists = arguments.has("skip-if-exists")});
}

const std::vector<Action>& actions() {
  static const std::vector<Action> list = {
      {"create",
       "Makes a study and prints its name.",
       {kNewStorage,
        {"study", "NAME", "its name [a unique one]"},
        {"direction", "LIST", "minimize or maximize; several, for several objectives, as minimize,maximize [minimize]"},
        {"metric-names", "LIST", "names of the objectives, for tables and Optuna's dashboard"},
        {"load-if-exists", "", "leave a study of that name as it is"}},
       create},
      {"list",
       "Shows the studies of a storage.",
       {kStorage, kFormat},
       [](const Arguments& a, std::ostream& out) { query("list", a, out); }},
      {"show",
       "Shows one study: its trials by state, its best trial.",
       {kStorage, kStudy, kFormat},
       [](const Arguments& a, std::ostream& out) { query("show", a, out); }},
      {"best",
       "Shows the settings of the best trial.",
       {kStorage, kStudy, kFormat},
       [](const Arguments& a, std::ostream& out) { query("best", a, out); }},
      {"trials",
       "Shows all trials.",
       {kStorage, kStudy, kFormat},
       [](const Arguments& a, std::ostream& out) { query("trials", a, out); }},
      {"pareto",
       "Shows the trials that no other beats in all objectives.",
       {kStorage, kStudy, kFormat},
       [](const Arguments& a, std::ostream& out) { query("pareto", a, out); }},
      {"importance",
       "Shows how much each parameter decides about what is reached.",
       {kStorage, kStudy, {"method", "NAME", "ped-anova, fanova or mdi [ped-anova]"}, kFormat},
       importance},
      {"export",
       "Writes all trials as a table in the layout of Optuna's trials_dataframe.",
       {kStorage,
        kStudy,
        {"out", "FILE", "the file to write [standard output]"},
        {"format", "FORMAT", "csv or json [csv]"}},
       export_trials},
      {"copy",
       "Copies a study with all its trials, also to another kind of storage.",
       {kStorage,
        kStudy,
        {"to-storage", "URL", "where to [the same storage]"},
        {"to-study", "NAME", "the copy's name [the same]"},
        {"extend-choices", "NAME=LIST", "choices to add to a categorical parameter; may be repeated", true}},
       copy},
      {"delete", "Deletes a study with all its trials.", {kStorage, {"study", "NAME", "which study"}}, remove},
      {"enqueue",
       "Puts a trial with the given parameters in the queue that workers take from first.",
       {kStorage,
        kStudy,
        {"param", "NAME=VALUE", "one parameter; may be repeated", true},
        {"params", "JSON", "several, such as '{\"lr\": 0.1}'"},
        {"skip-if-exists", "", "do nothing when a trial has these parameters already"}},
       enqueue},
  };
  return list;
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
  } else if (query.action == "pareto") {
    list_trials(query, study.best_trials(), out);
  } else if (query.action == "best") {
    show_best(query, study, out);
  } else {
    list_trials(query, study.trials(), out);
  }
}

std::string study_help(const std::string& action) {
  std::string out;
  for (const auto& entry : actions()) {
    if (entry.name != action) continue;
    return wrap_text(entry.about, 80) + "\n\nUsage: levin study " + action + " [OPTIONS]\n\nOptions:\n" +
           help_of(entry.options) + help_of({{"help", "", "this text"}});
  }
  out =
      "Looks at studies, the trials that levin tune, levin worker, Optuna and others\n"
      "have run, and looks after them.\n\n"
      "Usage: levin study ACTION [OPTIONS]\n\nActions:\n";
  for (const auto& entry : actions())
    out += "  " + pad_to_width(entry.name, 12) + wrap_text(entry.about, 66, 14) + "\n";
  return out + "\nOptions:\n" +
         help_of({kStorage, kStudy, kFormat, {"help", "", "this text; after an action, its options"}});
}

int run_study(const std::vector<std::string>& arguments, std::ostream& out) {
  const bool help = std::find(arguments.begin(), arguments.end(), "--help") != arguments.end();
  if (arguments.empty() || arguments[0] == "--help") {
    out << study_help();
    return 0;
  }
  std::vector<std::string> names;
  for (const auto& action : actions()) names.push_back(action.name);
  require_choice("action of levin study named", arguments[0], names);
  if (help) {
    out << study_help(arguments[0]);
    return 0;
  }
  const auto& action =
      actions()[static_cast<std::size_t>(std::find(names.begin(), names.end(), arguments[0]) - names.begin())];
  action.run(Arguments("levin study " + action.name, action.options, {arguments.begin() + 1, arguments.end()}), out);
  return 0;
}

}  // namespace levin::app
