#include "limit.h"

namespace levin::benchmarks {

namespace {
using Vector = float __attribute__((vector_size(64)));
using Mask = int __attribute__((vector_size(64)));
}  // namespace

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
void limit_step(Limit& limit) {
  constexpr int kBatch = Limit::kBatch, kWidth = Limit::kWidth, kPadded = Limit::kPadded, kSlots = Limit::kSlots;
  float *const ps = limit.p_, *const xs = limit.x_, *const ys = limit.y_, *const ds = limit.d_, *const gs = limit.g_;
  const Vector zero = {};
  const auto* w1 = reinterpret_cast<const Vector*>(ps);
  const auto* b1 = reinterpret_cast<const Vector*>(ps + 16);
  const auto* w2 = reinterpret_cast<const Vector*>(ps + 32);
  // Forward: 16 rows in lanes, one hidden unit after the other, four vectors of rows at a time.
  Vector squares = zero, sum_d = zero;
  const float scale = 2.F / kBatch;
  for (int r = 0; r < kPadded; r += 64) {
    const int vectors = r + 64 <= kPadded ? 4 : 3;
    Vector x[4] = {}, out[4];
    for (int v = 0; v < 4; v++) {
      if (v < vectors) x[v] = *reinterpret_cast<const Vector*>(xs + r + 16 * v);
      out[v] = zero + ps[48];
    }
    for (int h = 0; h < kWidth; h++) {
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) {
        const Vector a = x[v] * ps[h] + ps[16 + h];
        out[v] += (a > zero ? a : zero) * ps[32 + h];
      }
    }
    for (int v = 0; v < vectors; v++) {
      Vector error = out[v] - *reinterpret_cast<const Vector*>(ys + r + 16 * v);
      if (r + 16 * v + 16 > kBatch) {
        const Mask lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
        error = (lane < kBatch - r - 16 * v) ? error : zero;
      }
      squares += error * error;
      error *= scale;
      sum_d += error;
      *reinterpret_cast<Vector*>(ds + r + 16 * v) = error;
    }
  }
  // Backward: hidden units in lanes, which are computed again; four chains of rows.
  Vector of_w1[4] = {}, of_b1[4] = {}, of_w2[4] = {};
  for (int r = 0; r < kBatch; r += 4) {
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
      const Vector d = zero + ds[r + c], x = zero + xs[r + c];
      const Vector a = *w1 * x + *b1;
      of_w2[c] += d * (a > zero ? a : zero);
      const Vector q = a > zero ? d : zero;
      of_b1[c] += q;
      of_w1[c] += q * x;
    }
  }
  auto* g = reinterpret_cast<Vector*>(gs);
  g[0] = ((of_w1[0] + of_w1[1]) + (of_w1[2] + of_w1[3])) * *w2;
  g[1] = ((of_b1[0] + of_b1[1]) + (of_b1[2] + of_b1[3])) * *w2;
  g[2] = (of_w2[0] + of_w2[1]) + (of_w2[2] + of_w2[3]);
  // Sums over lanes, both at once.
#pragma GCC unroll 4
  for (int half = 8; half > 0; half /= 2) {
    const Mask lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    squares += __builtin_shuffle(squares, lane ^ half);
    sum_d += __builtin_shuffle(sum_d, lane ^ half);
  }
  gs[48] = sum_d[0];
  limit.loss_ = squares[0] / kBatch;
  // Adam
  limit.power1_ *= 0.9;
  limit.power2_ *= 0.999;
  const auto size = static_cast<float>(1e-3 / (1 - limit.power1_)),
             inverse_root = static_cast<float>(1 / std::sqrt(1 - limit.power2_));
  auto *p = reinterpret_cast<Vector*>(ps), *m = reinterpret_cast<Vector*>(limit.m_),
       *v = reinterpret_cast<Vector*>(limit.v_);
  for (int i = 0; i < kSlots / 16; i++) {
    m[i] += 0.1F * (g[i] - m[i]);
    v[i] = v[i] * 0.999F + 0.001F * g[i] * g[i];
    Vector root;
#pragma GCC unroll 16
    for (int l = 0; l < 16; l++) root[l] = __builtin_sqrtf(v[i][l]);
    p[i] -= size * m[i] / (root * inverse_root + 1e-8F);
  }
}

}  // namespace levin::benchmarks
