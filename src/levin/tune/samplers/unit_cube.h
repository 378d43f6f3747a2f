// UnitCube: a search space as the cube [0, 1]^d, where numbers, logarithms, steps and choices look alike.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>
#include <levin/tune/frozen_trial.h>
#include <levin/tune/space.h>

#include <cstddef>
#include <optional>
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
  /** The number of choices of a categorical parameter; 0 for a number. */
  std::size_t n_choices() const noexcept { return is_categorical() ? distribution_.size() : 0; }

  double to_unit(double internal) const;
  /** The internal value at `u`, which is brought into [0, 1] first: on the grid, and inside the range. */
  double from_unit(double u) const;
  /** The coordinate of point `index` (0 <= index < n_points()). */
  double point(double index) const;
  /** The index of the point that `u` belongs to. */
  double index_of(double u) const;
  /** The choice that `u` belongs to; categorical parameters only. */
  std::size_t choice(double u) const { return static_cast<std::size_t>(from_unit(u)); }
  /** `u`, brought into [0, 1] first, moved to the nearest coordinate that a value has. */
  double snap(double u) const;

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
  /** The same of a trial, or nothing when it lacks a parameter or has a value outside the range. */
  std::optional<std::vector<double>> to_unit(const FrozenTrial& trial) const;
  /** The external values at a point. */
  Map to_params(std::span<const double> point) const;
  /** A point drawn uniformly from those that values have. */
  std::vector<double> random(Rng& rng) const;

 private:
  std::vector<std::string> names_;
  std::vector<UnitAxis> axes_;
};

/** The parameters that all trials have with equal distributions, by name; nothing for no trials. */
LEVIN_API SearchSpace common_space(const std::vector<TrialPtr>& trials);

}  // namespace levin::tune
