#include <levin/app/settings.h>

#include <levin/core/error.h>
#include <levin/tune/pruners/registry.h>
#include <levin/tune/samplers/registry.h>

#include <algorithm>
#include <map>
#include <utility>

namespace levin::app {
namespace {

using config::Range;
using config::Setting;
using config::Type;

constexpr unsigned bit(Command command) { return 1U << static_cast<unsigned>(command); }
constexpr unsigned kFit = bit(Command::fit), kTest = bit(Command::test), kPredict = bit(Command::predict);
constexpr unsigned kTune = bit(Command::tune), kTrain = kFit | kTune, kAll = kFit | kTest | kPredict | kTune;

struct Entry {
  Setting setting;
  unsigned commands = kAll;
  bool searchable = false;
};

template <class Info>
std::vector<std::string> names_of(const std::vector<Info>& infos) {
  std::vector<std::string> out;
  for (const auto& info : infos) out.push_back(info.name);
  return out;
}

const std::vector<Entry>& entries() {
  static const std::vector<Entry> all = {
      {{.key = "target", .help = "the column to predict", .aliases = {"data.target"}, .placeholder = "COLUMN"}, kTrain},
      {{.key = "task",
        .fallback = "auto",
        .help = "what the target is; auto: see its values",
        .choices = {"auto", "classification", "binary", "regression"}},
       kTrain},
      {{.key = "ckpt_path", .help = "the checkpoint to resume from", .placeholder = "FILE"}, kFit},
      {{.key = "ckpt_path", .help = "the checkpoint of the model", .placeholder = "FILE"}, kTest | kPredict},
      {{.key = "out",
        .fallback = "predictions.csv",
        .help = "the file that gets the predictions",
        .placeholder = "FILE"},
       kPredict},
      {{.key = "seed",
        .type = Type::integer,
        .fallback = 0,
        .help = "of everything random: weights, shuffling, dropout, search",
        .range = Range::between(0, 9007199254740992.0)},
       kTrain},
      {{.key = "run_dir",
        .fallback = "runs",
        .help = "the folder that gets a folder for this run",
        .placeholder = "FOLDER"},
       kTrain},
      {{.key = "name", .help = "of the run's folder; else command and data file", .placeholder = "NAME"}, kTrain},

      {{.key = "reports",
        .fallback = "",
        .help = "a file that gets a line of JSON after each epoch; - is standard output",
        .placeholder = "FILE"},
       kFit},

      {{.key = "data.path", .help = "the table, a CSV file", .aliases = {"data"}, .placeholder = "FILE"}, kAll},
      {{.key = "data.drop_columns",
        .type = Type::list_of_texts,
        .fallback = List{},
        .help = "columns that are no inputs, such as ids",
        .placeholder = "A,B"},
       kTrain},
      {{.key = "data.val_fraction",
        .type = Type::real,
        .fallback = 0.15,
        .help = "share of the rows that choose the best epoch",
        .range = Range::below(0, 1)},
       kTrain},
      {{.key = "data.test_fraction",
        .type = Type::real,
        .fallback = 0.15,
        .help = "share of the rows held out for the final test",
        .range = Range::below(0, 1)},
       kTrain},
      {{.key = "data.split_seed",
        .type = Type::integer,
        .fallback = 0,
        .help = "of the split of the rows, apart from seed",
        .range = Range::between(0, 9007199254740992.0)},
       kTrain},
      {{.key = "data.batch_size",
        .type = Type::integer,
        .fallback = 64,
        .help = "rows in a training step",
        .range = Range::at_least(1)},
       kTrain,
       true},
      {{.key = "data.standardize",
        .type = Type::boolean,
        .fallback = true,
        .help = "bring numeric inputs to mean 0, deviation 1"},
       kTrain,
       true},
      {{.key = "data.categorical",
        .fallback = "onehot",
        .help = "how texts become inputs",
        .choices = {"onehot", "embedding"}},
       kTrain,
       true},
      {{.key = "data.missing",
        .fallback = "mean",
        .help = "what stands in for missing numbers",
        .choices = {"mean", "median", "zero"}},
       kTrain,
       true},
      {{.key = "data.noise",
        .type = Type::real,
        .fallback = 0.0,
        .help = "deviation of noise added to inputs in training",
        .range = Range::at_least(0)},
       kTrain,
       true},
      {{.key = "data.mixup",
        .type = Type::real,
        .fallback = 0.0,
        .help = "alpha of mixup, which blends pairs of rows; 0 is off",
        .range = Range::at_least(0)},
       kTrain,
       true},

      {{.key = "model.name", .fallback = "mlp", .help = "the kind of network", .choices = {"mlp"}}, kTrain},
      {{.key = "model.layers",
        .type = Type::integer,
        .fallback = 2,
        .help = "hidden layers; 0 is a linear model",
        .range = Range::between(0, 64)},
       kTrain,
       true},
      {{.key = "model.width",
        .type = Type::integer,
        .fallback = 128,
        .help = "units of each hidden layer",
        .range = Range::between(1, 65536)},
       kTrain,
       true},
      {{.key = "model.widths",
        .type = Type::list_of_integers,
        .help = "units layer by layer, instead of the two above",
        .range = Range::between(1, 65536),
        .placeholder = "N,N"},
       kTrain},
      {{.key = "model.activation",
        .fallback = "relu",
        .help = "after each hidden layer",
        .choices = {"relu", "leaky_relu", "elu", "selu", "gelu", "silu", "tanh", "sigmoid"}},
       kTrain,
       true},
      {{.key = "model.dropout",
        .type = Type::real,
        .fallback = 0.1,
        .help = "share of units left out in training",
        .range = Range::below(0, 1)},
       kTrain,
       true},
      {{.key = "model.norm",
        .fallback = "none",
        .help = "normalisation of hidden layers",
        .choices = {"none", "batch", "layer"}},
       kTrain,
       true},
      {{.key = "model.skip", .type = Type::boolean, .fallback = false, .help = "skip connections around hidden layers"},
       kTrain,
       true},
      {{.key = "model.init",
        .fallback = "default",
        .help = "how weights start",
        .choices = {"default", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal"}},
       kTrain,
       true},

      {{.key = "optimizer.name", .fallback = "adamw", .help = "the optimizer", .choices = {"sgd", "adam", "adamw"}},
       kTrain,
       true},
      {{.key = "optimizer.lr", .type = Type::real, .fallback = 3e-3, .help = "learning rate", .range = Range::above(0)},
       kTrain,
       true},
      {{.key = "optimizer.weight_decay",
        .type = Type::real,
        .help = "by default 0.01 with adamw, else 0",
        .range = Range::at_least(0)},
       kTrain,
       true},
      {{.key = "optimizer.momentum",
        .type = Type::real,
        .fallback = 0.9,
        .help = "of sgd",
        .range = Range::below(0, 1)},
       kTrain,
       true},
      {{.key = "optimizer.nesterov", .type = Type::boolean, .fallback = false, .help = "Nesterov's momentum, of sgd"},
       kTrain,
       true},
      {{.key = "optimizer.beta1",
        .type = Type::real,
        .fallback = 0.9,
        .help = "of adam and adamw",
        .range = Range::below(0, 1)},
       kTrain,
       true},
      {{.key = "optimizer.beta2",
        .type = Type::real,
        .fallback = 0.999,
        .help = "of adam and adamw",
        .range = Range::below(0, 1)},
       kTrain,
       true},
      {{.key = "optimizer.eps",
        .type = Type::real,
        .fallback = 1e-8,
        .help = "of adam and adamw",
        .range = Range::above(0)},
       kTrain,
       true},

      {{.key = "scheduler.name",
        .fallback = "cosine",
        .help = "how the learning rate changes by epoch",
        .choices = {"none", "step", "cosine", "plateau"}},
       kTrain,
       true},
      {{.key = "scheduler.step_size",
        .type = Type::integer,
        .fallback = 10,
        .help = "step: epochs from drop to drop",
        .range = Range::at_least(1)},
       kTrain,
       true},
      {{.key = "scheduler.gamma",
        .type = Type::real,
        .fallback = 0.1,
        .help = "step: factor of each drop",
        .range = {.low = 0, .high = 1, .low_open = true}},
       kTrain,
       true},
      {{.key = "scheduler.T_max",
        .type = Type::integer,
        .fallback = 0,
        .help = "cosine: epochs to its end; 0 is trainer.max_epochs",
        .range = Range::at_least(0)},
       kTrain,
       true},
      {{.key = "scheduler.eta_min",
        .type = Type::real,
        .fallback = 0.0,
        .help = "cosine: learning rate at its end",
        .range = Range::at_least(0)},
       kTrain,
       true},
      {{.key = "scheduler.factor",
        .type = Type::real,
        .fallback = 0.1,
        .help = "plateau: factor of each drop",
        .range = {.low = 0, .high = 1, .low_open = true, .high_open = true}},
       kTrain,
       true},
      {{.key = "scheduler.patience",
        .type = Type::integer,
        .fallback = 10,
        .help = "plateau: epochs without progress before a drop",
        .range = Range::at_least(0)},
       kTrain,
       true},

      {{.key = "trainer.max_epochs",
        .type = Type::integer,
        .fallback = 20,
        .help = "passes over the training rows",
        .range = Range::at_least(1)},
       kTrain,
       true},
      {{.key = "trainer.max_steps",
        .type = Type::integer,
        .help = "optimizer steps, if they end before the epochs",
        .range = Range::at_least(1)},
       kTrain},
      {{.key = "trainer.max_time",
        .type = Type::duration,
        .help = "training time, if it ends before the epochs",
        .range = Range::above(0)},
       kTrain},
      {{.key = "trainer.early_stopping_patience",
        .type = Type::integer,
        .fallback = 0,
        .help = "stop after so many validations without progress; 0 is off",
        .range = Range::at_least(0)},
       kTrain,
       true},
      {{.key = "trainer.gradient_clip_val",
        .type = Type::real,
        .help = "largest norm of the gradient",
        .range = Range::above(0)},
       kTrain,
       true},
      {{.key = "trainer.accumulate_grad_batches",
        .type = Type::integer,
        .fallback = 1,
        .help = "batches summed into a step",
        .range = Range::at_least(1)},
       kTrain,
       true},
      {{.key = "trainer.limit_train_batches",
        .type = Type::integer,
        .help = "training batches of an epoch, at most",
        .range = Range::at_least(1)},
       kTrain},
      {{.key = "trainer.limit_val_batches",
        .type = Type::integer,
        .help = "validation batches, at most",
        .range = Range::at_least(1)},
       kTrain},
      {{.key = "trainer.log_every_n_steps",
        .type = Type::integer,
        .fallback = 50,
        .help = "steps between rows of metrics",
        .range = Range::at_least(1)},
       kTrain},
      {{.key = "trainer.deterministic",
        .type = Type::boolean,
        .fallback = false,
        .help = "only algorithms that repeat bit by bit"},
       kTrain},
      {{.key = "trainer.accelerator",
        .fallback = "auto",
        .help = "where to compute; auto: on a GPU if there is one",
        .choices = {"auto", "cpu", "cuda"},
        .aliases = {"trainer.device"}},
       kAll},
      {{.key = "trainer.num_threads",
        .type = Type::integer,
        .fallback = 1,
        .help = "processor threads of one training",
        .range = Range::between(1, 1024)},
       kAll},
      {{.key = "trainer.enable_progress_bar", .type = Type::boolean, .fallback = true, .help = "show progress"}, kAll},

      {{.key = "tune.trials",
        .type = Type::integer,
        .fallback = 0,
        .help = "trainings to try; 0 is until the timeout",
        .range = Range::at_least(0)},
       kTune},
      {{.key = "tune.timeout",
        .type = Type::duration,
        .help = "no new trials after this time; by default 60s if tune.trials is 0",
        .range = Range::above(0)},
       kTune},
      {{.key = "tune.jobs",
        .type = Type::integer,
        .fallback = 1,
        .help = "trials at the same time",
        .range = Range::between(1, 1024)},
       kTune},
      {{.key = "tune.sampler",
        .fallback = "tpe",
        .help = "how the next settings are chosen",
        .choices = names_of(tune::sampler_infos())},
       kTune},
      {{.key = "tune.sampler_options",
        .type = Type::list_of_texts,
        .fallback = List(),
        .help = "the sampler's options, listed below",
        .placeholder = "NAME=VALUE,..."},
       kTune},
      {{.key = "tune.pruner",
        .fallback = "median",
        .help = "how hopeless trials are stopped early",
        .choices = names_of(tune::pruner_infos())},
       kTune},
      {{.key = "tune.pruner_options",
        .type = Type::list_of_texts,
        .fallback = List(),
        .help = "the pruner's options, listed below",
        .placeholder = "NAME=VALUE,..."},
       kTune},
      {{.key = "tune.metric",
        .fallback = "auto",
        .help = "what is improved, at its best epoch; auto: val_loss",
        .placeholder = "NAME"},
       kTune},
      {{.key = "tune.direction",
        .fallback = "auto",
        .help = "which way; auto: maximize val_acc and val_r2 only",
        .choices = {"auto", "minimize", "maximize"}},
       kTune},
      {{.key = "tune.storage",
        .help = "where trials are kept; by default study.db in the run's folder",
        .placeholder = "URL"},
       kTune},
      {{.key = "tune.study_name", .help = "an existing study is continued; else as name", .placeholder = "NAME"},
       kTune},
      {{.key = "tune.devices",
        .type = Type::list_of_texts,
        .fallback = List(),
        .help = "GPUs by number; each of the jobs keeps to one",
        .placeholder = "N,N"},
       kTune},
      {{.key = "tune.heartbeat",
        .type = Type::duration,
        .fallback = 60.0,
        .help = "between signs of life; a trial without one for twice as long is run again",
        .range = Range::above(0)},
       kTune},
      {{.key = "tune.max_retry",
        .type = Type::integer,
        .fallback = 1,
        .help = "how often a trial whose process died is run again",
        .range = Range::at_least(0)},
       kTune},
      {{.key = "tune.checkpoint_dir",
        .help = "where running trials save their state; by default beside the storage's file",
        .placeholder = "FOLDER"},
       kTune},
      {{.key = "tune.checkpoint_interval",
        .type = Type::duration,
        .fallback = 30.0,
        .help = "between two saves of a running trial",
        .range = Range::above(0)},
       kTune},
      {{.key = "tune.ray",
        .help = "a Ray cluster's dashboard, such as http://HEAD:8265: trials run there, tune.jobs at a time",
        .placeholder = "URL"},
       kTune},
      {{.key = "tune.ray_cpus",
        .type = Type::real,
        .fallback = 1.0,
        .help = "processors that each worker on Ray asks for",
        .range = Range::at_least(0)},
       kTune},
      {{.key = "tune.ray_gpus",
        .type = Type::real,
        .fallback = 0.0,
        .help = "GPUs that each worker on Ray asks for",
        .range = Range::at_least(0)},
       kTune},
      {{.key = "tune.ray_resources",
        .type = Type::list_of_texts,
        .fallback = List(),
        .help = "further resources that each worker asks for",
        .placeholder = "NAME=NUMBER,..."},
       kTune},
      {{.key = "tune.ray_env",
        .type = Type::list_of_texts,
        .fallback = List(),
        .help = "environment variables of the workers",
        .placeholder = "NAME=VALUE,..."},
       kTune},
      {{.key = "tune.ray_data",
        .help = "where the nodes have the table; by default it is uploaded",
        .placeholder = "FILE"},
       kTune},
      {{.key = "tune.ray_ca_file",
        .fallback = "",
        .help = "authorities that an https cluster is trusted by",
        .placeholder = "FILE"},
       kTune},
      {{.key = "tune.ray_cert_file",
        .fallback = "",
        .help = "certificate to show an https cluster",
        .placeholder = "FILE"},
       kTune},
      {{.key = "tune.ray_key_file", .fallback = "", .help = "the key of that certificate", .placeholder = "FILE"},
       kTune},
  };
  return all;
}

// Reads the groups of a resolved configuration; what the command does not have keeps its value.
class SettingsReader {
 public:
  explicit SettingsReader(const Map& config) : config_(config) {}

  template <class T>
  void read(std::string_view key, T& out) const {
    const Value* value = find_nested(config_, key);
    if (value == nullptr || value->is_null()) return;
    try {
      out = value->as<T>();
    } catch (const Error& error) {
      rethrow(key, error);
    }
  }

  template <class T>
  void read(std::string_view key, std::optional<T>& out) const {
    T value{};
    const Value* found = find_nested(config_, key);
    if (found == nullptr || found->is_null()) return;
    read(key, value);
    out = std::move(value);
  }

  template <class T>
  void read(std::string_view key, std::vector<T>& out) const {
    const Value* value = find_nested(config_, key);
    if (value == nullptr || value->is_null()) return;
    try {
      out.clear();
      for (const auto& entry : value->as_list()) out.push_back(entry.as<T>());
    } catch (const Error& error) {
      rethrow(key, error);
    }
  }

 private:
  [[noreturn]] static void rethrow(std::string_view key, const Error& error) {
    auto info = error.info();
    info.where = std::string(key);
    throw Error(std::move(info));
  }

  const Map& config_;
};

void read_fixed(const SettingsReader& reader, Settings& s) {
  reader.read("target", s.target);
  reader.read("task", s.task);
  reader.read("ckpt_path", s.ckpt_path);
  reader.read("seed", s.seed);
  reader.read("out", s.out);
  reader.read("run_dir", s.run_dir);
  reader.read("name", s.name);
  reader.read("reports", s.reports);

  reader.read("data.path", s.data.path);
  reader.read("data.val_fraction", s.data.val_fraction);
  reader.read("data.test_fraction", s.data.test_fraction);
  reader.read("data.split_seed", s.data.split_seed);
  reader.read("data.drop_columns", s.data.drop_columns);
  if (s.data.val_fraction + s.data.test_fraction >= 1) {
    throw Error({.what = "data.val_fraction and data.test_fraction leave no rows to train on",
                 .value = format_double(s.data.val_fraction) + " and " + format_double(s.data.test_fraction),
                 .where = {},
                 .hint = "their sum must be below 1"});
  }

  reader.read("trainer.max_steps", s.trainer.max_steps);
  reader.read("trainer.max_time", s.trainer.max_time);
  reader.read("trainer.limit_train_batches", s.trainer.limit_train_batches);
  reader.read("trainer.limit_val_batches", s.trainer.limit_val_batches);
  reader.read("trainer.log_every_n_steps", s.trainer.log_every_n_steps);
  reader.read("trainer.deterministic", s.trainer.deterministic);
  reader.read("trainer.accelerator", s.trainer.accelerator);
  reader.read("trainer.num_threads", s.trainer.num_threads);
  reader.read("trainer.enable_progress_bar", s.trainer.enable_progress_bar);

  std::int64_t trials = 0;
  reader.read("tune.trials", trials);
  if (trials > 0) s.tune.trials = trials;
  reader.read("tune.timeout", s.tune.timeout);
  if (!s.tune.trials && !s.tune.timeout) s.tune.timeout = 60;
  reader.read("tune.jobs", s.tune.jobs);
  reader.read("tune.sampler", s.tune.sampler);
  reader.read("tune.sampler_options", s.tune.sampler_options);
  reader.read("tune.pruner", s.tune.pruner);
  reader.read("tune.pruner_options", s.tune.pruner_options);
  reader.read("tune.storage", s.tune.storage);
  reader.read("tune.study_name", s.tune.study_name);
  reader.read("tune.metric", s.tune.metric);
  reader.read("tune.direction", s.tune.direction);
  reader.read("tune.devices", s.tune.devices);
  reader.read("tune.heartbeat", s.tune.heartbeat);
  reader.read("tune.max_retry", s.tune.max_retry);
  reader.read("tune.checkpoint_dir", s.tune.checkpoint_dir);
  reader.read("tune.checkpoint_interval", s.tune.checkpoint_interval);
  reader.read("tune.ray", s.tune.ray.address);
  reader.read("tune.ray_cpus", s.tune.ray.cpus);
  reader.read("tune.ray_gpus", s.tune.ray.gpus);
  reader.read("tune.ray_resources", s.tune.ray.resources);
  reader.read("tune.ray_env", s.tune.ray.environment);
  reader.read("tune.ray_data", s.tune.ray.data);
  reader.read("tune.ray_ca_file", s.tune.ray.ca_file);
  reader.read("tune.ray_cert_file", s.tune.ray.cert_file);
  reader.read("tune.ray_key_file", s.tune.ray.key_file);
}

void read_searchable(const SettingsReader& reader, Settings& s) {
  reader.read("data.batch_size", s.data.batch_size);
  reader.read("data.standardize", s.data.standardize);
  reader.read("data.categorical", s.data.categorical);
  reader.read("data.missing", s.data.missing);
  reader.read("data.noise", s.data.noise);
  reader.read("data.mixup", s.data.mixup);

  reader.read("model.name", s.model.name);
  reader.read("model.widths", s.model.widths);
  if (s.model.widths.empty()) {
    std::int64_t layers = 0, width = 0;
    reader.read("model.layers", layers);
    reader.read("model.width", width);
    s.model.widths.assign(static_cast<std::size_t>(layers), width);
  }
  reader.read("model.activation", s.model.activation);
  reader.read("model.dropout", s.model.dropout);
  reader.read("model.norm", s.model.norm);
  reader.read("model.skip", s.model.skip);
  reader.read("model.init", s.model.init);

  reader.read("optimizer.name", s.optimizer.name);
  reader.read("optimizer.lr", s.optimizer.lr);
  s.optimizer.weight_decay = s.optimizer.name == "adamw" ? 0.01 : 0.0;
  reader.read("optimizer.weight_decay", s.optimizer.weight_decay);
  reader.read("optimizer.momentum", s.optimizer.momentum);
  reader.read("optimizer.nesterov", s.optimizer.nesterov);
  reader.read("optimizer.beta1", s.optimizer.beta1);
  reader.read("optimizer.beta2", s.optimizer.beta2);
  reader.read("optimizer.eps", s.optimizer.eps);
  if (s.optimizer.name == "sgd" && s.optimizer.nesterov && s.optimizer.momentum == 0) {
    throw Error({.what = "optimizer.nesterov needs a momentum",
                 .value = "optimizer.momentum 0",
                 .where = {},
                 .hint = "set optimizer.momentum above 0, or optimizer.nesterov to false"});
  }

  reader.read("trainer.max_epochs", s.trainer.max_epochs);
  reader.read("trainer.gradient_clip_val", s.trainer.gradient_clip_val);
  reader.read("trainer.accumulate_grad_batches", s.trainer.accumulate_grad_batches);
  reader.read("trainer.early_stopping_patience", s.trainer.early_stopping_patience);

  reader.read("scheduler.name", s.scheduler.name);
  reader.read("scheduler.step_size", s.scheduler.step_size);
  reader.read("scheduler.gamma", s.scheduler.gamma);
  reader.read("scheduler.T_max", s.scheduler.T_max);
  if (s.scheduler.T_max == 0) s.scheduler.T_max = s.trainer.max_epochs;
  reader.read("scheduler.eta_min", s.scheduler.eta_min);
  reader.read("scheduler.factor", s.scheduler.factor);
  reader.read("scheduler.patience", s.scheduler.patience);
}

const std::vector<Dependence>& dependences() {
  static const std::vector<Dependence> all = {
      {"optimizer.momentum", "optimizer.name", {"sgd"}},
      {"optimizer.nesterov", "optimizer.name", {"sgd"}},
      {"optimizer.beta1", "optimizer.name", {"adam", "adamw"}},
      {"optimizer.beta2", "optimizer.name", {"adam", "adamw"}},
      {"optimizer.eps", "optimizer.name", {"adam", "adamw"}},
      {"scheduler.step_size", "scheduler.name", {"step"}},
      {"scheduler.gamma", "scheduler.name", {"step"}},
      {"scheduler.T_max", "scheduler.name", {"cosine"}},
      {"scheduler.eta_min", "scheduler.name", {"cosine"}},
      {"scheduler.factor", "scheduler.name", {"plateau"}},
      {"scheduler.patience", "scheduler.name", {"plateau"}},
  };
  return all;
}

bool changed(const config::Config& config, const std::string& key) {
  return config.is_set(key) && config.get(key) != config.schema().at(key).fallback;
}

}  // namespace

std::shared_ptr<const config::Schema> schema_for(Command command) {
  static const auto schemas = [] {
    std::map<Command, std::shared_ptr<const config::Schema>> out;
    for (const Command c : {Command::fit, Command::test, Command::predict, Command::tune}) {
      std::vector<Setting> settings;
      for (const auto& entry : entries()) {
        if ((entry.commands & bit(c)) != 0) settings.push_back(entry.setting);
      }
      out[c] = std::make_shared<const config::Schema>(std::move(settings));
    }
    return out;
  }();
  return schemas.at(command);
}

bool known_to_any_command(const std::string& key) {
  for (const Command command : {Command::fit, Command::test, Command::predict, Command::tune}) {
    const auto schema = schema_for(command);
    if (schema->find(key) != nullptr || schema->has_group(key)) return true;
  }
  return false;
}

bool is_searchable(std::string_view key) {
  return std::any_of(entries().begin(), entries().end(),
                     [&](const Entry& entry) { return entry.searchable && entry.setting.key == key; });
}

const Dependence* dependence_of(std::string_view key) {
  const auto& all = dependences();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Dependence& d) { return d.key == key; });
  return found == all.end() ? nullptr : &*found;
}

Settings read_settings(const Map& config) {
  Settings settings = read_fixed_settings(config);
  read_searchable(SettingsReader(config), settings);
  return settings;
}

Settings read_fixed_settings(const Map& config) {
  Settings settings;
  read_fixed(SettingsReader(config), settings);
  return settings;
}

std::vector<std::string> settings_without_effect(const config::Config& config) {
  std::vector<std::string> out;
  for (const auto& [key, on, choices] : dependences()) {
    if (config.schema().find(key) == nullptr || !changed(config, key)) continue;
    const std::string chosen = config.get(on).to_string();
    // A name that is searched may come to any choice.
    if (chosen.find('(') != std::string::npos || std::find(choices.begin(), choices.end(), chosen) != choices.end()) {
      continue;
    }
    out.push_back(key + " (" + config.where(key) + ") has no effect: " + on + " is " + chosen);
  }
  if (config.schema().find("tune.ray") != nullptr && config.get("tune.ray").is_null()) {
    for (const auto& setting : config.schema().settings()) {
      if (setting.key.starts_with("tune.ray_") && changed(config, setting.key)) {
        out.push_back(setting.key + " (" + config.where(setting.key) + ") has no effect: tune.ray is not set");
      }
    }
  }
  if (config.schema().find("model.widths") != nullptr && !config.get("model.widths").is_null()) {
    for (const char* key : {"model.layers", "model.width"}) {
      if (changed(config, key)) {
        out.push_back(std::string(key) + " (" + config.where(key) + ") has no effect: model.widths is set");
      }
    }
  }
  return out;
}

const Value* find_nested(const Map& config, std::string_view key) {
  const Map* map = &config;
  for (auto dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    const Value* inner = map->find(key.substr(0, dot));
    if (inner == nullptr || !inner->is_map()) return nullptr;
    map = &inner->as_map();
    key = key.substr(dot + 1);
  }
  return map->find(key);
}

void set_nested(Map& config, std::string_view key, Value value) {
  Map* map = &config;
  for (auto dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    Value& inner = (*map)[key.substr(0, dot)];
    if (!inner.is_map()) inner = Map();
    map = &inner.as_map();
    key = key.substr(dot + 1);
  }
  (*map)[key] = std::move(value);
}

}  // namespace levin::app
