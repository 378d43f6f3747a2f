// Counter-based random streams: what a stream yields depends on (seed, purpose, index) alone, never on thread order.
#pragma once

#include <levin/core/export.h>

#include <array>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace levin {

/**
 * A Philox 4x32-10 stream (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * Streams of different (seed, purpose, index) are independent; the position is a plain counter, so saving and
 * restoring a stream costs nothing. Satisfies UniformRandomBitGenerator (64 bits a call).
 */
class LEVIN_API Rng {
 public:
  using result_type = std::uint64_t;

  /** Everything needed to continue a stream exactly. */
  struct State {
    std::uint64_t key = 0;       ///< mixed from seed and purpose
    std::uint64_t index = 0;     ///< the stream's index
    std::uint64_t position = 0;  ///< 64-bit words drawn so far
    friend bool operator==(const State&, const State&) = default;
  };

  explicit Rng(std::uint64_t seed, std::string_view purpose = "", std::uint64_t index = 0);
  explicit Rng(const State& state) : state_(state) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return std::numeric_limits<result_type>::max(); }
  result_type operator()();

  double uniform();                         ///< in [0, 1), 53 bits
  double uniform(double low, double high);  ///< in [low, high)
  std::uint64_t below(std::uint64_t n);     ///< in [0, n) without bias; n > 0
  double normal();                          ///< standard normal
  std::vector<std::int64_t> permutation(std::int64_t n);  ///< 0..n-1 shuffled (Fisher-Yates)

  State state() const { return state_; }

 private:
  State state_;
  std::array<std::uint64_t, 2> block_{};
  std::uint64_t block_number_ = std::numeric_limits<std::uint64_t>::max();
};

/** A 64-bit hash of text (FNV-1a with a finaliser), the same on every machine. */
LEVIN_API std::uint64_t stable_hash(std::string_view text);

/** Mixes two 64-bit words into one (splitmix64 finaliser), to derive a seed from a seed. */
LEVIN_API std::uint64_t mix_seed(std::uint64_t a, std::uint64_t b);

}  // namespace levin
