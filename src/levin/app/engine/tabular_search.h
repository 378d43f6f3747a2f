// What the trials of `levin tune` are: one training each, of settings that the study chose.
#pragma once

#include <levin/app/engine/best_epoch.h>
#include <levin/app/engine/tabular_data.h>
#include <levin/app/engine/tabular_module.h>
#include <levin/app/search.h>
#include <levin/core/mode.h>
#include <levin/data/table.h>
#include <levin/train/trainer.h>
#include <levin/tune/study.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace levin::app {

/** The metric that trials are judged by, and which way. */
struct Goal {
  std::string metric;
  Mode mode;
};

/** Throws Error for a metric that no such training logs. */
Goal goal_of(const Settings& settings, Problem problem);

/** Tables prepared in the ways that trials ask for, each once. */
class DataCache {
 public:
  explicit DataCache(Table table) : table_(std::move(table)) {}
  std::shared_ptr<const PreparedData> get(const Settings& settings);

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
  std::unique_ptr<TabularData> loaders;  ///< checkpoints ask the trainer's data module for its hyperparameters
  std::unique_ptr<Trainer> trainer;
};

/** Beside the configuration, what a training is told. */
struct TrainingOptions {
  std::int64_t seed = 0;
  std::int64_t device = 0;           ///< number of the GPU, where there is one
  std::string ckpt_path = "";        ///< resume from there
  std::vector<Callback> callbacks = {};
};

/** A search over trainings on one table, as all who work on it see it. */
class TabularSearch {
 public:
  /** `config`: the settings of `levin tune`, those of `searched` left out of account. */
  TabularSearch(const Map& config, std::vector<SearchedSetting> searched);

  const Settings& fixed() const { return fixed_; }
  const Goal& goal() const { return goal_; }
  /** The configuration with every searched setting at its default. */
  const Map& base() const { return base_; }
  const std::vector<SearchedSetting>& searched() const { return searched_; }
  std::shared_ptr<const PreparedData> data(const Map& config) { return cache_.get(read_settings(config)); }
  std::shared_ptr<const PreparedData> base_data() { return data(base_); }

  /** Leaves a setting at its default. */
  void leave_out(const std::string& key);

  /** Trains one configuration. Throws Error when the training diverges. */
  Outcome train(const Map& config, TrainingOptions options);

  /** The configuration that the trial's parameters mean. */
  Map config_of(tune::Trial& trial) const { return settings_of_trial(trial, searched_, base_); }
  /** The seed of a trial's training: a trial that is run again has that of its first run. */
  std::int64_t seed_of(const tune::FrozenTrial& trial) const;

  /** What is done with a training that ended well, before its trial is told. */
  using Keep = std::function<void(tune::Trial& trial, Outcome& outcome)>;
  /**
   * Trains what a trial asks for on `device`, and goes on from the trial's checkpoint if it has one. Throws Interrupted
   * when the training was interrupted, after its state was saved.
   */
  std::vector<double> run(tune::Trial& trial, std::int64_t device, const Keep& keep = {});

  /** The study, made if need be, with the search's sampler, pruner and heartbeats. */
  tune::Study open_study(const std::string& storage, const std::string& name, const std::string& checkpoint_dir) const;

 private:
  Settings fixed_;
  std::vector<SearchedSetting> searched_;
  Map base_;
  DataCache cache_;
  Goal goal_;
};

/** The number of the GPU that job `slot` works on. Throws Error for what is no number. */
std::int64_t device_of(const std::vector<std::string>& devices, std::size_t slot);

}  // namespace levin::app
