#include <levin/compile/kernels/random.h>

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/random.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/simd-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;
using U = hn::ScalableTag<std::uint32_t>;
using VU = hn::Vec<U>;
constexpr U kWords;

/** The high and low halves of the products of all lanes by a constant. */
HWY_INLINE void multiply(VU a, VU constant, VU& high, VU& low) {
  const hn::Repartition<std::uint64_t, U> wide;
  const auto even = hn::MulEven(a, constant);
  const auto odd = hn::MulEven(hn::BitCast(kWords, hn::ShiftRight<32>(hn::BitCast(wide, a))), constant);
  high = hn::OddEven(hn::BitCast(kWords, odd), hn::BitCast(kWords, hn::ShiftRight<32>(even)));
  low = hn::OddEven(hn::BitCast(kWords, hn::ShiftLeft<32>(odd)), hn::BitCast(kWords, even));
}

/**
 * A block is 64 elements: word w of the counters 16 b, ..., 16 b + 15 is elements 64 b + 16 w to 64 b + 16 w + 15. So a
 * vector of 4, 8 or 16 lanes is filled by neighbouring counters, and elements do not depend on its width.
 */
constexpr Index kBlock = kRandomGrain;
constexpr Index kCounters = kBlock / 4;
static_assert(kCounters % kLanesSigned == 0);

/** Words of kLanes counters from `first`. */
HWY_INLINE void philox(const RandomStream& stream, std::uint64_t first, VU words[4]) {
  const VU m0 = hn::Set(kWords, 0xD2511F53U), m1 = hn::Set(kWords, 0xCD9E8D57U);
  // Counters of a block differ in their low four bits only: no carry.
  words[0] = hn::Iota(kWords, static_cast<std::uint32_t>(first));
  words[1] = hn::Set(kWords, static_cast<std::uint32_t>(first >> 32));
  words[2] = hn::Set(kWords, static_cast<std::uint32_t>(stream.offset));
  words[3] = hn::Set(kWords, static_cast<std::uint32_t>(stream.offset >> 32));
  auto key0 = static_cast<std::uint32_t>(stream.seed), key1 = static_cast<std::uint32_t>(stream.seed >> 32);
  for (int round = 0; round < 10; round++) {
    VU high0, low0, high1, low1;
    multiply(words[0], m0, high0, low0);
    multiply(words[2], m1, high1, low1);
    words[0] = hn::Xor(hn::Xor(high1, words[1]), hn::Set(kWords, key0));
    words[1] = low1;
    words[2] = hn::Xor(hn::Xor(high0, words[3]), hn::Set(kWords, key1));
    words[3] = low0;
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
}

/** 24 bits as a float in [0, 1). */
HWY_INLINE V unit(VU word) {
  const hn::RebindToSigned<U> ints;
  return hn::Mul(hn::ConvertTo(kFloats, hn::BitCast(ints, hn::ShiftRight<8>(word))), set(0x1p-24F));
}

/** Calls f(value, i, whole, count) for the uniform numbers of [begin, end). */
template <class F>
HWY_INLINE void each_unit(const RandomStream& stream, Index begin, Index end, F f) {
  for (Index block = begin; block < end; block += kBlock) {
    for (Index c = 0; c < kCounters; c += kLanesSigned) {
      VU words[4];
      philox(stream, static_cast<std::uint64_t>(block / 4 + c), words);
#pragma GCC unroll 4
      for (Index w = 0; w < 4; w++) {
        const Index i = block + w * kCounters + c;
        if (i + kLanesSigned <= end) {
          f(unit(words[w]), i, true, kLanes);
        } else if (i < end) {
          f(unit(words[w]), i, false, static_cast<std::size_t>(end - i));
        }
      }
    }
  }
}

HWY_INLINE void write(V value, float* p, bool whole, std::size_t count) {
  whole ? store(value, p) : store_n(value, p, count);
}

/** 1 / (1 - p) where kept, else 0. */
struct Keep {
  V p, scale;
  HWY_INLINE explicit Keep(float probability)
      : p(set(probability)), scale(set(probability < 1 ? 1 / (1 - probability) : 0)) {}
  HWY_INLINE V operator()(V u) const { return hn::IfThenElseZero(hn::Ge(u, p), scale); }
};

}  // namespace

void DropoutMask(const RandomStream& stream, float p, float* out, Index begin, Index end) {
  const Keep keep(p);
  each_unit(stream, begin, end,
            [&](V u, Index i, bool whole, std::size_t count) HWY_ATTR { write(keep(u), out + i, whole, count); });
}

void Dropout(const RandomStream& stream, float p, const float* x, float* y, float* mask, Index begin, Index end) {
  const Keep keep(p);
  each_unit(stream, begin, end, [&](V u, Index i, bool whole, std::size_t count) HWY_ATTR {
    const V m = keep(u);
    write(m, mask + i, whole, count);
    write(hn::Mul(m, whole ? load(x + i) : load_n(x + i, count)), y + i, whole, count);
  });
}

void Uniform(const RandomStream& stream, float low, float high, float* out, Index begin, Index end) {
  // Rounding may reach the upper end, which is not part of it.
  const V from = set(low), span = set(high - low), last = set(std::max(low, std::nextafter(high, low)));
  each_unit(stream, begin, end, [&](V u, Index i, bool whole, std::size_t count) HWY_ATTR {
    write(hn::Min(hn::MulAdd(u, span, from), last), out + i, whole, count);
  });
}

void Bernoulli(const RandomStream& stream, float p, float* out, Index begin, Index end) {
  const V probability = set(p), one = set(1.F);
  each_unit(stream, begin, end, [&](V u, Index i, bool whole, std::size_t count) HWY_ATTR {
    write(hn::IfThenElseZero(hn::Lt(u, probability), one), out + i, whole, count);
  });
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(DropoutMask);
HWY_EXPORT(Dropout);
HWY_EXPORT(Uniform);
HWY_EXPORT(Bernoulli);

DropoutMaskFn select_dropout_mask() { return LEVIN_BEST(DropoutMask); }
DropoutFn select_dropout() { return LEVIN_BEST(Dropout); }
UniformFn select_uniform() { return LEVIN_BEST(Uniform); }
BernoulliFn select_bernoulli() { return LEVIN_BEST(Bernoulli); }

}  // namespace levin::compile::kernels
#endif
