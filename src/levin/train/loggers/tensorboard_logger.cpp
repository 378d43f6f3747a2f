#include <levin/train/loggers/tensorboard_logger.h>

#include <levin/core/atomic_file.h>
#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/yaml.h>
#include <levin/train/loggers/append_file.h>
#include <levin/train/loggers/event_file.h>

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>

namespace levin {

namespace fs = std::filesystem;

namespace {

// Files that this class wrote, among the event files of others.
constexpr std::string_view kSuffix = ".levin";

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

// TensorBoard's own pattern of names; the counter tells the loggers of one process apart.
std::string new_file_name() {
  static std::atomic<int> count{0};
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  char name[512];
  std::snprintf(name, sizeof name, "events.out.tfevents.%lld.%s.%d.%d%s", static_cast<long long>(now()), host,
                static_cast<int>(::getpid()), count++, std::string(kSuffix).c_str());
  return name;
}

// The second in which a file of ours was begun, from its name; -1 for the files of others.
std::int64_t begun_at(std::string_view name) {
  constexpr std::string_view prefix = "events.out.tfevents.";
  std::int64_t second = -1;
  if (name.starts_with(prefix) && name.ends_with(kSuffix)) {
    std::from_chars(name.data() + prefix.size(), name.data() + name.size(), second);
  }
  return second;
}

// {"a": {"b": 1}} as {"a/b": 1}; what TensorBoard has no type for becomes text.
void flatten(const Map& map, const std::string& prefix, Map& out) {
  for (const auto& [key, value] : map) {
    const bool list_of_maps = value.is_list() && !value.as_list().empty() &&
                              std::ranges::all_of(value.as_list(), [](const Value& v) { return v.is_map(); });
    if (value.is_map()) {
      flatten(value.as_map(), prefix + key + "/", out);
    } else if (list_of_maps) {
      for (std::size_t i = 0; i < value.as_list().size(); ++i) {
        flatten(value.as_list()[i].as_map(), prefix + key + "/" + std::to_string(i) + "/", out);
      }
    } else if (value.is_list() || value.is_null()) {
      out[prefix + key] = value.is_null() ? Value("None") : Value(value.to_string());
    } else {
      out[prefix + key] = value;
    }
  }
}

}  // namespace

TensorBoardLoggerImpl::TensorBoardLoggerImpl(TensorBoardLoggerOptions options)
    : options_(std::move(options)),
      folder_("TensorBoardLogger", options_.save_dir, options_.name, options_.version, options_.sub_dir) {
  if (options_.max_queue < 1) {
    throw Error({.what = "TensorBoardLogger: max_queue must be at least 1",
                 .value = std::to_string(options_.max_queue),
                 .where = {},
                 .hint = {}});
  }
}

void TensorBoardLoggerImpl::add(const std::string& event) {
  if (file_.empty()) {
    file_ = folder_.make() + "/" + new_file_name();
    buffer_ += tensorboard::record(tensorboard::version_event(now()));
  }
  buffer_ += tensorboard::record(event);
  ++queued_;
  if (queued_ >= options_.max_queue || std::chrono::steady_clock::now() - last_save_ > options_.flush_interval) save();
}

void TensorBoardLoggerImpl::log_metrics(const MetricValues& metrics, const LogPoint& point) {
  if (metrics.empty()) return;
  const auto step = static_cast<std::int64_t>(std::llround(position(point, options_.x_axis)));
  const double time = now();
  bool epoch_given = false;
  for (const auto& [name, value] : metrics) {
    add(tensorboard::scalar_event(time, step, with_prefix(options_.prefix, name), static_cast<float>(value)));
    epoch_given |= name == "epoch";
  }
  if (point.epoch && !epoch_given) {
    add(tensorboard::scalar_event(time, step, with_prefix(options_.prefix, "epoch"), static_cast<float>(*point.epoch)));
  }
}

void TensorBoardLoggerImpl::log_hyperparams(const Map& hparams, const MetricValues& metrics) {
  if (hparams.empty()) return;
  for (const auto& [name, value] : hparams) hparams_[name] = value;
  write_file_atomically(folder_.make() + "/hparams.yaml", to_yaml(hparams_));
  MetricValues shown = metrics;
  if (shown.empty() && options_.default_hp_metric) shown.emplace_back("hp_metric", -1.0);
  if (shown.empty()) return;
  log_metrics(shown, {});
  Map flat;
  flatten(hparams, "", flat);
  std::vector<std::string> names;
  for (const auto& metric : shown) names.push_back(metric.first);
  const auto events = tensorboard::hparams_events(now(), 0, flat, names);
  for (const std::string* event : {&events.experiment, &events.session_start, &events.session_end}) add(*event);
}

void TensorBoardLoggerImpl::log_text(const std::string& tag, const std::string& text, std::int64_t step) {
  add(tensorboard::text_event(now(), step, with_prefix(options_.prefix, tag), text));
}

void TensorBoardLoggerImpl::save() {
  last_save_ = std::chrono::steady_clock::now();
  queued_ = 0;
  if (buffer_.empty()) return;
  append_to_file(file_, buffer_, "TensorBoardLogger");
  written_ += static_cast<std::int64_t>(buffer_.size());
  buffer_.clear();
}

// Event files in order of writing; a checkpoint holds the last one and its length.
Map TensorBoardLoggerImpl::state_dict() const {
  const std::string folder = folder_.known_path();
  if (folder.empty()) return {};
  return {{"log_dir", folder},
          {"file", fs::path(file_).filename().string()},
          {"bytes", written_ + static_cast<std::int64_t>(buffer_.size())},
          {"time", now()}};
}

void TensorBoardLoggerImpl::load_state_dict(const Map& state) {
  const std::string folder = folder_.known_path();
  if (state.empty() || folder.empty() || state.get<std::string>("log_dir") != folder || !fs::is_directory(folder))
    return;
  save();
  const auto last = state.get<std::string>("file");
  const auto bytes = state.get<std::int64_t>("bytes");
  if (last != fs::path(last).filename().string() || bytes < 0) {
    throw Error({.what = "the checkpoint's state of the TensorBoardLogger makes no sense",
                 .value = state.to_string(),
                 .where = {},
                 .hint = {}});
  }
  const auto saved_at = static_cast<std::int64_t>(state.get<double>("time"));
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name != last && begun_at(name) >= saved_at) fs::remove(entry.path());
  }
  const fs::path kept = fs::path(folder) / last;
  if (!last.empty() && fs::exists(kept) && static_cast<std::int64_t>(fs::file_size(kept)) > bytes) {
    fs::resize_file(kept, static_cast<std::uintmax_t>(bytes));
  }
  if (!file_.empty() && !fs::exists(file_)) file_.clear();
  written_ = file_.empty() ? 0 : static_cast<std::int64_t>(fs::file_size(file_));
}

}  // namespace levin
