#include <levin/app/trial_board.h>

#include <levin/core/progress_bar.h>
#include <levin/core/text.h>
#include <levin/core/text_table.h>

#include <algorithm>
#include <limits>

namespace levin::app {
namespace {

constexpr std::size_t kNumber = 6, kState = 9, kValue = 12, kTime = 8;

std::string row(const std::string& number, const std::string& state, const std::string& value, const std::string& time,
                const std::string& settings) {
  return pad_to_width(number, kNumber, true) + "  " + pad_to_width(state, kState) + "  " +
         pad_to_width(value, kValue, true) + "  " + pad_to_width(time, kTime, true) + "  " + settings;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool is_shown() { return console::level() <= console::Level::info; }

void write_line(const std::string& line) {
  console::write((console::is_terminal() ? fit_to_width(line, console::width()) : line) + "\n");
}

}  // namespace

TrialBoard::TrialBoard(tune::Study study, TrialBoardOptions options)
    : study_(std::move(study)), options_(std::move(options)) {}

std::string TrialBoard::line(const tune::FrozenTrial& trial, bool best) {
  std::string value, settings;
  for (const double v : trial.values) value += (value.empty() ? "" : " ") + format_metric(v);
  for (const auto& [name, setting] : trial.params) {
    settings += (settings.empty() ? "" : " ") + name.substr(name.rfind('.') + 1) + "=" +
                (setting.is_float() ? format_metric(setting.as_double()) : setting.to_string());
  }
  const auto duration = trial.duration();
  return row(std::to_string(trial.number), lower(to_string(trial.state)) + (best ? " *" : ""), value,
             duration ? format_duration(duration->count()) : "", settings);
}

void TrialBoard::begin(const tune::FrozenTrial& trial) {
  const std::lock_guard lock(mutex_);
  running_[trial.number] = std::chrono::steady_clock::now();
  draw();
}

void TrialBoard::drop(std::int64_t number) {
  const std::lock_guard lock(mutex_);
  running_.erase(number);
  draw();
}

void TrialBoard::end(const tune::FrozenTrial& trial) {
  const std::lock_guard lock(mutex_);
  running_.erase(trial.number);
  ++ended_;
  if (trial.state == tune::TrialState::pruned) ++pruned_;
  if (trial.state == tune::TrialState::fail) ++failed_;
  // Others may work on the study, too, and have found a better one.
  bool is_best = false;
  if (study_.directions().size() == 1 && trial.state == tune::TrialState::complete) {
    try {
      best_ = study_.best_trial();
      is_best = best_->number == trial.number;
    } catch (const Error&) {
      best_.reset();  // complete, but not feasible
    }
  }
  if (is_shown()) {
    if (!headed_) write_line(row("trial", "state", "value", "time", "settings"));
    headed_ = true;
    write_line(line(trial, is_best));
  }
  draw();
}

double TrialBoard::left(double elapsed) const {
  double seconds = std::numeric_limits<double>::infinity();
  if (options_.timeout) seconds = std::max(0.0, *options_.timeout - elapsed);
  if (options_.n_trials && ended_ > 0) {
    const auto to_do = static_cast<double>(std::max<std::int64_t>(0, *options_.n_trials - ended_));
    seconds = std::min(seconds, to_do * elapsed / static_cast<double>(ended_));
  }
  return seconds;
}

std::string TrialBoard::summary() const {
  const double elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  std::string out = std::to_string(ended_);
  if (options_.n_trials) out += "/" + std::to_string(*options_.n_trials);
  out += " trials";
  if (best_) out += ", best " + format_metric(best_->value()) + " in trial " + std::to_string(best_->number);
  if (pruned_ > 0) out += ", " + std::to_string(pruned_) + " pruned";
  if (failed_ > 0) out += ", " + std::to_string(failed_) + " failed";
  if (!running_.empty()) out += ", " + std::to_string(running_.size()) + " running";
  out += ", " + format_duration(elapsed);
  const double seconds = left(elapsed);
  if (seconds < std::numeric_limits<double>::infinity() && !(options_.n_trials && ended_ >= *options_.n_trials)) {
    out += ", " + format_duration(seconds) + " left";
  }
  return out;
}

void TrialBoard::draw() {
  if (is_shown() && console::is_terminal()) live_.draw(fit_to_width(summary(), console::width() - 1));
}

void TrialBoard::finish() {
  const std::lock_guard lock(mutex_);
  if (!is_shown()) return;
  if (console::is_terminal()) {
    draw();
    live_.release(true);
  } else if (ended_ > 0) {
    write_line(summary());
  }
}

}  // namespace levin::app
