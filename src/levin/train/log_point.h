// A row of metrics: the values and the point of the run where they were made.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace levin {

/** A name and its value, in order of logging. */
using MetricValues = std::vector<std::pair<std::string, double>>;

/** Where in a run a row of metrics was made. */
struct LogPoint {
  std::int64_t step = 0;                   ///< optimizer steps, from 0: the first step's row has 0
  std::optional<std::int64_t> epoch = {};  ///< from 0; none where the row belongs to no epoch
  std::int64_t batches = 0;                ///< training batches so far
  std::int64_t samples = 0;                ///< training samples so far
  double seconds = 0;                      ///< training time so far, resumed runs included
};

/** What the rows of a logger are plotted against. */
enum class XAxis { step, epoch, batches, samples, seconds };

/** "step", "epoch", ...: the axis as a column is called. */
constexpr std::string_view axis_name(XAxis axis) {
  constexpr std::string_view names[] = {"step", "epoch", "batches", "samples", "seconds"};
  return names[static_cast<std::size_t>(axis)];
}

/** The point's place on an axis. */
constexpr double position(const LogPoint& point, XAxis axis) {
  switch (axis) {
    case XAxis::epoch: return static_cast<double>(point.epoch.value_or(0));
    case XAxis::batches: return static_cast<double>(point.batches);
    case XAxis::samples: return static_cast<double>(point.samples);
    case XAxis::seconds: return point.seconds;
    case XAxis::step: break;
  }
  return static_cast<double>(point.step);
}

}  // namespace levin
