// levin fit: train one model on a table.
#include <levin/app/engine/commands.h>
#include <levin/app/engine/epoch_reports.h>
#include <levin/app/engine/model_file.h>
#include <levin/core/console.h>
#include <levin/core/text_table.h>
#include <levin/data/seed.h>
#include <levin/train/callbacks/early_stopping.h>
#include <levin/train/callbacks/learning_rate_monitor.h>
#include <levin/train/callbacks/model_checkpoint.h>
#include <levin/train/loggers/csv_logger.h>

#include <iostream>
#include <optional>

namespace levin::app {

int run_fit(const Request& request) {
  const Settings settings = read_settings(request.config);
  const Table table = read_csv(settings.data.path);
  const auto data = std::make_shared<const PreparedData>(prepare(table, settings));
  seed_everything(static_cast<std::uint64_t>(settings.seed));
  const auto model = make_model(settings, request.config, *data);
  TabularData loaders(data, settings.data.batch_size);

  const std::string folder = make_run_folder(request, settings, request.config);
  const bool validates = data->val.defined();
  const std::string monitor = validates ? "val_loss" : "train_loss";
  ModelCheckpoint best({.dirpath = folder + "/checkpoints", .filename = "best", .monitor = monitor, .save_last = true});
  TrainerOptions options = trainer_options(settings);
  const std::size_t slash = folder.rfind('/');
  options.logger = CSVLogger({.save_dir = folder.substr(0, slash), .name = "", .version = folder.substr(slash + 1)});
  options.callbacks = {best, LearningRateMonitor()};
  options.enable_checkpointing = true;
  options.enable_model_summary = true;
  if (settings.trainer.early_stopping_patience > 0) {
    options.callbacks.push_back(
        EarlyStopping({.monitor = monitor, .patience = settings.trainer.early_stopping_patience, .verbose = true}));
  }
  std::optional<EpochReports> reports;
  if (!settings.reports.empty()) options.callbacks.push_back(reports.emplace(settings.reports, monitor));
  console::info(std::string(name_of(data->problem)) + " of \"" + settings.target + "\" on " +
                std::to_string(data->train.size()) + " rows, " +
                std::to_string(data->preprocessor.feature_names().size()) + " inputs");
  Trainer trainer(options);
  trainer.fit(*model, loaders, {.ckpt_path = settings.ckpt_path});

  if (trainer.interrupted()) console::info("go on with --ckpt_path " + shell_word(trainer.interrupted_checkpoint()));
  if (best->best_model_path().empty()) return trainer.interrupted() ? kInterrupted : 0;

  if (reports) (*reports)->finish(best->best_model_score());

  // The best epoch's weights, on the rows that no choice was made on.
  TextTable results({"metric", "validation", "test"});
  TrainerOptions quiet = trainer_options(settings);
  quiet.enable_progress_bar = false;
  Trainer judge(quiet);
  const EvalOptions use_best{.ckpt_path = best->best_model_path(), .verbose = false};
  const Map val = validates ? judge.validate(*model, loaders, use_best) : Map();
  const Map test = data->test.defined() ? judge.test(*model, loaders, use_best) : Map();
  for (const std::string name : {"loss", "acc", "rmse", "r2"}) {
    const Value *v = val.find("val_" + name), *t = test.find("test_" + name);
    if (!v && !t) continue;
    results.add_row({name, show(v ? std::optional(v->as_double()) : std::nullopt),
                     show(t ? std::optional(t->as_double()) : std::nullopt)});
  }
  if (!results.empty()) std::cout << results.to_string();
  const std::string program = shell_word(request.executable.string()), checkpoint = shell_word(best->best_model_path());
  std::cout << "\nbest model   " << best->best_model_path() << "\nmetrics      " << folder
            << "/metrics.csv\nnext         " << program << " predict --ckpt_path " << checkpoint
            << " --data NEW.csv --out pred.csv\n             " << program << " tune --data "
            << shell_word(settings.data.path) << " --target " << shell_word(settings.target) << '\n';
  return trainer.interrupted() ? kInterrupted : 0;
}

}  // namespace levin::app
