#include <levin/tune/samplers/low_discrepancy.h>

#include <levin/core/error.h>
#include <levin/core/rng.h>

#include <boost/random/sobol.hpp>

#include <algorithm>
#include <bit>
#include <string>

namespace levin::tune {
namespace {

std::uint32_t reversed(std::uint32_t x) {
  x = ((x >> 1) & 0x55555555U) | ((x & 0x55555555U) << 1);
  x = ((x >> 2) & 0x33333333U) | ((x & 0x33333333U) << 2);
  x = ((x >> 4) & 0x0f0f0f0fU) | ((x & 0x0f0f0f0fU) << 4);
  x = ((x >> 8) & 0x00ff00ffU) | ((x & 0x00ff00ffU) << 8);
  return (x >> 16) | (x << 16);
}

// Every bit is flipped or not by a hash of the bits above it (the constants are Vegdahl's, 2021).
std::uint32_t owen_scramble(std::uint32_t x, std::uint32_t seed) {
  x = reversed(x);
  x ^= x * 0x3d20adeaU;
  x += seed;
  x *= (seed >> 16) | 1U;
  x ^= x * 0x05526c56U;
  x ^= x * 0x53a22864U;
  return reversed(x);
}

std::vector<std::uint64_t> first_primes(std::size_t n) {
  std::vector<std::uint64_t> primes;
  for (std::uint64_t candidate = 2; primes.size() < n; ++candidate) {
    const bool prime = std::all_of(primes.begin(), primes.end(), [&](auto p) { return candidate % p != 0; });
    if (prime) primes.push_back(candidate);
  }
  return primes;
}

}  // namespace

SobolSequence::SobolSequence(std::size_t dimension, std::optional<std::uint64_t> scramble) : dimension_(dimension) {
  if (dimension > max_dimension) {
    throw Error({.what = "Sobol's sequence has at most " + std::to_string(max_dimension) + " dimensions",
                 .value = std::to_string(dimension),
                 .where = "SobolSequence",
                 .hint = "Halton's sequence has no such end"});
  }
  if (dimension == 0) return;
  using Table = boost::random::default_sobol_table;
  const boost::random::qrng_detail::sobol_lattice<std::uint32_t, 32, Table> lattice(dimension);
  directions_.assign(lattice.iter_at(0), lattice.iter_at(32 * dimension));
  if (!scramble) return;
  Rng rng(*scramble, "tune.sobol");
  for (std::size_t i = 0; i < dimension; ++i) seeds_.push_back(static_cast<std::uint32_t>(rng() >> 32));
}

std::vector<double> SobolSequence::point(std::uint64_t index) const {
  std::vector<std::uint32_t> bits(dimension_, 0);
  auto gray = static_cast<std::uint32_t>(index ^ (index >> 1));
  for (; gray != 0; gray &= gray - 1) {
    const std::uint32_t* row = directions_.data() + static_cast<std::size_t>(std::countr_zero(gray)) * dimension_;
    for (std::size_t i = 0; i < dimension_; ++i) bits[i] ^= row[i];
  }
  std::vector<double> out(dimension_);
  for (std::size_t i = 0; i < dimension_; ++i) {
    out[i] = seeds_.empty() ? bits[i] * 0x1p-32 : (owen_scramble(bits[i], seeds_[i]) + 0.5) * 0x1p-32;
  }
  return out;
}

HaltonSequence::HaltonSequence(std::size_t dimension, std::optional<std::uint64_t> scramble)
    : primes_(first_primes(dimension)), scramble_(scramble) {}

std::vector<double> HaltonSequence::point(std::uint64_t index) const {
  std::vector<double> out;
  for (const auto base : primes_) {
    double value = 0, place = 1;
    std::uint64_t rest = index;
    // A permuted digit may be above 0 behind the index's last one: those go on until a double holds no more.
    for (std::uint64_t k = 0; scramble_ ? place > 0x1p-54 : rest != 0; ++k) {
      place /= static_cast<double>(base);
      std::uint64_t digit = rest % base;
      if (scramble_) {
        Rng rng(*scramble_, "tune.halton:" + std::to_string(base), k);
        digit = static_cast<std::uint64_t>(rng.permutation(static_cast<std::int64_t>(base))[digit]);
      }
      value += static_cast<double>(digit) * place;
      rest /= base;
    }
    out.push_back(std::min(value, 1 - 0x1p-53));
  }
  return out;
}

}  // namespace levin::tune
