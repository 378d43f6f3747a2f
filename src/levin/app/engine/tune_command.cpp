// levin tune: search the settings of a training, and compare the best with the untuned default and a linear model.
#include <levin/app/engine/commands.h>
#include <levin/app/engine/model_file.h>
#include <levin/app/engine/ray_search.h>
#include <levin/app/engine/tabular_search.h>
#include <levin/app/search.h>
#include <levin/app/study_options.h>
#include <levin/app/training_study.h>
#include <levin/app/work_loop.h>
#include <levin/core/atomic_file.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/progress_bar.h>
#include <levin/core/text_table.h>
#include <levin/core/yaml.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>

namespace levin::app {
namespace {

/** The searched settings' defaults, as far as they lie in the space. */
Map defaults_within(const std::vector<SearchedSetting>& searched) {
  Map defaults;
  for (const auto& entry : searched) {
    const Value& fallback = schema_for(Command::tune)->at(entry.key).fallback;
    const bool fits =
        entry.distribution.is_categorical()
            ? std::count(entry.distribution.choices().begin(), entry.distribution.choices().end(), fallback) > 0
            : fallback.is_number() && entry.distribution.contains(fallback.as_double());
    if (fits) defaults[entry.key] = fallback;
  }
  return defaults;
}

/** The same data and budget for a model without hidden layers. */
Map linear(Map config) {
  for (const char* group : {"model", "optimizer", "scheduler"}) {
    for (const auto& setting : schema_for(Command::tune)->settings()) {
      if (setting.group() == group) set_nested(config, setting.key, setting.fallback);
    }
  }
  set_nested(config, "model.layers", 0);
  set_nested(config, "data.noise", 0.0);
  set_nested(config, "data.mixup", 0.0);
  set_nested(config, "optimizer.lr", 0.01);
  return config;
}

// The storage's URL; with a path that means the same in every folder where others use it, too.
std::string shared_url(const std::string& given, const Settings& fixed) {
  std::string url = storage_url(given, false);
  if (!fixed.tune.ray.address) return url;
  for (const std::string scheme : {"sqlite:///", "journal:///"}) {
    if (!url.starts_with(scheme)) continue;
    url = scheme + std::filesystem::absolute(url.substr(scheme.size())).lexically_normal().string();
    if (scheme == "sqlite:///") {
      console::warning("an SQLite file serves the nodes of a cluster only where they are one machine: "
                       "elsewhere give --tune.storage a PostgreSQL server, or a journal on a shared file system");
    }
  }
  return url;
}

// For `levin worker`, which knows the study alone.
void describe_for_others(tune::Study& study, Map config, const std::string& data) {
  set_nested(config, "data.path", std::filesystem::absolute(data).lexically_normal().string());
  const TrainingStudy training{.config = std::move(config), .data = fingerprint(data)};
  const auto known = training_of(study);
  if (known && known->data != training.data) {
    console::warning("this study began with another table (" + known->data + "; now " + training.data +
                     "): its values may not compare");
  }
  describe(study, training);
}

}  // namespace

int run_tune(const Request& request) {
  TabularSearch search(request.config, searched_settings(request.config, request.provenance));
  // Rows with embedded texts cannot be blended.
  if (!search.base_data()->preprocessor.cardinalities().empty() && !request.provenance.contains("data.mixup")) {
    search.leave_out("data.mixup");
  }
  const Settings& fixed = search.fixed();
  const Map config = with_distributions(search.base(), search.searched());
  const Goal& goal = search.goal();

  if (fixed.tune.ray.address) check_ray(fixed);
  const std::string folder = make_run_folder(request, fixed, config);
  const std::string storage = shared_url(fixed.tune.storage.value_or("sqlite:///" + folder + "/study.db"), fixed);
  const std::string study_name =
      fixed.tune.study_name.value_or(fixed.name.empty() ? "tune-" + stem(fixed.data.path) : fixed.name);
  auto study = search.open_study(storage, study_name, "");
  study.set_user_attr("metric", goal.metric);
  describe_for_others(study, config, fixed.data.path);
  const std::size_t before = study.trials({tune::TrialState::complete}).size();
  std::string budget = fixed.tune.trials ? std::to_string(*fixed.tune.trials) + " trials" : "";
  if (fixed.tune.timeout) budget += (budget.empty() ? "" : " or ") + format_duration(*fixed.tune.timeout);
  console::info("tuning " + goal.metric + " of \"" + fixed.target + "\" (" +
                std::string(name_of(search.base_data()->problem)) + ", " +
                std::to_string(search.base_data()->train.size()) + " training rows) over " +
                std::to_string(search.searched().size()) + " settings, for " + budget +
                (before > 0 ? "; the study goes on after " + std::to_string(before) + " complete trials" : ""));

  // The defaults are tried first, so that a search never ends below them.
  if (study.snapshot().by_number().empty() && fixed.tune.sampler != "grid") {
    study.enqueue_trial(defaults_within(search.searched()));
  }

  // The best model so far lies on the disk at any moment.
  std::mutex best_mutex;
  std::optional<double> best_value;
  std::string best_path;
  if (before > 0) best_value = study.best_value();
  const auto keep_if_best = [&](tune::Trial& trial, Outcome& outcome) {
    const std::scoped_lock lock(best_mutex);
    if (best_value && !better(*outcome.best->value(), *best_value, goal.mode)) return;
    const std::string path = folder + "/checkpoints/trial-" + std::to_string(trial.number()) + ".ckpt";
    outcome.trainer->save_checkpoint(path, /*weights_only=*/true);
    trial.set_user_attr("checkpoint", path);
    if (!best_path.empty()) std::filesystem::remove(best_path);
    best_value = outcome.best->value();
    best_path = path;
  };

  std::optional<std::int64_t> until;
  if (fixed.tune.trials) until = count_finished(study.snapshot()) + *fixed.tune.trials;
  if (fixed.tune.ray.address) {
    work_on_ray(study, search, storage, until, request.executable);
  } else {
    work_on(study,
            {.until = until,
             .timeout = fixed.tune.timeout,
             .n_jobs = fixed.tune.jobs,
             .show_table = fixed.trainer.enable_progress_bar},
            [&](tune::Trial& trial, std::size_t slot) {
              return search.run(trial, device_of(fixed.tune.devices, slot), keep_if_best);
            });
  }

  const auto trials = study.trials();
  std::map<tune::TrialState, std::size_t> counts;
  for (const auto& trial : trials) ++counts[trial.state];
  std::cout << '\n'
            << trials.size() << " trials: " << counts[tune::TrialState::complete] << " complete, "
            << counts[tune::TrialState::pruned] << " pruned, " << counts[tune::TrialState::fail] << " failed\n";
  if (counts[tune::TrialState::complete] == 0) {
    console::warning(
        "no trial was completed: give more time with --tune.timeout, or look at levin study trials --storage " +
        shell_word(storage));
    return interrupt_requested() ? kInterrupted : 1;
  }
  const auto best = study.best_trial();
  TextTable params({"best hyperparameter", "value"});
  Map best_config = search.base();
  for (const auto& [name, value] : study.best_params()) {
    params.add_row({name, value.is_float() ? show(value.as_double()) : value.to_string()});
    set_nested(best_config, name, value);
  }
  std::cout << '\n' << params.to_string();
  write_file_atomically(folder + "/best.yaml", to_yaml(best_config));

  const bool interrupted = interrupt_requested();
  request_interrupt(false);  // what follows takes a second; the next Ctrl-C still ends it
  TextTable comparison(
      search.base_data()->problem == Problem::regression
          ? std::vector<std::string>{"model", "val rmse", "val r2", "test rmse", "test r2"}
          : std::vector<std::string>{"model", "val accuracy", "val loss", "test accuracy", "test loss"});
  const auto add_row = [&](const std::string& name, TabularModule& model, const PreparedData& data) {
    TrainerOptions options = trainer_options(fixed);
    options.enable_progress_bar = false;
    Trainer trainer(options);
    const Map val = data.val.defined() ? trainer.validate(model, eval_loader(data.val), {.verbose = false}) : Map();
    const Map test = data.test.defined() ? trainer.test(model, eval_loader(data.test), {.verbose = false}) : Map();
    const auto cell = [](const Map& metrics, const std::string& key) {
      const Value* value = metrics.find(key);
      return show(value ? std::optional(value->as_double()) : std::nullopt);
    };
    const bool numbers = data.problem == Problem::regression;
    const std::string first = numbers ? "rmse" : "acc", second = numbers ? "r2" : "loss";
    comparison.add_row({name, cell(val, "val_" + first), cell(val, "val_" + second), cell(test, "test_" + first),
                        cell(test, "test_" + second)});
  };
  const Value* kept = best.user_attrs.find("checkpoint");
  std::string checkpoint = kept ? kept->as_string() : "";
  if (!interrupted && (checkpoint.empty() || !std::filesystem::exists(checkpoint))) {
    // Another worker found it, and its model did not come here. The seed is the same, so is the model.
    console::info("training the settings of trial " + std::to_string(best.number) + " again for their model");
    checkpoint = folder + "/checkpoints/trial-" + std::to_string(best.number) + ".ckpt";
    const Outcome again = search.train(best_config, {.seed = search.seed_of(best)});
    again.trainer->save_checkpoint(checkpoint, /*weights_only=*/true);
  }
  if (!checkpoint.empty() && std::filesystem::exists(checkpoint)) {
    LoadedModel tuned = load_model(checkpoint);
    add_row("tuned (trial " + std::to_string(best.number) + ")", *tuned.module, *search.data(tuned.config));
  }
  if (!interrupted) {
    for (const auto& [name, settings] :
         {std::pair<std::string, Map>{"untuned default", search.base()}, {"linear baseline", linear(search.base())}}) {
      try {
        Outcome outcome = search.train(settings, {.seed = fixed.seed});
        add_row(name, *outcome.model, *outcome.data);
      } catch (const Error& error) {
        console::warning(name + ": " + error.what());
      }
    }
  }
  if (!comparison.empty()) std::cout << '\n' << comparison.to_string();

  const std::string program = shell_word(request.executable.string());
  std::cout << "\nbest checkpoint  " << (checkpoint.empty() ? "none" : checkpoint) << "\nbest settings    " << folder
            << "/best.yaml\n\nnext:\n  " << program << " predict --ckpt_path " << shell_word(checkpoint)
            << " --data NEW.csv --out pred.csv\n  " << program << " study trials --storage " << shell_word(storage)
            << " --study " << shell_word(study_name) << "\n  " << program << " tune --data "
            << shell_word(fixed.data.path) << " --target " << shell_word(fixed.target) << " --tune.storage "
            << shell_word(storage) << " --tune.study_name " << shell_word(study_name) << "    # search on\n  "
            << program << " fit --config " << shell_word(folder + "/best.yaml") << "\n";
  return interrupted ? kInterrupted : 0;
}

}  // namespace levin::app
