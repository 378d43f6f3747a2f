#include <levin/app/engine/tabular_search.h>

#include <levin/app/engine/commands.h>
#include <levin/app/engine/model_file.h>
#include <levin/app/search_methods.h>
#include <levin/app/work_loop.h>
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/data/seed.h>
#include <levin/sweep/pruning_callback.h>
#include <levin/sweep/trial_checkpoint.h>
#include <levin/train/callbacks/early_stopping.h>

#include <ATen/Parallel.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

namespace levin::app {
namespace {

// `config` with every searched setting back at its default.
Map untuned(Map config, const std::vector<SearchedSetting>& searched) {
  for (const auto& entry : searched) set_nested(config, entry.key, schema_for(Command::tune)->at(entry.key).fallback);
  return config;
}

// A node of a cluster may have no such folder: its trials go without checkpoints.
std::optional<tune::TrialCheckpoint> checkpoint_of(tune::Trial& trial, double seconds) {
  try {
    return tune::TrialCheckpoint(trial, std::chrono::milliseconds(std::max(1LL, std::llround(seconds * 1000))));
  } catch (const Error& error) {
    console::warn_once(std::string("trials keep no checkpoints: ") + error.what());
    return std::nullopt;
  }
}

}  // namespace

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

std::shared_ptr<const PreparedData> DataCache::get(const Settings& settings) {
  const DataSettings& d = settings.data;
  const std::string key = d.categorical + "/" + d.missing + "/" + (d.standardize ? "1" : "0");
  const std::scoped_lock lock(mutex_);
  auto& entry = prepared_[key];
  if (!entry) entry = std::make_shared<const PreparedData>(prepare(table_, settings));
  return entry;
}

TabularSearch::TabularSearch(const Map& config, std::vector<SearchedSetting> searched)
    : fixed_(read_fixed_settings(config)),
      searched_(std::move(searched)),
      base_(untuned(config, searched_)),
      cache_(read_csv(fixed_.data.path)),
      goal_(goal_of(fixed_, base_data()->problem)) {
  for (std::size_t slot = 0; slot < fixed_.tune.devices.size(); ++slot) device_of(fixed_.tune.devices, slot);
}

void TabularSearch::leave_out(const std::string& key) {
  std::erase_if(searched_, [&](const SearchedSetting& entry) { return entry.key == key; });
}

Outcome TabularSearch::train(const Map& config, TrainingOptions options) {
  const Settings settings = read_settings(config);
  at::set_num_threads(static_cast<int>(settings.trainer.num_threads));
  Outcome out{
      .model = nullptr, .data = cache_.get(settings), .best = BestEpoch(goal_.metric, goal_.mode), .loaders = nullptr, .trainer = nullptr};
  {
    // torch's generator is the process's: seeding and drawing the weights must not mix with another trial's.
    static std::mutex generator;
    const std::scoped_lock lock(generator);
    seed_everything(static_cast<std::uint64_t>(options.seed));
    out.model = make_model(settings, config, *out.data);
  }
  TrainerOptions trainer = trainer_options(settings);
  trainer.device = options.device;
  trainer.enable_progress_bar = false;
  trainer.num_sanity_val_steps = 0;
  trainer.callbacks.push_back(out.best);
  if (settings.trainer.early_stopping_patience > 0) {
    trainer.callbacks.push_back(EarlyStopping({.monitor = settings.data.val_fraction > 0 ? "val_loss" : "train_loss",
                                               .patience = settings.trainer.early_stopping_patience}));
  }
  for (auto& callback : options.callbacks) trainer.callbacks.push_back(std::move(callback));
  out.trainer = std::make_unique<Trainer>(trainer);
  out.loaders = std::make_unique<TabularData>(out.data, settings.data.batch_size);
  out.trainer->fit(*out.model, *out.loaders, {.ckpt_path = options.ckpt_path});
  if (out.best->diverged() || (!out.best->value() && !out.trainer->interrupted())) {
    throw Error("the training diverged: " + goal_.metric + " or its loss is not finite");
  }
  if (out.best->value()) out.best->restore(*out.model);
  return out;
}

std::int64_t TabularSearch::seed_of(const tune::FrozenTrial& trial) const {
  return fixed_.seed + tune::retried_trial_number(trial).value_or(trial.number);
}

std::vector<double> TabularSearch::run(tune::Trial& trial, std::int64_t device, const Keep& keep) {
  auto checkpoint = checkpoint_of(trial, fixed_.tune.checkpoint_interval);
  TrainingOptions options{.seed = seed_of(trial.frozen()), .device = device};
  options.callbacks.push_back(tune::PruningCallback(trial, goal_.metric));
  if (checkpoint) {
    options.ckpt_path = (*checkpoint)->ckpt_path();
    options.callbacks.push_back(*checkpoint);
    if (!options.ckpt_path.empty()) {
      console::info("trial " + std::to_string(trial.number()) + " goes on from " + options.ckpt_path);
    }
  }
  try {
    Outcome outcome = train(config_of(trial), std::move(options));
    if (outcome.trainer->interrupted()) throw Interrupted();
    for (const auto& [name, value] : outcome.best->metrics()) trial.set_user_attr(name, value);
    trial.set_user_attr("epoch", outcome.best->epoch());
    if (keep) keep(trial, outcome);
    if (checkpoint) (*checkpoint)->remove();
    return {*outcome.best->value()};
  } catch (const Interrupted&) {
    throw;
  } catch (...) {
    if (checkpoint) (*checkpoint)->remove();  // pruned or failed: the trial ends here
    throw;
  }
}

tune::Study TabularSearch::open_study(const std::string& storage, const std::string& name,
                                      const std::string& checkpoint_dir) const {
  const TuneSettings& t = fixed_.tune;
  return tune::create_study(
      {.storage = storage,
       .sampler = sampler_of(fixed_, searched_),
       .pruner = pruner_of(fixed_),
       .study_name = name,
       .direction = goal_.mode == Mode::max ? tune::Direction::maximize : tune::Direction::minimize,
       .load_if_exists = true,
       .heartbeat = tune::HeartbeatOptions{.interval = t.heartbeat,
                                           .max_retry = t.max_retry,
                                           .inherit_intermediate_values = true},
       .checkpoint_dir = checkpoint_dir.empty() ? t.checkpoint_dir.value_or("") : checkpoint_dir});
}

std::int64_t device_of(const std::vector<std::string>& devices, std::size_t slot) {
  if (devices.empty()) return 0;
  const std::string& text = devices[slot % devices.size()];
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc() && end == text.data() + text.size() && number >= 0) return number;
  throw Error({.what = "a GPU is named by its number",
               .value = "\"" + text + "\"",
               .where = "devices",
               .hint = "write it like 0,1"});
}

}  // namespace levin::app
