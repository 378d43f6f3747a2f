// Logger: where the metrics of a run are written.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>
#include <levin/train/log_point.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/** Base of loggers. */
class LEVIN_API LoggerImpl {
 public:
  virtual ~LoggerImpl();
  /** A row of metrics made at `point`. */
  virtual void log_metrics(const MetricValues& metrics, const LogPoint& point) = 0;
  virtual void log_hyperparams(const Map& hparams) = 0;
  /** Writes what is buffered. */
  virtual void save() {}
  /** The end of the run, `status` "success" or "failed". */
  virtual void finalize(std::string_view /*status*/) { save(); }
  /** The folder of this run's files, "" for none; checkpoints go beside the first logger's. */
  virtual std::string log_dir() const { return {}; }

  /** What a checkpoint keeps: how far this logger had come. Empty: nothing. */
  virtual Map state_dict() const { return {}; }
  /**
   * A run goes on from a checkpoint that held `state`. A logger that writes to the same files again drops what they
   * hold from after the checkpoint: the resumed run writes it anew.
   */
  virtual void load_state_dict(const Map& /*state*/) {}
};

/** Handle of a logger; copies share the object. */
class LEVIN_API Logger {
 public:
  template <std::derived_from<LoggerImpl> Impl>
  Logger(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
  LoggerImpl* operator->() const { return impl_.get(); }

 private:
  std::shared_ptr<LoggerImpl> impl_;
};

/** The `logger` option of a Trainer: true (a CSVLogger), false (none), a logger or several. */
class LEVIN_API Loggers {
 public:
  Loggers(bool enabled = true) : default_(enabled) {}
  Loggers(Logger logger) : loggers_{std::move(logger)} {}
  Loggers(std::initializer_list<Logger> loggers) : loggers_(loggers) {}
  Loggers(std::vector<Logger> loggers) : loggers_(std::move(loggers)) {}

  bool wants_default() const { return default_; }
  const std::vector<Logger>& list() const { return loggers_; }

 private:
  bool default_ = false;
  std::vector<Logger> loggers_;
};

}  // namespace levin
