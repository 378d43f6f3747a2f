// Which way a monitored number should go.
#pragma once

namespace levin {

/** Whether a monitored metric is to be minimised or maximised. */
enum class Mode { min, max };

/** True when `a` is strictly better than `b` under `mode`; a NaN is never better. */
constexpr bool better(double a, double b, Mode mode) { return mode == Mode::min ? a < b : a > b; }

}  // namespace levin
