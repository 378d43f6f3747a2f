#include <levin/app/help.h>

#include <levin/app/search_methods.h>
#include <levin/app/settings.h>
#include <levin/core/text.h>

#include <algorithm>

namespace levin::app {
namespace {

constexpr std::size_t kLeft = 34;

std::string placeholder_of(const config::Setting& setting) {
  if (!setting.placeholder.empty()) return setting.placeholder;
  switch (setting.type) {
    case config::Type::boolean: return "BOOL";
    case config::Type::integer: return "INT";
    case config::Type::real: return "NUMBER";
    case config::Type::duration: return "TIME";
    default: return "NAME";
  }
}

// "data" rather than "data.path": the short way to say it, where there is one.
std::string shown_name(const config::Setting& setting) {
  for (const auto& alias : setting.aliases) {
    if (alias.find('.') == std::string::npos) return alias;
  }
  return setting.key;
}

std::string choices_of(const config::Setting& setting) {
  std::string out;
  for (const auto& choice : setting.choices) out += (out.empty() ? "" : ", ") + choice;
  return out;
}

std::string line(const std::string& left, const std::string& right, std::size_t width) {
  std::string out = "  " + left;
  if (display_width(out) + 2 > kLeft) {
    out += "\n" + std::string(kLeft, ' ');
  } else {
    out = pad_to_width(out, kLeft);
  }
  return out + wrap_text(right, width - kLeft, kLeft) + "\n";
}

std::string line(const config::Setting& setting, std::size_t width) {
  std::string right = setting.help;
  if (setting.choices.size() > 1) right += " (" + choices_of(setting) + ")";
  const auto& fallback = setting.fallback;
  const bool empty = fallback.is_null() || (fallback.is_list() && fallback.as_list().empty());
  std::string shown = fallback.to_string();
  if (fallback.is_float() && shown.ends_with(".0")) shown.resize(shown.size() - 2);
  if (!empty) right += " [" + shown + "]";
  return line("--" + shown_name(setting) + " " + placeholder_of(setting), right, width);
}

struct Text {
  std::string usage, about, examples;
};

Text text_of(Command command) {
  switch (command) {
    case Command::fit:
      return {
          "levin fit --data FILE --target COLUMN [OPTIONS]",
          "Trains a network on a table. The resolved settings, the metrics and the checkpoints are kept in a folder "
          "under runs/.",
          "  levin fit --data digits.csv --target target\n"
          "  levin fit --config fit.yaml --optimizer.lr 1e-3 --model.widths 256,64\n"};
    case Command::test:
      return {"levin test --ckpt_path FILE --data FILE [OPTIONS]",
              "Measures a trained network on the rows of a table that has the target column.",
              "  levin test --ckpt_path best.ckpt --data new.csv\n"};
    case Command::predict:
      return {"levin predict --ckpt_path FILE --data FILE [--out FILE] [OPTIONS]",
              "Writes what a trained network predicts for each row of a table.",
              "  levin predict --ckpt_path best.ckpt --data new.csv --out predictions.csv\n"};
    case Command::tune:
      return {"levin tune --data FILE --target COLUMN [OPTIONS]",
              "Searches the settings that train the best network. A setting is searched when its value is a "
              "distribution: uniform(LOW,HIGH), loguniform(LOW,HIGH), quniform(LOW,HIGH,STEP), randint(LOW,END), "
              "lograndint(LOW,END) or choice(A,B,...); LOW and HIGH are included, END is not. With none, a space for "
              "tables is searched, without the settings that are given.",
              "  levin tune --data digits.csv --target target --tune.timeout 60s\n"
              "  levin tune --data digits.csv --target target --tune.trials 50 \\\n"
              "      --optimizer.lr 'loguniform(1e-4,1e-1)' --model.layers 'randint(1,4)'\n"};
    case Command::worker: break;  // has options of its own
  }
  return {};
}

}  // namespace

std::string overview() {
  return "Trains and tunes neural networks on tables.\n"
         "\n"
         "Usage: levin COMMAND [OPTIONS]\n"
         "\n"
         "Commands:\n"
         "  fit      train a network on a CSV file\n"
         "  test     measure a trained network on another file\n"
         "  predict  write a trained network's predictions for a file\n"
         "  tune     search the settings that train the best network\n"
         "  worker   work on a study that others work on, too\n"
         "  study    look at studies and look after them: list, show, best, export, ...\n"
         "  ask      begin a trial, for programs in any language\n"
         "  tell     end a trial that was asked for\n"
         "\n"
         "Options:\n"
         "  --help     this text; after a command, all its settings\n"
         "  --version  the version\n"
         "\n"
         "Start with:  levin fit --data digits.csv --target target\n";
}

std::string help_of(Command command, std::size_t width) {
  const Text text = text_of(command);
  std::string out = wrap_text(text.about, width) + "\n\nUsage: " + text.usage + "\n\nOptions:\n";
  out += line("--config FILE", "a YAML file of the settings below; files and options count from left to right", width);
  out += line("--print-config", "print the settings as YAML and stop", width);
  out += line("--help", "this text", width);
  const auto schema = schema_for(command);
  std::string group;
  for (const auto& setting : schema->settings()) {
    if (setting.group() != group) {
      group = setting.group();
      out += "\n" + group + ":\n";
    }
    out += line(setting, width);
  }
  if (command == Command::tune) out += search_methods_help(width);
  return out + "\nDefaults stand in brackets. For instance:\n" + text.examples;
}

}  // namespace levin::app
