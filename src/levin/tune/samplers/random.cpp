#include <levin/tune/samplers/random.h>

#include <algorithm>
#include <cmath>

namespace levin::tune {

Value RandomSampler::sample_independent(StudyView&, const FrozenTrial& trial, const std::string& name,
                                        const Distribution& distribution) {
  Rng rng(seed_, "tune.random:" + name, static_cast<std::uint64_t>(trial.number));
  return draw(distribution, rng);
}

Value draw(const Distribution& distribution, Rng& rng) {
  const double low = distribution.low(), high = distribution.high(), step = distribution.step();
  switch (distribution.kind()) {
    case Distribution::Kind::categorical: return distribution.choices()[rng.below(distribution.size())];
    case Distribution::Kind::floating:
      if (low == high) return low;
      if (const auto& normal = distribution.normal()) {
        double value = normal->mean + normal->sd * rng.normal();
        while (!(low <= value && value <= high)) value = normal->mean + normal->sd * rng.normal();
        return value;
      }
      if (distribution.log()) {
        const double value = std::exp(rng.uniform(std::log(low), std::log(high)));
        return std::clamp(value, low, std::nextafter(high, low));
      }
      if (step == 0) return rng.uniform(low, high);
      break;
    case Distribution::Kind::integer:
      if (distribution.log()) {
        // Half a step on each side gives both ends their full share.
        const double value = std::round(std::exp(rng.uniform(std::log(low - 0.5), std::log(high + 0.5))));
        return distribution.to_external(std::clamp(value, low, high));
      }
      break;
  }
  const auto points = static_cast<std::uint64_t>(std::nearbyint((high - low) / step)) + 1;
  const double value = low + static_cast<double>(rng.below(points)) * step;
  return distribution.to_external(std::min(value, high));
}

}  // namespace levin::tune
