// What the smallest network of the benchmarks costs at least: one training step of Linear(1, 16) -> ReLU -> Linear(16,
// 1) on a batch of 100 with squared error and Adam, written by hand for just these sizes, all fused.
#pragma once

#include <cmath>
#include <cstring>

namespace levin::benchmarks {

class Limit;
void limit_step(Limit& limit);

class Limit {
 public:
  static constexpr int kBatch = 100, kWidth = 16, kParameters = 3 * kWidth + 1;
  static constexpr int kPadded = 112, kSlots = 64;  // whole vectors of 16

  /** w1[16], b1[16], w2[16], b2; batch of x and y. */
  Limit(const float* parameters, const float* x, const float* y) {
    std::memcpy(p_, parameters, sizeof(float) * kParameters);
    std::memcpy(x_, x, sizeof(float) * kBatch);
    std::memcpy(y_, y, sizeof(float) * kBatch);
  }

  void step() { limit_step(*this); }

  float loss() const { return loss_; }
  const float* parameters() const { return p_; }

 private:
  friend void limit_step(Limit&);
  alignas(64) float x_[kPadded] = {}, y_[kPadded] = {}, d_[kPadded] = {};
  alignas(64) float p_[kSlots] = {}, g_[kSlots] = {}, m_[kSlots] = {}, v_[kSlots] = {};
  double power1_ = 1, power2_ = 1;
  float loss_ = 0;
};

}  // namespace levin::benchmarks
