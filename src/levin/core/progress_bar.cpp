#include <levin/core/console.h>
#include <levin/core/progress_bar.h>
#include <levin/core/text.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <limits>
#include <mutex>
#include <utility>
#include <vector>

namespace levin {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
constexpr std::chrono::nanoseconds kRedraw = std::chrono::milliseconds(100);
constexpr std::chrono::nanoseconds kLogLine = std::chrono::seconds(10);

std::int64_t now() { return Clock::now().time_since_epoch().count(); }

std::string repeat(std::string_view piece, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += piece;
  return out;
}

// The bar itself, `width` columns wide, filled in eighths of a column where the character set has them.
std::string draw_bar(double fraction, std::size_t width, bool utf8) {
  const double filled = std::clamp(fraction, 0.0, 1.0) * static_cast<double>(width);
  auto whole = static_cast<std::size_t>(filled);
  if (!utf8) return repeat("#", whole) + repeat("-", width - whole);
  static constexpr const char* kParts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighth = static_cast<std::size_t>((filled - static_cast<double>(whole)) * 8);
  std::string bar = repeat("█", whole);
  if (eighth > 0) bar += kParts[eighth], ++whole;
  return bar + repeat(" ", width - whole);
}

}  // namespace

class ProgressBar::Impl {
 public:
  explicit Impl(ProgressBarOptions options)
      : options_(std::move(options)),
        terminal_(console::is_terminal()),
        position_(options_.initial),
        start_(now()),
        next_(options_.enabled && console::level() <= console::Level::info ? start_ : kNever) {
    // A log wants no line about a job that has hardly begun.
    if (!terminal_ && next_ != kNever) next_ = start_ + kLogLine.count();
  }

  void advance(std::int64_t steps) {
    position_.fetch_add(steps, std::memory_order_relaxed);
    if (due()) redraw(false);
  }

  void set_position(std::int64_t position) {
    position_.store(position, std::memory_order_relaxed);
    if (due()) redraw(false);
  }

  bool due() const {
    const std::int64_t next = next_.load(std::memory_order_relaxed);
    return next != kNever && now() >= next;
  }

  void metric(std::string_view name, double value) {
    const std::lock_guard lock(mutex_);
    for (auto& entry : metrics_) {
      if (entry.first != name) continue;
      entry.second = value;
      return;
    }
    metrics_.emplace_back(name, value);
  }

  void set_description(std::string description) {
    const std::lock_guard lock(mutex_);
    options_.description = std::move(description);
  }

  void set_total(std::optional<std::int64_t> total) {
    const std::lock_guard lock(mutex_);
    options_.total = total;
  }

  void redraw(bool forced) {
    const std::lock_guard lock(mutex_);
    // Another thread may have drawn in the meantime.
    if (next_.load() == kNever || (!forced && !due())) return;
    next_ = now() + (terminal_ ? kRedraw : kLogLine).count();
    draw();
  }

  void finish() {
    const std::lock_guard lock(mutex_);
    if (next_.exchange(kNever) == kNever) return;
    if (terminal_) {
      if (options_.leave) draw();
      line_.release(options_.leave);
    } else if (options_.leave) {
      draw();
    }
  }

  std::int64_t position() const { return position_.load(std::memory_order_relaxed); }

 private:
  void draw() {
    if (terminal_) {
      line_.draw(terminal_line());
    } else {
      console::write(log_line() + '\n');
    }
  }

  double elapsed() const { return static_cast<double>(now() - start_) * 1e-9; }

  // Steps a second since the start; 0 when there is nothing to tell yet.
  double rate() const {
    const double seconds = elapsed();
    return seconds > 0 ? static_cast<double>(position() - options_.initial) / seconds : 0;
  }

  std::string count() const {
    return options_.total ? fmt::format("{}/{}", position(), *options_.total)
                          : fmt::format("{} {}", position(), options_.unit);
  }

  std::string rate_text() const {
    const double r = rate();
    if (r <= 0) return "? " + options_.unit + "/s";
    if (r < 1) return fmt::format("{:.3g} s/{}", 1 / r, options_.unit);
    return r < 1000 ? fmt::format("{:.3g} {}/s", r, options_.unit) : fmt::format("{:.0f} {}/s", r, options_.unit);
  }

  double fraction() const {
    if (!options_.total) return 0;
    return *options_.total > 0 ? static_cast<double>(position()) / static_cast<double>(*options_.total) : 1;
  }

  std::string times() const {
    std::string text = format_duration(elapsed());
    if (options_.total && *options_.total > position()) {
      const double r = rate();
      text += "<" + format_duration(r > 0 ? static_cast<double>(*options_.total - position()) / r : INFINITY);
    }
    return text;
  }

  std::string percent() const {
    // 100% is for the very end.
    const double share = std::clamp(fraction(), 0.0, 1.0) * 100;
    return fmt::format("{:.0f}%", share < 100 ? std::min(std::floor(share), 99.0) : 100.0);
  }

  // What has no room goes away in this order: the bar shrinks, the rate, the bar, the last metrics, the times; at last
  // the description is cut.
  std::string terminal_line() const {
    const std::size_t width = console::width() - 1;  // the last column would make some terminals wrap
    constexpr std::size_t kLongest = 30, kShortest = 6;
    const std::string side = console::has_utf8() ? "│" : "|";
    const std::string head = options_.description.empty() ? "" : options_.description + " ";
    const std::string middle = (options_.total ? percent() + " " : "") + count();
    const std::string time = times();
    std::vector<std::string> tails = {""};
    for (const auto& [name, value] : metrics_) tails.push_back(tails.back() + fmt::format(" {}={:.4g}", name, value));

    for (auto tail = tails.rbegin(); tail != tails.rend(); ++tail) {
      for (const bool with_rate : {true, false}) {
        const std::string right = middle + " [" + time + (with_rate ? ", " + rate_text() : "") + "]" + *tail;
        const std::size_t used = display_width(head) + display_width(right);
        const std::size_t frame = options_.total ? display_width(side) * 2 + 1 : 0;
        if (options_.total && used + frame + kShortest <= width) {
          const std::size_t bar = std::min(kLongest, width - used - frame);
          return head + side + draw_bar(fraction(), bar, console::has_utf8()) + side + " " + right;
        }
        if (used <= width && (!with_rate || !options_.total)) return head + right;
      }
    }
    return fit_to_width(head + middle, width);
  }

  std::string log_line() const {
    std::string text = options_.description.empty() ? "" : options_.description + ": ";
    text += count();
    if (options_.total) text += " " + percent();
    text += " [" + times() + ", " + rate_text() + "]";
    for (const auto& [name, value] : metrics_) text += fmt::format(" {}={:.4g}", name, value);
    return text;
  }

  ProgressBarOptions options_;
  const bool terminal_;
  std::atomic<std::int64_t> position_;
  const std::int64_t start_;
  std::atomic<std::int64_t> next_;  // when to draw again; kNever: not shown or finished
  std::mutex mutex_;
  std::vector<std::pair<std::string, double>> metrics_;
  console::LiveLine line_;
};

ProgressBar::ProgressBar(ProgressBarOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
ProgressBar::~ProgressBar() {
  if (impl_) impl_->finish();
}
ProgressBar::ProgressBar(ProgressBar&&) noexcept = default;
ProgressBar& ProgressBar::operator=(ProgressBar&& other) noexcept {
  if (impl_) impl_->finish();
  impl_ = std::move(other.impl_);
  return *this;
}

void ProgressBar::advance(std::int64_t steps) { impl_->advance(steps); }
void ProgressBar::set_position(std::int64_t position) { impl_->set_position(position); }
bool ProgressBar::due() const { return impl_->due(); }
void ProgressBar::metric(std::string_view name, double value) { impl_->metric(name, value); }
void ProgressBar::set_description(std::string description) { impl_->set_description(std::move(description)); }
void ProgressBar::set_total(std::optional<std::int64_t> total) { impl_->set_total(total); }
void ProgressBar::refresh() { impl_->redraw(true); }
void ProgressBar::finish() { impl_->finish(); }
std::int64_t ProgressBar::position() const { return impl_->position(); }

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e12) return "?";
  const auto whole = static_cast<std::int64_t>(seconds);
  if (whole < 3600) return fmt::format("{:02d}:{:02d}", whole / 60, whole % 60);
  return fmt::format("{}:{:02d}:{:02d}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace levin
