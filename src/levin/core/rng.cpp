#include <levin/core/rng.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

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

// Eight blocks from `block` on, as words in order. Lanes do not wait for each other, so it takes a fifth of the time.
constexpr std::uint64_t kBlocks = 8;
using Words = std::array<std::uint64_t, 2 * kBlocks>;

#if defined(__SSE2__)
Words philox_blocks(std::uint64_t key, std::uint64_t index, std::uint64_t block) {
  constexpr std::size_t kVectors = kBlocks / 2;  // two blocks each: a 32-bit number in the low half of each 64-bit lane
  const __m128i m0 = _mm_set1_epi64x(0xD2511F53), m1 = _mm_set1_epi64x(0xCD9E8D57);
  auto k0 = static_cast<std::uint32_t>(key), k1 = static_cast<std::uint32_t>(key >> 32);
  const auto lanes = [](std::uint64_t low, std::uint64_t high) {
    return _mm_set_epi64x(static_cast<long long>(high), static_cast<long long>(low));
  };
  __m128i c0[kVectors], c1[kVectors], c2[kVectors], c3[kVectors];
  for (std::size_t v = 0; v < kVectors; ++v) {
    const std::uint64_t b = block + 2 * v;
    c0[v] = lanes(b, b + 1);
    c1[v] = lanes(b >> 32, (b + 1) >> 32);
    c2[v] = lanes(index, index);
    c3[v] = lanes(index >> 32, index >> 32);
  }
  for (int round = 0; round < 10; ++round) {
    const __m128i w0 = lanes(k0, k0), w1 = lanes(k1, k1);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < kVectors; ++v) {
      const __m128i p0 = _mm_mul_epu32(m0, c0[v]), p1 = _mm_mul_epu32(m1, c2[v]);
      c0[v] = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(p1, 32), c1[v]), w0);
      c2[v] = _mm_xor_si128(_mm_xor_si128(_mm_srli_epi64(p0, 32), c3[v]), w1);
      c1[v] = p1;
      c3[v] = p0;
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  Words words;
  const __m128i low = lanes(0xFFFFFFFF, 0xFFFFFFFF);
  const auto word = [&](__m128i a, __m128i b) { return _mm_or_si128(_mm_and_si128(a, low), _mm_slli_epi64(b, 32)); };
  for (std::size_t v = 0; v < kVectors; ++v) {
    const __m128i first = word(c0[v], c1[v]), second = word(c2[v], c3[v]);
    auto* out = reinterpret_cast<__m128i*>(words.data() + 4 * v);
    _mm_storeu_si128(out, _mm_unpacklo_epi64(first, second));
    _mm_storeu_si128(out + 1, _mm_unpackhi_epi64(first, second));
  }
  return words;
}
#else
Words philox_blocks(std::uint64_t key, std::uint64_t index, std::uint64_t block) {
  Words words;
  for (std::size_t b = 0; b < kBlocks; ++b) {
    const auto pair = philox(key, index, block + b);
    words[2 * b] = pair[0];
    words[2 * b + 1] = pair[1];
  }
  return words;
}
#endif

// Lemire 2019, "Fast random integer generation in an interval".
template <class Draw>
std::uint64_t draw_below(std::uint64_t n, const Draw& draw) {
  __extension__ using uint128 = unsigned __int128;
  uint128 product = uint128{draw()} * n;
  if (static_cast<std::uint64_t>(product) < n) {
    const std::uint64_t threshold = (0 - n) % n;
    while (static_cast<std::uint64_t>(product) < threshold) product = uint128{draw()} * n;
  }
  return static_cast<std::uint64_t>(product >> 64);
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

std::uint64_t Rng::below(std::uint64_t n) {
  return draw_below(n, [this] { return (*this)(); });
}

// Box-Muller without a spare, so that the position alone is the state.
double Rng::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

std::vector<std::int64_t> Rng::permutation(std::int64_t n) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  Words words;
  std::uint64_t position = state_.position, begin = 0, end = 0;  // where the words are from
  const auto draw = [&] {
    if (position >= end) {
      begin = position / 2 * 2;
      end = begin + words.size();
      words = philox_blocks(state_.key, state_.index, begin / 2);
    }
    return words[position++ - begin];
  };
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[draw_below(i, draw)]);
  state_.position = position;
  return order;
}

}  // namespace levin
