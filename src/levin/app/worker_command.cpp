#include <levin/app/worker_command.h>

#include <levin/app/command_objective.h>
#include <levin/app/study_options.h>
#include <levin/app/trial_board.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/json.h>
#include <levin/tune/pruners/registry.h>
#include <levin/tune/study.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <ostream>
#include <random>
#include <thread>

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

}  // namespace

int run_worker(const std::vector<std::string>& arguments, std::ostream& out) {
  if (std::find(arguments.begin(), arguments.end(), "--help") != arguments.end()) {
    out << "Works on a study: takes trials, runs a program for each, tells what came of it.\n"
           "Any number of workers, on any machine that reaches the storage, may join and\n"
           "leave.\n\n"
           "Usage: levin worker --storage URL --study NAME [OPTIONS]\n\nOptions:\n"
        << help_of(worker_options())
        << "\nThe program writes its result as the last line of its output, a number or\n"
           "{\"value\": X}; lines {\"step\": N, \"value\": X} on the way are reports. It finds\n"
           "LEVIN_PARAMS, LEVIN_TRIAL_NUMBER and LEVIN_CHECKPOINT_DIR in its environment.\n"
           "Ctrl-C ends the programs and puts their trials back in the queue.\n\nFor instance:\n"
           "  levin worker --storage study.db --study s --trials 20 \\\n"
           "      --command 'python train.py --lr {lr}' --param 'lr=loguniform(1e-4,1e-1)'\n";
    return 0;
  }
  const Arguments given("levin worker", worker_options(), arguments);
  const std::string storage = storage_url(given.require("storage"), false);
  const auto devices = split_list(given.get("devices"));
  const auto n_jobs =
      given.integer("jobs", 1).value_or(std::max<std::int64_t>(1, static_cast<std::int64_t>(devices.size())));
  const auto seed = given.integer("seed", 0);
  Map pruner_options;
  for (const auto& entry : given.all("pruner-option")) {
    const auto [name, text] = split_pair(entry, "pruner-option");
    pruner_options[name] = value_of_text(text);
  }
  auto study =
      tune::create_study({.storage = storage,
                          .sampler = sampler_named(given.get("sampler", "tpe"),
                                                   seed ? static_cast<std::uint64_t>(*seed) : std::random_device{}()),
                          .pruner = tune::make_pruner(given.get("pruner", "median"), pruner_options),
                          .study_name = given.require("study"),
                          .load_if_exists = true,
                          .directions = directions_of(given.get("direction")),
                          .heartbeat = tune::HeartbeatOptions{.interval = given.duration("heartbeat").value_or(60),
                                                              .max_retry = given.integer("max-retry", -1).value_or(1)},
                          .checkpoint_dir = given.get("checkpoint-dir")});
  std::string command = given.get("command"), space;
  if (given.has("param")) {
    Map texts;
    for (const auto& [name, distribution] : space_of(given.all("param"))) texts[name] = distribution.to_text();
    space = to_json(texts);
  }
  command = agreed(study, kCommandAttr, command, "--command 'PROGRAM --lr {lr}'");
  space = agreed(study, kSpaceAttr, space, "--param 'lr=loguniform(1e-4,1e-1)'");
  const CommandObjective objective(command, space_of_attr(space));
  const Map known = study.system_attrs();
  if (!known.contains(kCommandAttr)) study.set_system_attr(kCommandAttr, command);
  if (!known.contains(kSpaceAttr)) study.set_system_attr(kSpaceAttr, space);

  const auto n_trials = given.integer("trials", 0), until = given.integer("until", 1);
  const auto timeout = given.duration("timeout");
  const InterruptGuard guard;
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); };
  std::atomic<std::int64_t> started{0};
  TrialBoard board(study, {.n_trials = n_trials, .timeout = timeout});
  std::mutex mutex;
  std::exception_ptr failure;
  const auto reached = [&] {
    if (!until) return false;
    const auto trials = study.trials();
    return std::count_if(trials.begin(), trials.end(), [](const auto& t) { return is_finished(t.state); }) >= *until;
  };
  const auto work = [&](std::size_t slot) {
    std::vector<std::string> environment;
    if (!devices.empty()) environment.push_back("CUDA_VISIBLE_DEVICES=" + devices[slot % devices.size()]);
    try {
      while (!interrupt_requested() && !(timeout && elapsed() >= *timeout) && !reached()) {
        if (n_trials && started.fetch_add(1) >= *n_trials) return;
        auto trial = study.ask();
        board.begin(trial.frozen());
        tune::FrozenTrial ended;
        try {
          const auto values = objective(trial, environment, [] { return interrupt_requested(); });
          ended = study.tell(trial, values);
        } catch (const Interrupted&) {
          study.trials();  // writes what is pending
          study.storage()->update_trial(trial.frozen().trial_id, {.state = tune::TrialState::waiting});
          board.drop(trial.number());
          return;
        } catch (const tune::TrialPruned&) {
          ended = study.tell(trial, tune::TrialState::pruned);
        } catch (const Error& error) {
          trial.set_system_attr("fail_reason", error.what());
          ended = study.tell(trial, tune::TrialState::fail);
          console::warning("trial " + std::to_string(ended.number) + " failed: " + error.what());
        }
        board.end(ended);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      request_interrupt();
    }
  };
  {
    std::vector<std::jthread> threads;
    for (std::int64_t i = 1; i < n_jobs; ++i) threads.emplace_back(work, static_cast<std::size_t>(i));
    work(0);
  }
  board.finish();
  if (failure) std::rethrow_exception(failure);
  return interrupt_requested() ? kInterrupted : 0;
}

}  // namespace levin::app
