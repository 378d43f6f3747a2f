// TensorBoardLogger: event files for TensorBoard in a folder of the run.
#pragma once

#include <levin/train/loggers/logger.h>
#include <levin/train/loggers/version_folder.h>

#include <chrono>
#include <optional>

namespace levin {

/** Options of a TensorBoardLogger, in the order of Lightning's. */
struct TensorBoardLoggerOptions {
  std::string save_dir = ".";
  std::string name = "levin_logs";                 ///< "": versions stand in save_dir itself
  std::optional<LoggerVersion> version = {};       ///< a number or a name; by default the next free number
  bool default_hp_metric = true;                   ///< shows hyperparameters beside `hp_metric`, -1 until it is logged
  std::string prefix = {};                         ///< put before each metric's name, with "-"
  std::string sub_dir = {};                        ///< a folder below the version's
  std::int64_t max_queue = 100;                    ///< events that are held in memory at most
  std::chrono::milliseconds flush_interval{2000};  ///< an event that comes later than this after a flush flushes
  XAxis x_axis = XAxis::step;                      ///< TensorBoard's horizontal axis "step"; seconds are rounded
};

/**
 * Writes `events.out.tfevents.*` for `tensorboard --logdir <save_dir>`: metrics as scalars (and `epoch` beside them),
 * hyperparameters for the HParams page and in `hparams.yaml`, texts. Events are appended; a killed process loses those
 * not yet flushed and no others. A run that is resumed with the same version drops the events after its checkpoint.
 */
class LEVIN_API TensorBoardLoggerImpl : public LoggerImpl {
 public:
  explicit TensorBoardLoggerImpl(TensorBoardLoggerOptions options = {});

  void log_metrics(const MetricValues& metrics, const LogPoint& point) override;
  void log_hyperparams(const Map& hparams) override { log_hyperparams(hparams, {}); }
  /** Hyperparameters beside the metrics to compare runs by; `metrics` replaces the placeholder `hp_metric`. */
  void log_hyperparams(const Map& hparams, const MetricValues& metrics);
  /** A text in Markdown for the Text page. */
  void log_text(const std::string& tag, const std::string& text, std::int64_t step = 0);
  void save() override;
  std::string log_dir() const override { return folder_.path(); }
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

  const std::string& name() const { return folder_.name(); }
  std::string version() const { return folder_.version(); }
  /** The event file of this process, "" before the first event. */
  const std::string& event_file() const { return file_; }

 private:
  void add(const std::string& event);

  TensorBoardLoggerOptions options_;
  VersionFolder folder_;
  Map hparams_;
  std::string file_;          // path of the event file
  std::int64_t written_ = 0;  // bytes in it
  std::string buffer_;        // bytes not yet written
  std::int64_t queued_ = 0;   // events in the buffer
  std::chrono::steady_clock::time_point last_save_ = std::chrono::steady_clock::now();
};

/** See TensorBoardLoggerImpl. */
class TensorBoardLogger : public Logger {
 public:
  explicit TensorBoardLogger(TensorBoardLoggerOptions options = {})
      : Logger(std::make_shared<TensorBoardLoggerImpl>(std::move(options))) {}
  TensorBoardLoggerImpl* operator->() const { return static_cast<TensorBoardLoggerImpl*>(Logger::operator->()); }
};

}  // namespace levin
