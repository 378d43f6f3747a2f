#include <levin/core/rng.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

namespace levin {
namespace {

std::uint64_t splitmix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

std::array<std::uint64_t, 2> philox(std::uint64_t key, std::uint64_t index, std::uint64_t block) {
  constexpr std::uint64_t m0 = 0xD2511F53, m1 = 0xCD9E8D57;
  constexpr std::uint32_t w0 = 0x9E3779B9, w1 = 0xBB67AE85;
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  std::array<std::uint32_t, 4> c{static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(block >> 32),
                                 static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32)};
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = m0 * c[0], p1 = m1 * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += w0;
    k1 += w1;
  }
  return {(std::uint64_t{c[1]} << 32) | c[0], (std::uint64_t{c[3]} << 32) | c[2]};
}

}  // namespace

std::uint64_t stable_hash(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3ULL;
  return splitmix(hash);
}

std::uint64_t mix_seed(std::uint64_t a, std::uint64_t b) { return splitmix(splitmix(a) ^ b); }

Rng::Rng(std::uint64_t seed, std::string_view purpose, std::uint64_t index)
    : state_{.key = mix_seed(seed, stable_hash(purpose)), .index = index, .position = 0} {}

Rng::result_type Rng::operator()() {
  const std::uint64_t number = state_.position / 2;
  if (number != block_number_) {
    block_ = philox(state_.key, state_.index, number);
    block_number_ = number;
  }
  return block_[state_.position++ % 2];
}

double Rng::uniform() { return static_cast<double>((*this)() >> 11) * 0x1.0p-53; }

double Rng::uniform(double low, double high) {
  const double value = low + (high - low) * uniform();
  return value < high ? value : std::nextafter(high, low);  // rounding may reach `high`
}

// Lemire 2019, "Fast random integer generation in an interval".
std::uint64_t Rng::below(std::uint64_t n) {
  __extension__ using uint128 = unsigned __int128;
  uint128 product = uint128{(*this)()} * n;
  if (static_cast<std::uint64_t>(product) < n) {
    const std::uint64_t threshold = (0 - n) % n;
    while (static_cast<std::uint64_t>(product) < threshold) product = uint128{(*this)()} * n;
  }
  return static_cast<std::uint64_t>(product >> 64);
}

// Box-Muller without a spare, so that the position alone is the state.
double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

std::vector<std::int64_t> Rng::permutation(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[below(i)]);
  return order;
}

}  // namespace levin
