// Every setting of the command line: the schema for each command, and the typed form that the training part reads.
#pragma once

#include <levin/app/command.h>
#include <levin/core/config.h>
#include <levin/core/value.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace levin::app {

/** The settings that `command` understands, in the order of its help. */
std::shared_ptr<const config::Schema> schema_for(Command command);
/** Whether some command understands `key`: a file may hold the settings of several commands. */
bool known_to_any_command(const std::string& key);
/** Whether `levin tune` may search the setting. */
bool is_searchable(std::string_view key);

/** A setting that speaks only to some choices of another one: optimizer.momentum to optimizer.name sgd. */
struct Dependence {
  std::string key, on;
  std::vector<std::string> choices;
};

/** What `key` depends on, or nullptr. */
const Dependence* dependence_of(std::string_view key);

struct DataSettings {
  std::string path;
  double val_fraction = 0;
  double test_fraction = 0;
  std::int64_t split_seed = 0;
  std::int64_t batch_size = 0;
  std::vector<std::string> drop_columns;
  bool standardize = true;
  std::string categorical;  ///< onehot, embedding
  std::string missing;      ///< mean, median, zero
  double noise = 0;         ///< standard deviation of noise added to the inputs in training
  double mixup = 0;         ///< alpha of mixup; 0: off

  friend bool operator==(const DataSettings&, const DataSettings&) = default;
};

struct ModelSettings {
  std::string name;                  ///< mlp
  std::vector<std::int64_t> widths;  ///< of the hidden layers: model.widths, else model.layers times model.width
  std::string activation;
  double dropout = 0;
  std::string norm;  ///< none, batch, layer
  bool skip = false;
  std::string init;

  friend bool operator==(const ModelSettings&, const ModelSettings&) = default;
};

struct OptimizerSettings {
  std::string name;  ///< sgd, adam, adamw
  double lr = 0;
  double weight_decay = 0;  ///< optimizer.weight_decay, else 0.01 for adamw and 0 for the others
  double momentum = 0;
  bool nesterov = false;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;

  friend bool operator==(const OptimizerSettings&, const OptimizerSettings&) = default;
};

struct SchedulerSettings {
  std::string name;  ///< none, step, cosine, plateau
  std::int64_t step_size = 0;
  double gamma = 0;
  std::int64_t T_max = 0;  ///< epochs of the half cosine: scheduler.T_max, else trainer.max_epochs
  double eta_min = 0;
  double factor = 0;
  std::int64_t patience = 0;

  friend bool operator==(const SchedulerSettings&, const SchedulerSettings&) = default;
};

struct TrainerSettings {
  std::int64_t max_epochs = 0;
  std::optional<std::int64_t> max_steps;
  std::optional<double> max_time;  ///< seconds
  std::optional<double> gradient_clip_val;
  std::int64_t accumulate_grad_batches = 1;
  std::int64_t early_stopping_patience = 0;  ///< validations without improvement; 0: off
  bool deterministic = false;
  std::string accelerator;  ///< auto, cpu, cuda
  std::int64_t num_threads = 1;
  bool enable_progress_bar = true;
  std::int64_t log_every_n_steps = 0;
  std::optional<std::int64_t> limit_train_batches;
  std::optional<std::int64_t> limit_val_batches;

  friend bool operator==(const TrainerSettings&, const TrainerSettings&) = default;
};

/** Where `levin tune` finds a Ray cluster, and what its workers ask for there. */
struct RaySettings {
  std::optional<std::string> address;  ///< of the dashboard; none: trials run in this process
  double cpus = 1;                     ///< of each worker
  double gpus = 0;
  std::vector<std::string> resources;    ///< NAME=NUMBER
  std::vector<std::string> environment;  ///< NAME=VALUE
  std::optional<std::string> data;       ///< where nodes have the table; none: it is uploaded
  std::string ca_file, cert_file, key_file;

  friend bool operator==(const RaySettings&, const RaySettings&) = default;
};

struct TuneSettings {
  std::optional<std::int64_t> trials;  ///< none: until the timeout
  std::optional<double> timeout;       ///< seconds; 60 when neither a number of trials nor a timeout was set
  std::int64_t jobs = 1;
  std::string sampler;                       ///< one of sampler_infos()
  std::vector<std::string> sampler_options;  ///< NAME=VALUE
  std::string pruner;                        ///< one of pruner_infos()
  std::vector<std::string> pruner_options;   ///< NAME=VALUE
  std::optional<std::string> storage;        ///< none: sqlite:/// study.db in the run's folder
  std::optional<std::string> study_name;     ///< none: the run's name
  std::string metric;                        ///< auto, or the name of a logged metric
  std::string direction;                     ///< auto, minimize, maximize
  std::vector<std::string> devices;          ///< indices of GPUs, one a trial in turn; empty: the first
  double heartbeat = 60;                     ///< seconds between signs of life of running trials
  std::int64_t max_retry = 1;                ///< how often a trial whose process died is run again
  std::optional<std::string> checkpoint_dir;  ///< none: beside the storage's file
  double checkpoint_interval = 30;            ///< seconds between two checkpoints of a running trial
  RaySettings ray;

  friend bool operator==(const TuneSettings&, const TuneSettings&) = default;
};

/** The settings of one command; groups that the command does not have stay at the values above. */
struct Settings {
  std::string target;     ///< fit, tune
  std::string task;       ///< auto, classification, binary, regression
  std::string ckpt_path;  ///< "" for none
  std::int64_t seed = 0;
  std::string out;      ///< predict
  std::string run_dir;  ///< fit, tune
  std::string name;     ///< of the run, "" for none
  std::string reports;  ///< fit: a file, "-" for standard output, "" for none
  DataSettings data;
  ModelSettings model;
  OptimizerSettings optimizer;
  SchedulerSettings scheduler;
  TrainerSettings trainer;
  TuneSettings tune;

  friend bool operator==(const Settings&, const Settings&) = default;
};

/**
 * Request::config as Settings. In `tune`, settings that are searched must have been replaced by a trial's values
 * before (`settings_of_trial`). Throws Error for settings that contradict each other.
 */
Settings read_settings(const Map& config);

/** Reads the `tune` group and the other settings that are never searched, and leaves the rest as they are. */
Settings read_fixed_settings(const Map& config);

/** One sentence for each setting that was set but has no effect beside the others ("optimizer.momentum ... adamw"). */
std::vector<std::string> settings_without_effect(const config::Config& config);

/** The value of a dotted key in nested maps, or nullptr. */
const Value* find_nested(const Map& config, std::string_view key);
/** Sets a dotted key in nested maps, making the groups that are missing. */
void set_nested(Map& config, std::string_view key, Value value);

}  // namespace levin::app
