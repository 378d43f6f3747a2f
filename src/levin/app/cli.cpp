#include <levin/app/cli.h>

#include <levin/app/ask_command.h>
#include <levin/app/engine_loader.h>
#include <levin/app/help.h>
#include <levin/app/search.h>
#include <levin/app/search_methods.h>
#include <levin/app/settings.h>
#include <levin/app/study_command.h>
#include <levin/app/worker_command.h>
#include <levin/core/config.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/yaml.h>

#include <array>
#include <ostream>

namespace levin::app {
namespace {

constexpr std::array kCommands = {Command::fit, Command::test, Command::predict, Command::tune};

// Where a distribution may stand: in `tune` it is taken as it is, elsewhere it is an error with a reason.
bool take_distribution(Command command, const config::Setting& setting, const std::string& text) {
  if (command == Command::tune) return is_distribution_for(setting, text);
  bool distribution = false;
  try {
    distribution = is_distribution_for(setting, text);
  } catch (const Error&) {
    return false;  // no value either: the setting's own error says what it takes
  }
  if (!distribution) return false;
  throw Error({.what = setting.key + " is a distribution, which only levin tune can search",
               .value = "\"" + text + "\"",
               .where = {},
               .hint = "give a value, or run levin tune"});
}

struct Invocation {
  config::Config config;
  bool print_config = false;
  bool help = false;
};

Invocation parse(Command command, const std::vector<std::string>& arguments) {
  config::Rules rules;
  rules.takes_text = [command](const config::Setting& setting, const std::string& text) {
    return take_distribution(command, setting, text);
  };
  rules.passes_over = known_to_any_command;
  Invocation invocation{config::Config(schema_for(command), std::move(rules))};
  auto& settings = invocation.config;
  const auto& schema = settings.schema();

  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    if (argument == "--help" || argument == "-h") {
      invocation.help = true;
      return invocation;
    }
    if (argument == "--print-config" || argument == "--print_config") {
      invocation.print_config = true;
      continue;
    }
    if (!argument.starts_with("--") || argument.size() == 2) {
      throw Error(
          {.what = "unexpected argument",
           .value = "\"" + argument + "\"",
           .where = {},
           .hint = argument.ends_with(".csv") ? "write --data " + argument : "settings are written --NAME VALUE"});
    }
    const auto equals = argument.find('=');
    const std::string name = argument.substr(2, equals == std::string::npos ? equals : equals - 2);
    const bool last = i + 1 == arguments.size() || arguments[i + 1].starts_with("--");
    const config::Setting* setting = schema.find(name);
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (!last) {
      value = arguments[++i];
    } else if (setting != nullptr && setting->type == config::Type::boolean) {
      value = "true";
    } else if (setting != nullptr || name == "config") {
      throw Error({.what = "--" + name + " needs a value",
                   .value = {},
                   .where = "command line",
                   .hint = setting != nullptr ? "it takes " + setting->takes() : "it takes a YAML file"});
    }
    if (name == "config") {
      settings.read_yaml(value);
    } else if (setting == nullptr && known_to_any_command(name) && !schema.has_group(name)) {
      throw Error({.what = "levin " + std::string(name_of(command)) + " has no setting \"" + name + "\"",
                   .value = {},
                   .where = "command line",
                   .hint = "other commands have it; see levin " + std::string(name_of(command)) + " --help"});
    } else {
      settings.set(name, value);
    }
  }
  return invocation;
}

void require(const config::Config& settings, Command command, const std::string& name, const std::string& placeholder) {
  if (!settings.get(name).is_null()) return;
  throw Error({.what = "levin " + std::string(name_of(command)) + " needs --" + name + " " + placeholder,
               .value = {},
               .where = {},
               .hint = "see levin " + std::string(name_of(command)) + " --help"});
}

int run_command(Command command, const std::vector<std::string>& arguments, const std::vector<std::string>& whole_line,
                std::ostream& out) {
  const Invocation invocation = parse(command, arguments);
  const auto& settings = invocation.config;
  if (invocation.help) {
    out << help_of(command);
    return 0;
  }
  Request request{.command = command,
                  .config = settings.to_map(),
                  .provenance = {},
                  .arguments = whole_line,
                  .executable = this_executable()};
  for (const auto& setting : settings.schema().settings()) {
    if (settings.is_set(setting.key)) request.provenance[setting.key] = settings.where(setting.key);
  }
  std::vector<SearchedSetting> searched;
  if (command == Command::tune) searched = searched_settings(request.config, request.provenance);
  if (invocation.print_config) {
    out << to_yaml(with_distributions(request.config, searched));
    return 0;
  }
  // What needs no training part to be seen is said before it is opened.
  require(settings, command, "data", "FILE");
  const bool trains = command == Command::fit || command == Command::tune;
  require(settings, command, trains ? "target" : "ckpt_path", trains ? "COLUMN" : "FILE");
  require_file(settings.get<std::string>("data"));
  if (settings.schema().find("ckpt_path") != nullptr && !settings.get("ckpt_path").is_null()) {
    require_file(settings.get<std::string>("ckpt_path"));
  }
  if (command == Command::tune) {
    const Settings fixed = read_fixed_settings(request.config);
    sampler_of(fixed, searched);
    pruner_of(fixed);
  } else {
    read_settings(request.config);
  }
  for (const auto& warning : settings_without_effect(settings)) console::warning(warning);
  return run_engine(request);
}

int dispatch(const std::vector<std::string>& arguments, std::ostream& out) {
  const std::string first = arguments.empty() ? "--help" : arguments[0];
  std::vector<std::string> rest(arguments.begin() + (arguments.empty() ? 0 : 1), arguments.end());
  if (first == "--help" || first == "-h" || first == "help") {
    if (!rest.empty()) {
      rest.emplace_back("--help");
      return dispatch(rest, out);
    }
    out << overview();
    return 0;
  }
  if (first == "--version") {
    out << "levin " LEVIN_VERSION "\n";
    return 0;
  }
  if (first == "study") return run_study(rest, out);
  if (first == "ask") return run_ask(rest, out);
  if (first == "tell") return run_tell(rest, out);
  if (first == "worker") return run_worker(rest, out);
  std::vector<std::string> names;
  for (const Command command : kCommands) {
    if (first == name_of(command)) return run_command(command, rest, arguments, out);
    names.emplace_back(name_of(command));
  }
  for (const char* name : {"worker", "study", "ask", "tell"}) names.emplace_back(name);
  const bool is_option = first.starts_with("-");
  throw Error({.what = is_option ? "the first argument must be a command" : "there is no command \"" + first + "\"",
               .value = is_option ? "\"" + first + "\"" : "",
               .where = {},
               .hint = is_option ? "such as levin fit " + first : did_you_mean(first, names)});
}

}  // namespace

int run(const std::vector<std::string>& arguments, std::ostream& out, std::ostream& err) {
  try {
    return dispatch(arguments, out);
  } catch (const Error& error) {
    err << "levin: error: " << error.what() << '\n';
    return 2;
  } catch (const std::exception& error) {
    err << "levin: error: " << error.what() << '\n';
    return 1;
  }
}

}  // namespace levin::app
