#include <levin/app/worker_command.h>

#include <levin/app/command_objective.h>
#include <levin/app/engine_loader.h>
#include <levin/app/settings.h>
#include <levin/app/study_options.h>
#include <levin/app/training_study.h>
#include <levin/app/work_loop.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/json.h>
#include <levin/tune/pruners/registry.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <optional>
#include <ostream>
#include <random>

namespace levin::app {
namespace {

constexpr int kInterrupted = 130;
constexpr const char* kCommandAttr = "levin:command";
constexpr const char* kSpaceAttr = "levin:space";

std::string pruner_names() {
  std::string out;
  for (const auto& info : tune::pruner_infos()) out += (out.empty() ? "" : ", ") + info.name;
  return out;
}

std::vector<Option> worker_options() {
  return {{"storage", "URL", "where the study is kept: sqlite:///FILE, journal:///FILE, postgresql://... or just FILE"},
          {"study", "NAME", "which study; it is made when there is none of this name"},
          {"command", "TEXT",
           "the program to run for each trial, with {NAME} for parameter NAME; by default the one "
           "that the study's first worker was given"},
          {"param", "NAME=DIST", "a parameter and what it is drawn from, such as 'lr=loguniform(1e-4,1e-1)'; repeated",
           true},
          {"direction", "LIST", "the directions of a study that is made: minimize, maximize or a list [minimize]"},
          {"trials", "INT", "how many trials this worker runs [no limit]"},
          {"until", "INT", "stop when the study has so many finished trials, whoever ran them"},
          {"timeout", "TIME", "start no trial after this time, such as 90s, 10m or 1h30m"},
          {"jobs", "INT", "how many trials run at once [1, or one for each device]"},
          {"devices", "LIST", "GPUs, as CUDA_VISIBLE_DEVICES names them; each trial gets one"},
          {"data", "FILE", "where the table of levin tune lies on this machine [where it lay there]"},
          {"call-off", "NAME", "leave once the study has a system attribute of this name"},
          {"sampler", "NAME", sampler_list() + " [tpe]"},
          {"pruner", "NAME", pruner_names() + " [median]"},
          {"pruner-option", "NAME=VALUE", "an option of the pruner, such as n_startup_trials=10; repeated", true},
          {"seed", "INT", "the seed of the sampler [a new one]"},
          {"heartbeat", "TIME", "time between signs of life [60s]"},
          {"max-retry", "INT", "how often a trial whose worker died is run again [1]"},
          {"checkpoint-dir", "FOLDER", "where trials keep their checkpoints [beside the storage's file]"},
          {"help", "", "this text"}};
}

// What the first worker was told is kept with the study, so that others can join by its name alone.
std::string agreed(const tune::Study& study, const std::string& name, const std::string& mine, const char* option) {
  const Map attrs = study.system_attrs();
  const Value* known = attrs.find(name);
  if (!mine.empty()) return mine;
  if (known != nullptr && known->is_string()) return known->as_string();
  throw Error({.what = "this study has no worker yet, so this one must be told what to run",
               .value = {},
               .where = "study \"" + study.study_name() + "\"",
               .hint = std::string("add ") + option});
}

tune::SearchSpace space_of_attr(const std::string& text) {
  std::vector<std::string> params;
  const Value parsed = parse_json(text);
  for (const auto& [name, distribution] : parsed.as_map()) params.push_back(name + "=" + distribution.as_string());
  return space_of(params);
}

// What the study trains, if it is there and one of `levin tune`.
std::optional<TrainingStudy> training_at(const std::string& storage, const std::string& name) {
  const auto opened = tune::open_storage(storage);
  const auto id = opened->find_study(name);
  if (!id) return std::nullopt;
  return training_of(tune::load_study({.study_name = name, .storage = opened}));
}

int join_training(const Arguments& given, TrainingStudy training, JoinRequest join) {
  for (const char* option :
       {"command", "param", "direction", "sampler", "pruner", "pruner-option", "seed", "heartbeat", "max-retry"}) {
    if (!given.has(option)) continue;
    throw Error({.what = "this study trains what levin tune was told, and takes no --" + std::string(option),
                 .value = given.get(option),
                 .where = "study \"" + join.study_name + "\"",
                 .hint = "leave it out, or work on another study"});
  }
  if (given.has("data")) set_nested(training.config, "data.path", given.get("data"));
  const std::string path = find_nested(training.config, "data.path")->as_string();
  if (const std::string mine = fingerprint(path); mine != training.data) {
    throw Error({.what = "this is not the table that the study is about",
                 .value = mine + " instead of " + training.data,
                 .where = path,
                 .hint = "copy the table that levin tune was given, and name it with --data"});
  }
  return run_engine({.command = Command::worker,
                     .config = std::move(training.config),
                     .provenance = {},
                     .arguments = {},
                     .executable = this_executable(),
                     .join = std::move(join)});
}

int run_programs(const Arguments& given, const std::string& storage, const std::string& name,
                 const std::vector<std::string>& devices, const WorkOptions& options) {
  if (given.has("data")) {
    throw Error({.what = "only a study of levin tune takes --data",
                 .value = given.get("data"),
                 .where = "study \"" + name + "\"",
                 .hint = "write the file into --command"});
  }
  const auto seed = given.integer("seed", 0);
  Map pruner_options;
  for (const auto& entry : given.all("pruner-option")) {
    const auto [key, text] = split_pair(entry, "pruner-option");
    pruner_options[key] = value_of_text(text);
  }
  auto study =
      tune::create_study({.storage = storage,
                          .sampler = sampler_named(given.get("sampler", "tpe"),
                                                   seed ? static_cast<std::uint64_t>(*seed) : std::random_device{}()),
                          .pruner = tune::make_pruner(given.get("pruner", "median"), pruner_options),
                          .study_name = name,
                          .load_if_exists = true,
                          .directions = directions_of(given.get("direction")),
                          .heartbeat = tune::HeartbeatOptions{.interval = given.duration("heartbeat").value_or(60),
                                                              .max_retry = given.integer("max-retry", -1).value_or(1)},
                          .checkpoint_dir = given.get("checkpoint-dir")});
  std::string command = given.get("command"), space;
  if (given.has("param")) {
    Map texts;
    for (const auto& [param, distribution] : space_of(given.all("param"))) texts[param] = distribution.to_text();
    space = to_json(texts);
  }
  command = agreed(study, kCommandAttr, command, "--command 'PROGRAM --lr {lr}'");
  space = agreed(study, kSpaceAttr, space, "--param 'lr=loguniform(1e-4,1e-1)'");
  const CommandObjective objective(command, space_of_attr(space));
  const Map known = study.system_attrs();
  if (!known.contains(kCommandAttr)) study.set_system_attr(kCommandAttr, command);
  if (!known.contains(kSpaceAttr)) study.set_system_attr(kSpaceAttr, space);

  const InterruptGuard guard;
  work_on(study, options, [&](tune::Trial& trial, std::size_t slot) {
    std::vector<std::string> environment;
    if (!devices.empty()) environment.push_back("CUDA_VISIBLE_DEVICES=" + devices[slot % devices.size()]);
    return objective(trial, environment, [] { return interrupt_requested(); });
  });
  return interrupt_requested() ? kInterrupted : 0;
}

}  // namespace

int run_worker(const std::vector<std::string>& arguments, std::ostream& out) {
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out << "Works on a study: takes trials, runs a program or a training for each, tells\n"
           "what came of it. Any number of workers, on any machine that reaches the\n"
           "storage, may join and leave.\n\n"
           "Usage: levin worker --storage URL --study NAME [OPTIONS]\n\nOptions:\n"
        << help_of(worker_options())
        << "\nA study of levin tune (--tune.storage, --tune.study_name) is joined by its name\n"
           "alone, while levin tune runs or later; its trials are trainings in this process.\n"
           "\nThe program writes its result as the last line of its output, a number or\n"
           "{\"value\": X}; lines {\"step\": N, \"value\": X} on the way are reports. It finds\n"
           "LEVIN_PARAMS, LEVIN_TRIAL_NUMBER and LEVIN_CHECKPOINT_DIR in its environment.\n"
           "Ctrl-C ends the programs and puts their trials back in the queue.\n\nFor instance:\n"
           "  levin worker --storage study.db --study s --trials 20 \\\n"
           "      --command 'python train.py --lr {lr}' --param 'lr=loguniform(1e-4,1e-1)'\n";
    return 0;
  }
  const Arguments given("levin worker", worker_options(), arguments);
  const std::string storage = storage_url(given.require("storage"), false), name = given.require("study");
  const auto devices = split_list(given.get("devices"));
  const WorkOptions options{
      .n_trials = given.integer("trials", 0),
      .until = given.integer("until", 1),
      .timeout = given.duration("timeout"),
      .n_jobs =
          given.integer("jobs", 1).value_or(std::max<std::int64_t>(1, static_cast<std::int64_t>(devices.size()))),
      .call_off = given.get("call-off")};
  if (auto training = training_at(storage, name)) {
    return join_training(given, std::move(*training),
                         {.storage = storage,
                          .study_name = name,
                          .checkpoint_dir = given.get("checkpoint-dir"),
                          .devices = devices,
                          .work = options});
  }
  return run_programs(given, storage, name, devices, options);
}

}  // namespace levin::app
