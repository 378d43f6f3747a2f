// CSVLogger: metrics.csv and hparams.yaml in a folder of the run.
#pragma once

#include <levin/train/loggers/logger.h>

#include <chrono>
#include <optional>

namespace levin {

struct CSVLoggerOptions {
  std::string save_dir = ".";
  std::string name = "levin_logs";
  std::optional<std::string> version = {};  ///< the run's folder; by default "version_N" with the next free N
  std::int64_t flush_logs_every_n_steps = 100;
};

/**
 * Writes `<save_dir>/<name>/<version>/metrics.csv`, a column a metric in alphabetical order after `epoch` and `step`,
 * and `hparams.yaml`. Rows are appended; a new metric rewrites the file with the wider header. A buffered row is
 * written after `flush_logs_every_n_steps` rows, after two seconds, or at the end.
 */
class LEVIN_API CSVLoggerImpl : public LoggerImpl {
 public:
  explicit CSVLoggerImpl(CSVLoggerOptions options = {});

  void log_metrics(const MetricValues& metrics, std::int64_t epoch, std::int64_t step) override;
  void log_hyperparams(const Map& hparams) override;
  void save() override;
  std::string log_dir() const override;

 private:
  struct Row {
    std::int64_t epoch, step;
    MetricValues metrics;
  };
  std::string metrics_path() const { return log_dir() + "/metrics.csv"; }
  void widen(const std::vector<std::string>& columns);
  std::string format(const Row& row) const;

  CSVLoggerOptions options_;
  mutable std::string log_dir_;       // chosen at first use: a trainer that never logs leaves no folder
  std::vector<std::string> columns_;  // of the file on disk
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
