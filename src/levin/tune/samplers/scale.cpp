#include <levin/tune/samplers/scale.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {
namespace {

// Half the distance of neighbouring points, before the logarithm.
double half_step(const Distribution& d) {
  if (d.kind() == Distribution::Kind::integer && d.log()) return 0.5;
  return 0.5 * d.step();
}

}  // namespace

Scale::Scale(const Distribution& distribution) : distribution_(distribution) {
  const double half = half_step(distribution);
  low_ = to_scale(distribution.low() - half);
  high_ = to_scale(distribution.high() + half);
}

double Scale::to_scale(double internal) const { return distribution_.log() ? std::log(internal) : internal; }

double Scale::from_scale(double x) const {
  const double low = distribution_.low(), high = distribution_.high();
  double value = distribution_.log() ? std::exp(x) : x;
  if (distribution_.kind() == Distribution::Kind::integer && distribution_.log()) {
    value = std::round(value);
  } else if (distribution_.step() > 0) {
    value = low + std::round((std::clamp(value, low, high) - low) / distribution_.step()) * distribution_.step();
  }
  return std::clamp(value, low, high);
}

double Scale::to_unit(double internal) const {
  return width() > 0 ? std::clamp((to_scale(internal) - low_) / width(), 0.0, 1.0) : 0.5;
}

}  // namespace levin::tune
