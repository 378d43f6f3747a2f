// Sequences of points that fill the unit cube more evenly than random ones.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace levin::tune {

/**
 * Sobol's sequence with the direction numbers of Joe and Kuo 2008 ("Constructing Sobol sequences with better
 * two-dimensional projections"), 32 bits, in Gray code order from the origin on, as scipy.stats.qmc.Sobol has it.
 *
 * With `scramble`, every coordinate goes through Owen's nested uniform scramble, computed by a hash (Burley 2020,
 * "Practical hash-based Owen scrambling"): still a (t, s)-sequence, and no point on the border.
 */
class LEVIN_API SobolSequence {
 public:
  static constexpr std::size_t max_dimension = 3667;

  /** Throws Error for more than `max_dimension` dimensions. */
  explicit SobolSequence(std::size_t dimension, std::optional<std::uint64_t> scramble = std::nullopt);

  /** Point `index`; the sequence has 2^32 points and starts over behind them. */
  std::vector<double> point(std::uint64_t index) const;

 private:
  std::size_t dimension_;
  std::vector<std::uint32_t> directions_;  // by bit, then by dimension
  std::vector<std::uint32_t> seeds_;       // of each dimension's scramble; empty without
};

/**
 * Halton's sequence: the digits of the index in the first primes, mirrored at the point. With `scramble`, every digit
 * of every dimension is permuted at random (Owen 2017, "A randomized Halton algorithm in R").
 */
class LEVIN_API HaltonSequence {
 public:
  explicit HaltonSequence(std::size_t dimension, std::optional<std::uint64_t> scramble = std::nullopt);

  std::vector<double> point(std::uint64_t index) const;

 private:
  std::vector<std::uint64_t> primes_;
  std::optional<std::uint64_t> scramble_;
};

}  // namespace levin::tune
