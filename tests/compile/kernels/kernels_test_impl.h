// What tests of kernels share: random data, memory of any alignment, every instruction set, comparison with doubles.
#pragma once

#include <levin/compile/kernels/isa.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace levin::compile::kernels::testing {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kInf = std::numeric_limits<float>::infinity();

/** Runs `test` for every instruction set of this machine, and names it in failures. */
template <class Test>
void for_each_instruction_set(Test test) {
  for (const std::string_view name : instruction_sets()) {
    SCOPED_TRACE(std::string(name));
    use_instruction_set(name);
    test();
  }
  use_instruction_set(instruction_sets().front());
}

/** Floats that begin `shift` floats behind an allocation's start, with canaries around them. */
class Floats {
 public:
  Floats() = default;
  explicit Floats(std::int64_t size, float value = 0, std::size_t shift = 1)
      : size_(static_cast<std::size_t>(std::max<std::int64_t>(size, 0))),
        shift_(shift),
        memory_(size_ + shift + 1, kCanary) {
    for (std::size_t i = 0; i < size_; i++) memory_[shift + i] = value;
  }
  float* data() { return memory_.data() + shift_; }
  const float* data() const { return memory_.data() + shift_; }
  float& operator[](std::int64_t i) { return data()[i]; }
  float operator[](std::int64_t i) const { return data()[i]; }
  std::int64_t size() const { return static_cast<std::int64_t>(size_); }
  bool intact() const { return memory_.back() == kCanary && (shift_ == 0 || memory_.front() == kCanary); }
  bool same_bits(const Floats& other) const {
    return size_ == other.size_ && std::memcmp(data(), other.data(), size_ * sizeof(float)) == 0;
  }

 private:
  static constexpr float kCanary = 12345.678F;
  std::size_t size_ = 0, shift_ = 0;
  std::vector<float> memory_ = {kCanary, kCanary};
};

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  float uniform(float low = -1, float high = 1) {
    return low + (high - low) * static_cast<float>(engine_() >> 8) * 0x1p-24F;
  }
  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(engine_()) % n; }
  Floats floats(std::int64_t size, float low = -1, float high = 1, std::size_t shift = 1) {
    Floats result(size, 0, shift);
    for (std::int64_t i = 0; i < size; i++) result[i] = uniform(low, high);
    return result;
  }

 private:
  std::mt19937 engine_;
};

/** |seen - expected| <= tolerance * scale; NaN and infinity have to be met exactly. */
inline ::testing::AssertionResult close(double seen, double expected, double tolerance, double scale) {
  if (std::isnan(expected) && std::isnan(seen)) return ::testing::AssertionSuccess();
  if (std::isinf(expected) && seen == expected) return ::testing::AssertionSuccess();
  if (std::abs(seen - expected) <= tolerance * scale) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << seen << " instead of " << expected << ", off by "
                                       << std::abs(seen - expected) / scale << " of " << scale;
}

/** The distance in units of the last place of `expected` as a float. */
inline double ulps(float seen, double expected) {
  if (std::isnan(expected)) return std::isnan(seen) ? 0 : kInf;
  const auto rounded = static_cast<float>(expected);
  if (seen == rounded) return 0;
  if (std::isnan(seen) || std::isinf(rounded)) return kInf;
  const float magnitude = std::max(std::abs(rounded), std::numeric_limits<float>::min());
  const double unit = static_cast<double>(std::nextafter(magnitude, kInf)) - static_cast<double>(magnitude);
  return std::abs(static_cast<double>(seen) - expected) / unit;
}

}  // namespace levin::compile::kernels::testing
