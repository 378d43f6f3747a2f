// What a parameter may be: a range of floats or ints, or a set of choices.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace levin::tune {

/** Floats in [low, high]; with `step`, the points low, low + step, ...; with `log`, uniform in the logarithm. */
struct FloatDistribution {
  double low = 0;
  double high = 1;
  bool log = false;
  std::optional<double> step = std::nullopt;
};

/** Ints in [low, high], every `step`-th of them; with `log`, (nearly) uniform in the logarithm. */
struct IntDistribution {
  std::int64_t low = 0;
  std::int64_t high = 1;
  bool log = false;
  std::int64_t step = 1;
};

/** One of the choices: null, bools, ints, floats or strings. */
struct CategoricalDistribution {
  List choices;
};

/**
 * One of the choices, whose order means something: 16, 32, 64 or small, medium, large.
 *
 * Samplers see the ints 0, 1, ... of its places, so neighbours are near each other; objectives see the choices. It is
 * stored as an int range (with the choices beside it), which Optuna reads and samples as ints.
 */
struct OrdinalDistribution {
  List choices;
};

/** Mean and standard deviation of a normal distribution. */
struct NormalPrior {
  double mean = 0;
  double sd = 1;
};

/**
 * The range of one parameter; a cheap handle on an immutable description.
 *
 * A parameter has two forms: the external one that an objective sees (a float, an int, a choice), and the internal
 * one that storages and samplers compute with, a double: the number itself, or the index of the choice. The names,
 * the JSON and the rules are those of Optuna's distributions, so that both read each other's studies.
 */
class LEVIN_API Distribution {
 public:
  enum class Kind { floating, integer, categorical };

  /** Throw Error for an empty or unordered range, `log` with a step or with low <= 0 (ints: low < 1), step <= 0. */
  Distribution(const FloatDistribution& range);
  Distribution(const IntDistribution& range);
  Distribution(CategoricalDistribution set);
  Distribution(OrdinalDistribution set);
  /**
   * Floats that random sampling draws from a normal distribution, cut five standard deviations from its mean (one draw
   * in 1.7 million lies beyond). Other samplers search that range. Throws Error unless sd > 0.
   */
  explicit Distribution(const NormalPrior& prior);

  /**
   * The same logarithmic or normal range, whose values are rounded to multiples of `q` once they are chosen. Throws
   * Error unless q > 0, and unless both ends of a logarithmic range are multiples of q.
   */
  Distribution rounded_to(double q) const;
  /** The same choices, all of which a Tuner is to try. Throws Error for what is not categorical. */
  Distribution as_grid() const;

  Kind kind() const noexcept { return rep_->kind; }
  bool is_categorical() const noexcept { return rep_->kind == Kind::categorical; }
  double low() const noexcept { return rep_->low; }    ///< numeric kinds only
  double high() const noexcept { return rep_->high; }  ///< numeric kinds only; low + k * step when there is a step
  bool log() const noexcept { return rep_->log; }
  /** The distance of neighbouring points; 0 for a continuous range. */
  double step() const noexcept { return rep_->step; }
  const List& choices() const noexcept { return rep_->choices; }
  /** Whether the choices are ordered; the kind is `integer` then, and `choices()` are what objectives see. */
  bool is_ordinal() const noexcept { return kind() == Kind::integer && !rep_->choices.empty(); }
  /** Whether every choice is to be tried (`grid_search`). */
  bool is_grid() const noexcept { return rep_->grid; }
  /** Values are multiples of this number; 0 when they are not rounded. */
  double quantum() const noexcept { return rep_->quantum; }
  /** The normal distribution that random sampling draws from, if it is one. */
  const std::optional<NormalPrior>& normal() const noexcept { return rep_->normal; }
  /** The internal number rounded to `quantum()` within the range. */
  double rounded(double internal) const;
  /** The number of choices of a categorical parameter. */
  std::size_t size() const noexcept { return rep_->choices.size(); }

  /** The internal form of `value`; throws Error when it is no number, not one of the choices, or NaN. */
  double to_internal(const Value& value) const;
  /** The external form of an internal number: float, int or the choice. */
  Value to_external(double internal) const;
  /** Whether the internal number lies in the range and on its grid. */
  bool contains(double internal) const;
  /** Whether there is just one value to choose. */
  bool single() const;
  /** The value of a distribution that is `single()`. */
  Value single_value() const;

  /** Optuna's JSON: {"name": "FloatDistribution", "attributes": {...}}. */
  std::string to_json() const;
  /** Reads `to_json`, the class names of old Optuna versions, and Optuna's short form {"type": "float", ...}. */
  static Distribution from_json(std::string_view json);

  /** A text such as `loguniform(1e-05, 0.1)` that `parse_distribution` reads back. */
  std::string to_text() const;

  /** Equal also in how values are drawn and rounded. */
  bool same_in_all(const Distribution& other) const;

  /** Equal kind, range, scale and choices (a NaN choice equals a NaN choice), however values are drawn or rounded. */
  friend LEVIN_API bool operator==(const Distribution& a, const Distribution& b);

 private:
  struct Rep {
    Kind kind;
    double low = 0, high = 0, step = 0;
    bool log = false;
    List choices;
    bool grid = false;
    double quantum = 0;
    std::optional<NormalPrior> normal = std::nullopt;
  };
  explicit Distribution(Rep rep);

  std::shared_ptr<const Rep> rep_;
};

/**
 * Throws Error unless `next` may follow `before` under the same name in one study: the same kind, the same scale and,
 * if categorical, the same choices. Numeric ranges may change from trial to trial.
 */
LEVIN_API void check_compatible(const std::string& name, const Distribution& before, const Distribution& next);

}  // namespace levin::tune
