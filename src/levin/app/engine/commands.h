// The commands of the training part; each returns the exit code of the process.
#pragma once

#include <levin/app/engine.h>
#include <levin/app/settings.h>
#include <levin/train/trainer.h>

#include <string>

namespace levin::app {

int run_fit(const Request& request);
int run_test(const Request& request);
int run_predict(const Request& request);
int run_tune(const Request& request);
int run_join(const Request& request);

/** Exit code of a command that Ctrl-C ended, as shells have it. */
inline constexpr int kInterrupted = 130;

/** Trainer options that every command shares; no logger, no checkpoints. */
TrainerOptions trainer_options(const Settings& settings);

/** A new folder `<run_dir>/<name>/version_N`, with `config` in config.yaml. */
std::string make_run_folder(const Request& request, const Settings& settings, const Map& config);

/** "digits" for data/digits/digits.csv. */
std::string stem(const std::string& path);

/** `text` as one word of a shell's command line. */
std::string shell_word(const std::string& text);

/** format_metric, or "-" for none. */
std::string show(std::optional<double> value);

}  // namespace levin::app
