// The entry of the training part, and what its commands share.
#include <levin/app/engine.h>

#include <levin/app/engine/commands.h>
#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/interrupt.h>
#include <levin/core/text_table.h>
#include <levin/core/yaml.h>
#include <levin/train/loggers/csv_logger.h>

#include <ATen/Parallel.h>

#include <cmath>
#include <filesystem>

namespace levin::app {

TrainerOptions trainer_options(const Settings& settings) {
  const TrainerSettings& t = settings.trainer;
  TrainerOptions options{.accelerator = t.accelerator,
                         .logger = false,
                         .max_epochs = t.max_epochs,
                         .max_steps = t.max_steps.value_or(-1),
                         .log_every_n_steps = t.log_every_n_steps,
                         .enable_checkpointing = false,
                         .enable_progress_bar = t.enable_progress_bar,
                         .enable_model_summary = false,
                         .accumulate_grad_batches = t.accumulate_grad_batches,
                         .gradient_clip_val = t.gradient_clip_val,
                         .deterministic = t.deterministic};
  if (t.max_time) options.max_time = std::chrono::milliseconds(std::llround(*t.max_time * 1000));
  if (t.limit_train_batches) options.limit_train_batches = count(*t.limit_train_batches);
  if (t.limit_val_batches) options.limit_val_batches = count(*t.limit_val_batches);
  return options;
}

std::string stem(const std::string& path) { return std::filesystem::path(path).stem().string(); }

std::string make_run_folder(const Request& request, const Settings& settings, const Map& config) {
  const std::string name =
      settings.name.empty() ? std::string(name_of(request.command)) + "-" + stem(settings.data.path) : settings.name;
  const std::string path = VersionFolder("levin", settings.run_dir, name, {}).path();
  write_file_atomically(path + "/config.yaml", to_yaml(config));
  return path;
}

std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && text.find_first_not_of(
                                          "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,%+@") ==
                                          std::string::npos;
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string show(std::optional<double> value) { return value ? format_metric(*value) : "-"; }

}  // namespace levin::app

std::uint32_t levin_engine_version() { return levin::app::kEngineVersion; }

int levin_engine_run(const levin::app::Request* request) {
  using namespace levin::app;
  const levin::InterruptGuard interrupts;
  at::set_num_threads(static_cast<int>(read_fixed_settings(request->config).trainer.num_threads));
  switch (request->command) {
    case Command::fit: return run_fit(*request);
    case Command::test: return run_test(*request);
    case Command::predict: return run_predict(*request);
    case Command::tune: return run_tune(*request);
    case Command::worker: return run_join(*request);
  }
  throw levin::Error("the training part does not know this command");
}
