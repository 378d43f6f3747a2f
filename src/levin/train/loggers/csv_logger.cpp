#include <levin/train/loggers/csv_logger.h>

#include <levin/core/atomic_file.h>
#include <levin/core/csv.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/yaml.h>
#include <levin/train/loggers/append_file.h>

#include <algorithm>
#include <filesystem>

namespace levin {

namespace fs = std::filesystem;

namespace {

// The cells of a line that this logger wrote: names may be quoted, numbers never are.
std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted && c == '"' && i + 1 < line.size() && line[i + 1] == '"') {
      cells.back() += line[++i];
    } else if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      cells.emplace_back();
    } else {
      cells.back() += c;
    }
  }
  return cells;
}

// The header and the whole rows of a file; a row that a crash cut short is left out.
struct Content {
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  bool clean = true;  // nothing was left out
};

Content read_content(const std::string& path) {
  Content content;
  if (!fs::exists(path)) return content;
  const std::string text = read_file(path);
  // A quoted name may hold a newline, so lines end at newlines outside quotes.
  for (std::size_t begin = 0; begin < text.size();) {
    bool quoted = false;
    std::size_t end = begin;
    while (end < text.size() && (quoted || text[end] != '\n')) quoted ^= text[end++] == '"';
    auto cells = cells_of(std::string_view(text).substr(begin, end - begin));
    const bool whole = end < text.size();
    begin = end + 1;
    if (whole && content.header.empty()) {
      content.header = std::move(cells);
    } else if (whole && cells.size() == content.header.size()) {
      content.rows.push_back(std::move(cells));
    } else {
      content.clean = false;
    }
  }
  return content;
}

}  // namespace

LoggerImpl::~LoggerImpl() = default;

CSVLoggerImpl::CSVLoggerImpl(CSVLoggerOptions options)
    : options_(std::move(options)), folder_("CSVLogger", options_.save_dir, options_.name, options_.version) {
  if (options_.flush_logs_every_n_steps < 1) {
    throw Error({.what = "CSVLogger: flush_logs_every_n_steps must be at least 1",
                 .value = std::to_string(options_.flush_logs_every_n_steps),
                 .where = {},
                 .hint = {}});
  }
}

std::vector<std::string> CSVLoggerImpl::fixed_columns() const {
  std::vector<std::string> columns{"epoch", "step"};
  if (options_.x_axis != XAxis::step && options_.x_axis != XAxis::epoch) {
    columns.emplace_back(axis_name(options_.x_axis));
  }
  return columns;
}

void CSVLoggerImpl::log_hyperparams(const Map& hparams) {
  if (hparams.empty()) return;
  for (const auto& [name, value] : hparams) hparams_[name] = value;
  write_file_atomically(folder_.make() + "/hparams.yaml", to_yaml(hparams_));
}

void CSVLoggerImpl::log_metrics(const MetricValues& metrics, const LogPoint& point) {
  if (metrics.empty()) return;
  open();
  Row row;
  std::string epoch = point.epoch ? std::to_string(*point.epoch) : "";
  for (const auto& [name, value] : metrics) {
    if (name == "epoch") {
      epoch = format_double(value);  // a metric of this name stands in the column that is there
    } else {
      row.metrics.emplace_back(with_prefix(options_.prefix, name), value);
    }
  }
  row.head = epoch + "," + std::to_string(point.step);
  if (options_.x_axis != XAxis::step && options_.x_axis != XAxis::epoch) {
    row.head += "," + (options_.x_axis == XAxis::seconds
                           ? format_double(point.seconds)
                           : std::to_string(static_cast<std::int64_t>(position(point, options_.x_axis))));
  }
  buffer_.push_back(std::move(row));
  const bool full = static_cast<std::int64_t>(buffer_.size()) >= options_.flush_logs_every_n_steps;
  if (full || std::chrono::steady_clock::now() - last_save_ > options_.flush_interval) save();
}

std::string CSVLoggerImpl::format(const Row& row) const {
  std::string line = row.head;
  for (const auto& column : columns_) {
    line += ',';
    // The last value counts when one name came twice.
    const auto it =
        std::find_if(row.metrics.rbegin(), row.metrics.rend(), [&](const auto& m) { return m.first == column; });
    if (it != row.metrics.rend()) line += format_double(it->second);
  }
  return line + '\n';
}

void CSVLoggerImpl::open() {
  if (open_) return;
  folder_.make();
  const Content content = read_content(path());
  const auto fixed = fixed_columns();
  if (!content.header.empty()) {
    const bool ours =
        content.header.size() >= fixed.size() && std::equal(fixed.begin(), fixed.end(), content.header.begin()) &&
        std::is_sorted(content.header.begin() + static_cast<std::ptrdiff_t>(fixed.size()), content.header.end());
    if (!ours) {
      throw Error({.what = "metrics cannot be appended to this file: it has other columns",
                   .value = join_words(content.header),
                   .where = path(),
                   .hint = "choose another .version, or move the file away"});
    }
    columns_.assign(content.header.begin() + static_cast<std::ptrdiff_t>(fixed.size()), content.header.end());
  }
  rows_ = static_cast<std::int64_t>(content.rows.size());
  open_ = true;
  if (!content.clean) rewrite(columns_, rows_);
}

// Writes the file anew with these columns and its first `rows` rows.
void CSVLoggerImpl::rewrite(const std::vector<std::string>& columns, std::int64_t rows) {
  const Content old = read_content(path());
  const std::size_t fixed = fixed_columns().size();
  std::string text;
  for (const auto& column : fixed_columns()) text += (text.empty() ? "" : ",") + column;
  for (const auto& column : columns) text += "," + csv::quote(column);
  text += '\n';
  std::vector<std::size_t> from;  // where each column stood; 0: it is new
  for (const auto& column : columns) {
    const auto it = std::find(columns_.begin(), columns_.end(), column);
    from.push_back(it == columns_.end() ? 0 : fixed + static_cast<std::size_t>(it - columns_.begin()));
  }
  rows_ = std::min(rows, static_cast<std::int64_t>(old.rows.size()));
  for (std::int64_t i = 0; i < rows_; ++i) {
    const auto& cells = old.rows[static_cast<std::size_t>(i)];
    for (std::size_t c = 0; c < fixed; ++c) text += (c == 0 ? "" : ",") + cells[c];
    for (const std::size_t c : from) text += c == 0 ? "," : "," + cells[c];
    text += '\n';
  }
  write_file_atomically(path(), text);
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
  if (columns != columns_ || rows_ == 0) rewrite(columns, rows_);
  std::string text;
  for (const Row& row : buffer_) text += format(row);
  append_to_file(path(), text, "CSVLogger");
  rows_ += static_cast<std::int64_t>(buffer_.size());
  buffer_.clear();
}

Map CSVLoggerImpl::state_dict() const {
  const std::string folder = folder_.known_path();
  if (folder.empty()) return {};
  const auto rows = open_ ? rows_ + static_cast<std::int64_t>(buffer_.size())
                          : static_cast<std::int64_t>(read_content(path()).rows.size());
  return {{"log_dir", folder}, {"rows", rows}};
}

void CSVLoggerImpl::load_state_dict(const Map& state) {
  const std::string folder = folder_.known_path();
  if (state.empty() || folder.empty() || state.get<std::string>("log_dir") != folder) return;
  save();
  if (!fs::exists(path())) return;
  open();
  const auto keep = state.get<std::int64_t>("rows");
  if (keep < rows_) rewrite(columns_, std::max<std::int64_t>(keep, 0));
}

}  // namespace levin
