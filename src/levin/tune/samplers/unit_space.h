// UnitSpace: a search space as a cube, for samplers that compute with vectors.
#pragma once

#include <levin/core/export.h>
#include <levin/core/rng.h>
#include <levin/tune/frozen_trial.h>
#include <levin/tune/samplers/scale.h>

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace levin::tune {

/** Parameters by name on [0, 1]: numbers on their Scale, a choice at the middle of its share of the range. */
class LEVIN_API UnitSpace {
 public:
  UnitSpace() = default;
  /** Parameters with a single value are left out. */
  explicit UnitSpace(const SearchSpace& space);

  std::size_t size() const noexcept { return params_.size(); }
  const std::string& name(std::size_t i) const { return params_[i].name; }
  const Distribution& distribution(std::size_t i) const { return params_[i].distribution; }
  /** The number of choices of a categorical parameter; 0 for a number. */
  std::size_t n_choices(std::size_t i) const;

  double encode(std::size_t i, const Value& value) const;
  Value decode(std::size_t i, double u) const;
  /** The choice that `u` stands for. */
  std::size_t choice(std::size_t i, double u) const;
  /** The middle of a choice's share. */
  double of_choice(std::size_t i, std::size_t choice) const;
  /** `u` moved to the nearest point that a value has. */
  double snap(std::size_t i, double u) const;

  /** The trial's point, or nothing when it lacks a parameter or has a value outside the range. */
  std::optional<std::vector<double>> encode(const FrozenTrial& trial) const;
  Map decode(const std::vector<double>& point) const;
  std::vector<double> random(Rng& rng) const;

 private:
  struct Param {
    std::string name;
    Distribution distribution;
    std::optional<Scale> scale;  // of a number
  };
  std::vector<Param> params_;
};

/** The parameters that all trials have with equal distributions, by name; nothing for no trials. */
LEVIN_API SearchSpace common_space(const std::vector<TrialPtr>& trials);

}  // namespace levin::tune
