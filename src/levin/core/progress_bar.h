// A progress bar: one redrawn line in a terminal, now and then a plain line in a pipe or a log file.
#pragma once

#include <levin/core/export.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace levin {

struct ProgressBarOptions {
  std::string description = "";            ///< what is going on, in front of the bar
  std::optional<std::int64_t> total = {};  ///< steps to do; unknown without one
  std::int64_t initial = 0;                ///< steps already done, for instance before a resume
  std::string unit = "it";                 ///< what a step is, in the rate
  bool leave = true;                       ///< keep the finished bar on the screen, or in the log as a last line
  bool enabled = true;                     ///< false: nothing is ever shown
};

/**
 * Progress on standard error. In a terminal it redraws one line at most ten times a second, as wide as the terminal is
 * then and never wider; elsewhere it writes a plain line at most every ten seconds and one at the end. Nothing is
 * shown when LEVIN_LOG is above info. Steps may come from several threads; an `advance` costs one look at the clock.
 */
class LEVIN_API ProgressBar {
 public:
  explicit ProgressBar(ProgressBarOptions options = {});
  ~ProgressBar();  ///< leaves the bar where it stands, unless finish() came before
  ProgressBar(ProgressBar&&) noexcept;
  ProgressBar& operator=(ProgressBar&&) noexcept;

  /** Counts `steps` more, and redraws when it is time to. */
  void advance(std::int64_t steps = 1);
  /** Sets the count, and redraws when it is time to. */
  void set_position(std::int64_t position);
  /** Whether the next advance will redraw: ask before computing what only the bar wants to know. */
  bool due() const;

  /** A number shown behind the bar under `name`; names keep the order in which they first came. */
  void metric(std::string_view name, double value);
  void set_description(std::string description);
  void set_total(std::optional<std::int64_t> total);

  /** Redraws now. */
  void refresh();
  /** Shows the last state and gives the line up. */
  void finish();

  std::int64_t position() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/** Seconds as people read them: 03:07, 1:02:09; "?" when not finite. */
LEVIN_API std::string format_duration(double seconds);

}  // namespace levin
