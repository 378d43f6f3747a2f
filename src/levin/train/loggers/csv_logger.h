// CSVLogger: metrics.csv and hparams.yaml in a folder of the run.
#pragma once

#include <levin/train/loggers/logger.h>
#include <levin/train/loggers/version_folder.h>

#include <chrono>
#include <optional>

namespace levin {

/** Options of a CSVLogger, in the order of Lightning's. */
struct CSVLoggerOptions {
  std::string save_dir = ".";
  std::string name = "levin_logs";                 ///< "": versions stand in save_dir itself
  std::optional<LoggerVersion> version = {};       ///< a number or a name; by default the next free number
  std::string prefix = {};                         ///< put before each metric's name, with "-"
  std::int64_t flush_logs_every_n_steps = 100;     ///< rows that are held in memory at most
  std::chrono::milliseconds flush_interval{2000};  ///< a row that comes later than this after the last writing writes
  XAxis x_axis = XAxis::step;                      ///< adds a column with the row's place on this axis
};

/**
 * Writes `<save_dir>/<name>/<version>/metrics.csv`: `epoch`, `step`, the column of another x-axis if one was chosen,
 * then a column a metric in alphabetical order; and `hparams.yaml`. Rows are appended, to a file that is already there
 * too; a new metric rewrites the file with the wider header, atomically. A killed process loses the rows not yet
 * flushed and no others. A run that is resumed with the same version drops the rows after its checkpoint.
 */
class LEVIN_API CSVLoggerImpl : public LoggerImpl {
 public:
  explicit CSVLoggerImpl(CSVLoggerOptions options = {});

  void log_metrics(const MetricValues& metrics, const LogPoint& point) override;
  /** Writes hparams.yaml; earlier hyperparameters of other names stay in it. */
  void log_hyperparams(const Map& hparams) override;
  void save() override;
  std::string log_dir() const override { return folder_.path(); }
  Map state_dict() const override;
  void load_state_dict(const Map& state) override;

  const std::string& name() const { return folder_.name(); }
  std::string version() const { return folder_.version(); }

 private:
  struct Row {
    std::string head;  // the cells before the metrics
    MetricValues metrics;
  };
  std::string path() const { return folder_.path() + "/metrics.csv"; }
  std::vector<std::string> fixed_columns() const;
  void open();
  void rewrite(const std::vector<std::string>& columns, std::int64_t rows);
  std::string format(const Row& row) const;

  CSVLoggerOptions options_;
  VersionFolder folder_;
  Map hparams_;
  bool open_ = false;                 // the file was looked at: the next two hold
  std::vector<std::string> columns_;  // of the metrics in the file
  std::int64_t rows_ = 0;             // in the file
  std::vector<Row> buffer_;           // rows not yet written
  std::chrono::steady_clock::time_point last_save_ = std::chrono::steady_clock::now();
};

/** See CSVLoggerImpl. */
class CSVLogger : public Logger {
 public:
  explicit CSVLogger(CSVLoggerOptions options = {}) : Logger(std::make_shared<CSVLoggerImpl>(std::move(options))) {}
  CSVLoggerImpl* operator->() const { return static_cast<CSVLoggerImpl*>(Logger::operator->()); }
};

}  // namespace levin
