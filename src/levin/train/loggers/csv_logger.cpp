#include <levin/train/loggers/csv_logger.h>

#include <levin/core/atomic_file.h>
#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/yaml.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace levin {

namespace fs = std::filesystem;

LoggerImpl::~LoggerImpl() = default;

CSVLoggerImpl::CSVLoggerImpl(CSVLoggerOptions options) : options_(std::move(options)) {
  if (options_.flush_logs_every_n_steps < 1) {
    throw Error({.what = "CSVLogger: flush_logs_every_n_steps must be at least 1",
                 .value = std::to_string(options_.flush_logs_every_n_steps),
                 .where = {},
                 .hint = {}});
  }
}

std::string CSVLoggerImpl::log_dir() const {
  if (!log_dir_.empty()) return log_dir_;
  const fs::path root = fs::path(options_.save_dir) / options_.name;
  if (options_.version) {
    log_dir_ = (root / *options_.version).string();
    return log_dir_;
  }
  // Creating the folder claims the number, so that two runs started at once do not share one.
  std::error_code error;
  fs::create_directories(root, error);
  for (int version = 0; !error; ++version) {
    const fs::path candidate = root / ("version_" + std::to_string(version));
    if (fs::create_directory(candidate, error) && !error) return log_dir_ = candidate.string();
  }
  throw Error({.what = "the folder for logs cannot be created",
               .value = root.string() + " (" + error.message() + ")",
               .where = "CSVLogger",
               .hint = "set .save_dir to a folder you may write to, or .logger = false"});
}

void CSVLoggerImpl::log_hyperparams(const Map& hparams) {
  if (hparams.empty()) return;
  fs::create_directories(log_dir());
  write_file_atomically(log_dir() + "/hparams.yaml", to_yaml(hparams));
}

void CSVLoggerImpl::log_metrics(const MetricValues& metrics, std::int64_t epoch, std::int64_t step) {
  if (metrics.empty()) return;
  buffer_.push_back({.epoch = epoch, .step = step, .metrics = metrics});
  const auto now = std::chrono::steady_clock::now();
  const bool full = static_cast<std::int64_t>(buffer_.size()) >= options_.flush_logs_every_n_steps;
  if (full || now - last_save_ > std::chrono::seconds(2)) save();
}

std::string CSVLoggerImpl::format(const Row& row) const {
  std::string line = std::to_string(row.epoch) + "," + std::to_string(row.step);
  for (const auto& column : columns_) {
    line += ',';
    const auto it =
        std::find_if(row.metrics.begin(), row.metrics.end(), [&](const auto& m) { return m.first == column; });
    if (it != row.metrics.end()) line += format_double(it->second);
  }
  return line + '\n';
}

// Rewrites the file with more columns: the rows on disk hold only numbers, so a comma separates cells.
void CSVLoggerImpl::widen(const std::vector<std::string>& columns) {
  std::string text = "epoch,step";
  for (const auto& column : columns) text += "," + csv::quote(column);
  text += '\n';
  std::ifstream old(metrics_path());
  std::string line;
  if (std::getline(old, line)) {
    while (std::getline(old, line)) {
      std::vector<std::string> cells;
      for (std::size_t begin = 0; begin <= line.size();) {
        const auto end = std::min(line.find(',', begin), line.size());
        cells.push_back(line.substr(begin, end - begin));
        begin = end + 1;
      }
      if (cells.size() != columns_.size() + 2) continue;
      text += cells[0] + "," + cells[1];
      for (const auto& column : columns) {
        const auto it = std::find(columns_.begin(), columns_.end(), column);
        text += ",";
        if (it != columns_.end()) text += cells[2 + static_cast<std::size_t>(it - columns_.begin())];
      }
      text += '\n';
    }
  }
  write_file_atomically(metrics_path(), text);
  columns_ = columns;
}

void CSVLoggerImpl::save() {
  last_save_ = std::chrono::steady_clock::now();
  if (buffer_.empty()) return;
  std::vector<std::string> columns = columns_;
  for (const Row& row : buffer_) {
    for (const auto& metric : row.metrics) columns.push_back(metric.first);
  }
  std::sort(columns.begin(), columns.end());
  columns.erase(std::unique(columns.begin(), columns.end()), columns.end());
  fs::create_directories(log_dir());
  if (columns != columns_) widen(columns);
  std::ofstream out(metrics_path(), std::ios::app);
  for (const Row& row : buffer_) out << format(row);
  out.flush();
  if (!out) {
    throw Error({.what = "metrics cannot be written",
                 .value = std::string(std::strerror(errno)),
                 .where = metrics_path(),
                 .hint = "make room on the disk or set .logger = false"});
  }
  buffer_.clear();
}

}  // namespace levin
