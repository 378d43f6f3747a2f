// levin tune: search the settings of a training, and compare the best with the untuned default and a linear model.
#include <levin/app/engine/best_epoch.h>
#include <levin/app/engine/commands.h>
#include <levin/app/engine/model_file.h>
#include <levin/app/search.h>
#include <levin/app/search_methods.h>
#include <levin/app/trial_board.h>
#include <levin/core/atomic_file.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/progress_bar.h>
#include <levin/core/text_table.h>
#include <levin/core/yaml.h>
#include <levin/data/seed.h>
#include <levin/sweep/pruning_callback.h>
#include <levin/train/callbacks/early_stopping.h>
#include <levin/tune/tune.h>

#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>

namespace levin::app {
namespace {

/** Triggers a stop token once Ctrl-C was pressed. */
class InterruptWatch {
 public:
  InterruptWatch()
      : thread_([this](std::stop_token done) {
          while (!done.stop_requested() && !interrupt_requested())
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
          if (!done.stop_requested()) source_.request_stop();
        }) {}
  std::stop_token token() const { return source_.get_token(); }

 private:
  std::stop_source source_;
  std::jthread thread_;
};

/** The metric that trials are judged by, and which way. */
struct Goal {
  std::string metric;
  Mode mode;
};

Goal goal_of(const Settings& settings, Problem problem) {
  const std::string prefix = settings.data.val_fraction > 0 ? "val_" : "train_";
  Goal goal{settings.tune.metric, Mode::min};
  if (goal.metric == "auto") goal.metric = prefix + "loss";
  const bool rises = goal.metric.ends_with("_acc") || goal.metric.ends_with("_r2");
  goal.mode =
      settings.tune.direction == "maximize" || (settings.tune.direction == "auto" && rises) ? Mode::max : Mode::min;
  std::vector<std::string> known{"train_loss"};
  if (prefix == "val_") {
    known.push_back("val_loss");
    for (const char* name : {"val_acc", "val_rmse", "val_r2"}) {
      if ((problem == Problem::regression) != (std::string_view(name) == "val_acc")) known.push_back(name);
    }
  }
  if (std::find(known.begin(), known.end(), goal.metric) == known.end()) {
    throw Error({.what = "no training logs this metric",
                 .value = "\"" + goal.metric + "\"",
                 .where = "tune.metric",
                 .hint = did_you_mean(goal.metric, known)});
  }
  return goal;
}

/** Tables prepared in the ways that trials ask for, each once. */
class DataCache {
 public:
  explicit DataCache(Table table) : table_(std::move(table)) {}

  std::shared_ptr<const PreparedData> get(const Settings& settings) {
    const DataSettings& d = settings.data;
    const std::string key = d.categorical + "/" + d.missing + "/" + (d.standardize ? "1" : "0");
    const std::scoped_lock lock(mutex_);
    auto& entry = prepared_[key];
    if (!entry) entry = std::make_shared<const PreparedData>(prepare(table_, settings));
    return entry;
  }

 private:
  Table table_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const PreparedData>> prepared_;
};

/** One finished training: its model with the best epoch's weights, and how it did. */
struct Outcome {
  std::unique_ptr<TabularModule> model;
  std::shared_ptr<const PreparedData> data;
  BestEpoch best;
  std::unique_ptr<Trainer> trainer;
};

/** Trains one configuration; `callbacks` see its epochs. Throws Error when the training diverges. */
Outcome train(const Map& config, std::int64_t seed, DataCache& cache, const Goal& goal,
              std::vector<Callback> callbacks) {
  const Settings settings = read_settings(config);
  at::set_num_threads(static_cast<int>(settings.trainer.num_threads));
  Outcome out{
      .model = nullptr, .data = cache.get(settings), .best = BestEpoch(goal.metric, goal.mode), .trainer = nullptr};
  {
    // torch's generator is the process's: seeding and drawing the weights must not mix with another trial's.
    static std::mutex generator;
    const std::scoped_lock lock(generator);
    seed_everything(static_cast<std::uint64_t>(seed));
    out.model = make_model(settings, config, *out.data);
  }
  TrainerOptions options = trainer_options(settings);
  options.enable_progress_bar = false;
  options.num_sanity_val_steps = 0;
  options.callbacks = std::move(callbacks);
  options.callbacks.insert(options.callbacks.begin(), out.best);
  if (settings.trainer.early_stopping_patience > 0) {
    options.callbacks.push_back(EarlyStopping({.monitor = settings.data.val_fraction > 0 ? "val_loss" : "train_loss",
                                               .patience = settings.trainer.early_stopping_patience}));
  }
  out.trainer = std::make_unique<Trainer>(options);
  TabularData loaders(out.data, settings.data.batch_size);
  out.trainer->fit(*out.model, loaders);
  if (out.best->diverged() || (!out.best->value() && !out.trainer->interrupted())) {
    throw Error("the training diverged: " + goal.metric + " or its loss is not finite");
  }
  if (out.best->value()) out.best->restore(*out.model);
  return out;
}

/** `config` with every searched setting back at its default. */
Map untuned(Map config, const std::vector<SearchedSetting>& searched) {
  for (const auto& entry : searched) set_nested(config, entry.key, schema_for(Command::tune)->at(entry.key).fallback);
  return config;
}

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

}  // namespace

int run_tune(const Request& request) {
  const Settings fixed = read_fixed_settings(request.config);
  auto searched = searched_settings(request.config, request.provenance);
  const Map base = untuned(request.config, searched);
  DataCache cache(read_csv(fixed.data.path));
  const auto base_data = cache.get(read_settings(base));
  if (!base_data->preprocessor.cardinalities().empty() && !request.provenance.contains("data.mixup")) {
    std::erase_if(searched, [](const SearchedSetting& entry) { return entry.key == "data.mixup"; });
  }
  const Goal goal = goal_of(fixed, base_data->problem);

  const std::string folder = make_run_folder(request, fixed, with_distributions(request.config, searched));
  const std::string storage = fixed.tune.storage.value_or("sqlite:///" + folder + "/study.db");
  const std::string study_name =
      fixed.tune.study_name.value_or(fixed.name.empty() ? "tune-" + stem(fixed.data.path) : fixed.name);
  auto study =
      tune::create_study({.storage = storage,
                          .sampler = sampler_of(fixed, searched),
                          .pruner = pruner_of(fixed),
                          .study_name = study_name,
                          .direction = goal.mode == Mode::max ? tune::Direction::maximize : tune::Direction::minimize,
                          .load_if_exists = true});
  study.set_user_attr("metric", goal.metric);
  const std::size_t before = study.trials({tune::TrialState::complete}).size();
  std::string budget = fixed.tune.trials ? std::to_string(*fixed.tune.trials) + " trials" : "";
  if (fixed.tune.timeout) budget += (budget.empty() ? "" : " or ") + format_duration(*fixed.tune.timeout);
  console::info("tuning " + goal.metric + " of \"" + fixed.target + "\" (" + std::string(name_of(base_data->problem)) +
                ", " + std::to_string(base_data->train.size()) + " training rows) over " +
                std::to_string(searched.size()) + " settings, for " + budget +
                (before > 0 ? "; the study goes on after " + std::to_string(before) + " complete trials" : ""));

  // The defaults are tried first, so that a search never ends below them.
  if (before == 0 && fixed.tune.sampler != "grid") study.enqueue_trial(defaults_within(searched));

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

  const InterruptWatch watch;
  std::optional<TrialBoard> board;
  if (fixed.trainer.enable_progress_bar) {
    board.emplace(study, TrialBoardOptions{.n_trials = fixed.tune.trials, .timeout = fixed.tune.timeout});
  }
  study.optimize(
      [&](tune::Trial& trial) {
        if (board) board->begin(trial.frozen());
        const Map config = settings_of_trial(trial, searched, base);
        Outcome outcome =
            train(config, fixed.seed + trial.number(), cache, goal, {tune::PruningCallback(trial, goal.metric)});
        if (outcome.trainer->interrupted()) throw tune::TrialPruned("interrupted");
        for (const auto& [name, value] : outcome.best->metrics()) trial.set_user_attr(name, value);
        trial.set_user_attr("epoch", outcome.best->epoch());
        keep_if_best(trial, outcome);
        return *outcome.best->value();
      },
      {.n_trials = fixed.tune.trials,
       .timeout = fixed.tune.timeout,
       .n_jobs = fixed.tune.jobs,
       .catch_errors = true,
       .callbacks = {[&](tune::Study&, const tune::FrozenTrial& trial) {
         if (board) board->end(trial);
       }},
       .stop_token = watch.token()});
  if (board) board->finish();

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
  Map best_config = base;
  for (const auto& [name, value] : study.best_params()) {
    params.add_row({name, value.is_float() ? show(value.as_double()) : value.to_string()});
    set_nested(best_config, name, value);
  }
  std::cout << '\n' << params.to_string();
  write_file_atomically(folder + "/best.yaml", to_yaml(best_config));

  const bool interrupted = interrupt_requested();
  request_interrupt(false);  // what follows takes a second; the next Ctrl-C still ends it
  TextTable comparison(
      base_data->problem == Problem::regression
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
  const std::string checkpoint = kept ? kept->as_string() : "";
  if (!checkpoint.empty() && std::filesystem::exists(checkpoint)) {
    LoadedModel tuned = load_model(checkpoint);
    add_row("tuned (trial " + std::to_string(best.number) + ")", *tuned.module,
            *cache.get(read_settings(tuned.config)));
  }
  if (!interrupted) {
    for (const auto& [name, config] :
         {std::pair<std::string, Map>{"untuned default", base}, {"linear baseline", linear(base)}}) {
      try {
        Outcome outcome = train(config, fixed.seed, cache, goal, {});
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
