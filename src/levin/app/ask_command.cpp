#include <levin/app/ask_command.h>

#include <levin/app/study_options.h>
#include <levin/core/error.h>
#include <levin/core/json.h>
#include <levin/core/yaml.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <charconv>
#include <ostream>
#include <random>

namespace levin::app {
namespace {

const std::vector<std::string> kFormats = {"json", "yaml", "env"};

std::vector<Option> ask_options() {
  return {{"storage", "URL", "where the study is kept: sqlite:///FILE, journal:///FILE, postgresql://... or just FILE"},
          {"study", "NAME", "which study; it is made when there is none of this name"},
          {"param", "NAME=DIST", "a parameter and what it is drawn from, such as 'lr=loguniform(1e-4,1e-1)'; repeated",
           true},
          {"direction", "LIST", "the directions of a study that is made: minimize, maximize or a list [minimize]"},
          {"sampler", "NAME", sampler_list() + " [tpe]"},
          {"seed", "INT", "the seed of the sampler [a new one each time]"},
          {"format", "FORMAT", "json, yaml or env (NAME=VALUE for a shell to eval) [json]"},
          {"help", "", "this text"}};
}

std::vector<Option> tell_options() {
  return {{"storage", "URL", "as in levin ask"},
          {"study", "NAME", "which study, where the storage holds several"},
          {"number", "INT", "the trial's number, as ask gave it"},
          {"value", "LIST", "what the objective gave: a number, or several for several objectives"},
          {"state", "STATE", "complete, pruned or fail [judged by the value]"},
          {"report", "STEP=VALUE", "a value on the way, before the trial ends; may be repeated", true},
          {"skip-if-finished", "", "do nothing when the trial has ended already"},
          {"help", "", "this text"}};
}

bool wants_help(const std::vector<std::string>& arguments) {
  return std::any_of(arguments.begin(), arguments.end(),
                     [](const std::string& argument) { return argument == "--help" || argument == "-h"; });
}

// A parameter's name as a shell variable: "model.lr" becomes "model_lr".
std::string variable(const std::string& name) {
  std::string out;
  for (const char c : name) out += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return !out.empty() && std::isdigit(static_cast<unsigned char>(out[0])) != 0 ? "_" + out : out;
}

double number_of(const std::string& text, const std::string& option) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  throw Error(
      {.what = "--" + option + " takes numbers", .value = "\"" + text + "\"", .where = "command line", .hint = {}});
}

}  // namespace

int run_ask(const std::vector<std::string>& arguments, std::ostream& out) {
  if (wants_help(arguments)) {
    out << "Begins a trial and prints its number and its parameters. The program that runs\n"
           "it ends it with levin tell.\n\nUsage: levin ask --storage URL --study NAME --param NAME=DIST... "
           "[OPTIONS]\n\n"
           "Options:\n"
        << help_of(ask_options())
        << "\nFor instance:\n"
           "  eval \"$(levin ask --storage s.db --study s --format env \\\n"
           "      --param 'x=uniform(0,1)')\"\n"
           "  levin tell --storage s.db --study s --number $number --value $(./run $x)\n";
    return 0;
  }
  const Arguments given("levin ask", ask_options(), arguments);
  const std::string format = given.get("format", "json");
  require_choice("format", format, kFormats);
  const auto space = space_of(given.all("param"));
  const std::string storage = storage_url(given.require("storage"), false);
  const auto seed = given.integer("seed", 0);
  auto study =
      tune::create_study({.storage = storage,
                          .sampler = sampler_named(given.get("sampler", "tpe"),
                                                   seed ? static_cast<std::uint64_t>(*seed) : std::random_device{}()),
                          .study_name = given.require("study"),
                          .load_if_exists = true,
                          .directions = directions_of(given.get("direction"))});
  const auto trial = study.ask(space);
  study.trials();  // what was drawn is written before it is shown
  Map params = trial.params();
  const Map attrs = trial.system_attrs();
  // What was enqueued counts even where no distribution is given for it.
  if (const Value* fixed = attrs.find("fixed_params"); fixed != nullptr && fixed->is_map()) {
    for (const auto& [name, value] : fixed->as_map()) {
      if (!params.contains(name)) params[name] = value;
    }
  }
  if (format == "env") {
    out << "number=" << trial.number() << '\n';
    for (const auto& [name, value] : params) out << variable(name) << '=' << shell_quoted(value.to_string()) << '\n';
    return 0;
  }
  const Map answer{{"number", trial.number()}, {"params", std::move(params)}};
  out << (format == "json" ? to_json(answer) + "\n" : to_yaml(answer));
  return 0;
}

int run_tell(const std::vector<std::string>& arguments, std::ostream& out) {
  if (wants_help(arguments)) {
    out << "Ends a trial that levin ask (or Optuna's ask) began, or reports a value on its\nway.\n\n"
           "Usage: levin tell --storage URL --number INT --value LIST [OPTIONS]\n\nOptions:\n"
        << help_of(tell_options());
    return 0;
  }
  const Arguments given("levin tell", tell_options(), arguments);
  const std::int64_t number = [&] {
    given.require("number");
    return *given.integer("number", 0);
  }();
  const auto reports = given.all("report");
  if (!given.has("value") && !given.has("state") && reports.empty()) given.require("value");
  auto study = tune::load_study({.study_name = given.get("study"), .storage = storage_url(given.require("storage"))});
  if (!reports.empty()) {
    const auto trials = study.trials();
    if (std::cmp_greater_equal(number, trials.size())) {
      throw Error({.what = "there is no such trial in study \"" + study.study_name() + "\"",
                   .value = std::to_string(number),
                   .where = {},
                   .hint = {}});
    }
    tune::TrialUpdate update;
    for (const auto& report : reports) {
      const auto [step, value] = split_pair(report, "report");
      std::int64_t at = -1;
      const auto [end, error] = std::from_chars(step.data(), step.data() + step.size(), at);
      if (error != std::errc() || end != step.data() + step.size() || at < 0) {
        throw Error({.what = "--report takes STEP=VALUE with a step from 0 on",
                     .value = "\"" + report + "\"",
                     .where = "command line",
                     .hint = {}});
      }
      update.intermediate_values.emplace_back(at, number_of(value, "report"));
    }
    study.storage()->update_trial(trials[static_cast<std::size_t>(number)].trial_id, update);
  }
  tune::TellOptions options{.skip_if_finished = given.has("skip-if-finished")};
  const std::string state = given.get("state");
  if (!state.empty()) {
    require_choice("state", state, {"complete", "pruned", "fail"});
    options.state = state == "complete" ? tune::TrialState::complete
                    : state == "pruned" ? tune::TrialState::pruned
                                        : tune::TrialState::fail;
  }
  if (given.has("value")) {
    std::vector<double> values;
    for (const auto& text : split_list(given.get("value"))) values.push_back(number_of(text, "value"));
    study.tell(number, values, options);
  } else if (options.state) {
    study.tell(number, *options.state, options);
  }
  return 0;
}

}  // namespace levin::app
