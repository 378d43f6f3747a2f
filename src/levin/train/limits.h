// How much and how often, by type: count(10), fraction(0.1), every(100, Unit::steps), every(10min).
#pragma once

#include <levin/core/export.h>

#include <chrono>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace levin {

/** The number of batches of a loader that does not know its length. */
inline constexpr std::int64_t kUnknownLength = std::numeric_limits<std::int64_t>::max();

/** How many batches of a loader to use: `count(10)` or `fraction(0.1)`. */
class LEVIN_API Limit {
 public:
  enum class Kind { count, fraction };

  constexpr Kind kind() const { return kind_; }
  constexpr double value() const { return value_; }
  /** The number of batches of `batches` that this allows; of kUnknownLength, a count or all of them. */
  std::int64_t of(std::int64_t batches) const;
  /** "count(10)" or "fraction(0.1)". */
  std::string to_string() const;
  /** Reads `to_string`, and bare numbers: "10" counts, "0.1" and "1.0" are fractions. Throws Error. */
  static Limit parse(std::string_view text);

  friend constexpr bool operator==(const Limit&, const Limit&) = default;

 private:
  friend constexpr Limit count(std::int64_t batches);
  friend constexpr Limit fraction(double share);
  constexpr Limit(Kind kind, double value) : kind_(kind), value_(value) {}

  Kind kind_;
  double value_;
};

/** At most so many batches. */
constexpr Limit count(std::int64_t batches) { return {Limit::Kind::count, static_cast<double>(batches)}; }
/** This share of the batches, rounded down. */
constexpr Limit fraction(double share) { return {Limit::Kind::fraction, share}; }

/** What an interval counts: training batches, optimizer steps or epochs, all over the whole fit. */
enum class Unit { batches, steps, epochs };

/** A recurring moment: `every(100, Unit::steps)`, or by the clock `every(std::chrono::minutes(10))`. */
class LEVIN_API Every {
 public:
  using Duration = std::chrono::duration<double>;

  constexpr bool by_clock() const { return by_clock_; }
  constexpr std::int64_t count() const { return count_; }
  constexpr Unit unit() const { return unit_; }
  constexpr Duration period() const { return period_; }
  /** "every(100, steps)" or "every(600 s)". */
  std::string to_string() const;

  friend constexpr bool operator==(const Every&, const Every&) = default;

 private:
  friend constexpr Every every(std::int64_t n, Unit unit);
  friend constexpr Every every(std::chrono::duration<double> period);
  constexpr Every(std::int64_t n, Unit unit) : count_(n), unit_(unit) {}
  constexpr explicit Every(Duration period) : by_clock_(true), period_(period) {}

  bool by_clock_ = false;
  std::int64_t count_ = 1;
  Unit unit_ = Unit::batches;
  Duration period_{0};
};

/** Every n-th batch, step or epoch of a fit. */
constexpr Every every(std::int64_t n, Unit unit) { return Every(n, unit); }
/** Whenever so much time has passed. */
constexpr Every every(std::chrono::duration<double> period) { return Every(period); }

/**
 * When to validate: `count(k)` after every k-th batch of an epoch, `fraction(f)` after that share of an epoch's batches
 * (1.0: at its end), or `every(...)` across epochs.
 */
class LEVIN_API ValCheckInterval {
 public:
  constexpr ValCheckInterval(Limit within_epoch) : limit_(within_epoch) {}
  constexpr ValCheckInterval(Every across_epochs) : across_epochs_(true), every_(across_epochs) {}

  constexpr bool across_epochs() const { return across_epochs_; }
  constexpr const Limit& limit() const { return limit_; }
  constexpr const Every& interval() const { return every_; }
  /** True for the default: once, at the end of an epoch. */
  constexpr bool is_epoch_end() const { return !across_epochs_ && limit_ == fraction(1.0); }
  std::string to_string() const { return across_epochs_ ? every_.to_string() : limit_.to_string(); }
  /** Reads a Limit, "every(100, steps)", or a duration "DD:HH:MM:SS". Throws Error. */
  static ValCheckInterval parse(std::string_view text);

  friend constexpr bool operator==(const ValCheckInterval&, const ValCheckInterval&) = default;

 private:
  bool across_epochs_ = false;
  Limit limit_ = fraction(1.0);
  Every every_ = levin::every(1, Unit::epochs);
};

/** Reads "DD:HH:MM:SS", "HH:MM:SS" or a number with a unit ("90s", "5m", "2h", "1d"). Throws Error. */
LEVIN_API std::chrono::milliseconds parse_duration(std::string_view text);

}  // namespace levin
