// UnitCube: a search space as the cube [0, 1]^d, where numbers, logarithms, steps and choices look alike.
#pragma once

#include <levin/core/export.h>
#include <levin/tune/space.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace levin::tune {

/**
 * One parameter as a coordinate in [0, 1]: logarithms are taken, and the points of a stepped range (or the choices)
 * each own an equal share, or with `log` the share that half a step on both sides gives them.
 */
class LEVIN_API UnitAxis {
 public:
  explicit UnitAxis(const Distribution& distribution);

  const Distribution& distribution() const noexcept { return distribution_; }
  bool is_categorical() const noexcept { return distribution_.is_categorical(); }
  /** The number of points of a stepped range or of choices; 0 for a continuous range. */
  double n_points() const noexcept { return n_points_; }

  double to_unit(double internal) const;
  /** The internal value at `u`, which is brought into [0, 1] first: on the grid, and inside the range. */
  double from_unit(double u) const;
  /** The coordinate of point `index` (0 <= index < n_points()). */
  double point(double index) const;
  /** The index of the point that `u` belongs to. */
  double index_of(double u) const;

 private:
  Distribution distribution_;
  double n_points_ = 0;
  double low_ = 0, high_ = 1;  // the ends, half a step out, after the logarithm
};

/** A search space without parameters of a single value, one axis each, in the order of the space. */
class LEVIN_API UnitCube {
 public:
  UnitCube() = default;
  explicit UnitCube(const SearchSpace& space);

  std::size_t size() const noexcept { return axes_.size(); }
  const UnitAxis& operator[](std::size_t i) const { return axes_[i]; }
  const std::string& name(std::size_t i) const { return names_[i]; }

  /** The coordinates of `params`, which holds (at least) every parameter of the space. */
  std::vector<double> to_unit(const Map& params) const;
  /** The external values at a point. */
  Map to_params(std::span<const double> point) const;

 private:
  std::vector<std::string> names_;
  std::vector<UnitAxis> axes_;
};

}  // namespace levin::tune
