#include <levin/compile/kernels/attention.h>

#include <levin/compile/kernels/attention_blocks_impl.h>

#include <algorithm>
#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "levin/compile/kernels/attention.cpp"
#include <hwy/foreach_target.h>

#include <levin/compile/kernels/dispatch_impl.h>
#include <levin/compile/kernels/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace levin::compile::kernels::HWY_NAMESPACE {
namespace {

using Index = std::int64_t;

/** How many keys a query sees. */
HWY_INLINE Index visible(const Attention& s, Index query) { return s.causal ? std::min(s.keys, query + 1) : s.keys; }

HWY_INLINE void add_mask(float* scores, const float* mask, Index n) {
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(hn::Add(at.read(scores), at.read(mask)), scores); });
}

/**
 * Softmax of the first n of a row in place, zeros behind them up to `width`; gives the logarithm of the sum. A row that
 * sees nothing (-inf throughout) becomes zeros, with 0 for the logarithm, as in ATen.
 */
HWY_INLINE float softmax_row(float* x, Index n, Index width) {
  V largest = set(-std::numeric_limits<float>::infinity());
  each_place(0, n, [&](auto at) HWY_ATTR {
    largest = max_nan(largest, at.read_or(x, -std::numeric_limits<float>::infinity()));
  });
  const float top = max_of_lanes_nan(largest);
  if (top == -std::numeric_limits<float>::infinity()) {
    std::fill(x, x + width, 0.F);
    return 0;
  }
  const V shift = set(top);
  V total = zero();
  each_place(0, n, [&](auto at) HWY_ATTR {
    const V e = at.cut(exp_nonpositive(hn::Sub(at.read(x), shift)));
    total = hn::Add(total, e);
    at.write(e, x);
  });
  const float all = sum(total);
  const V inverse = set(1 / all);
  each_place(0, n, [&](auto at) HWY_ATTR { at.write(hn::Mul(at.read(x), inverse), x); });
  std::fill(x + n, x + width, 0.F);
  return top + std::log(all);
}

HWY_INLINE float dot(const float* a, const float* b, Index n) {
  V total = zero();
  each_place(0, n, [&](auto at) HWY_ATTR { total = hn::MulAdd(at.read(a), at.read(b), total); });
  return sum(total);
}

HWY_INLINE Index place_of(const HeadStrides& s, Index batch, Index head, Index time) {
  return batch * s.batch + head * s.head + time * s.time;
}

void product(const Gemm& g, const float* a, const float* b, float* c, void* workspace) {
  select_gemm(g)(g, {a, b, c, nullptr, nullptr}, workspace, 0, g.m);
}

}  // namespace

void AttentionForward(const Attention& s, const AttentionForwardArgs& a, void* workspace, Index begin, Index end) {
  auto* const scores = static_cast<float*>(workspace);
  void* const scratch = scores + kQueries * s.keys * 2;
  for (Index unit = begin; unit < end; unit++) {
    const Index b = unit / s.heads, h = unit % s.heads;
    for (Index q0 = 0; q0 < s.queries; q0 += kQueries) {
      const Index rows = std::min(kQueries, s.queries - q0), keys = visible(s, q0 + rows - 1);
      const BlockProducts p = products(s, nullptr, rows, keys);
      product(p.scores, a.q + place_of(s.q, b, h, q0), a.k + place_of(s.k, b, h, 0), scores, scratch);
      for (Index r = 0; r < rows; r++) {
        float* row = scores + r * keys;
        const Index n = visible(s, q0 + r);
        if (a.mask) add_mask(row, a.mask + place_of(s.mask, b, h, q0 + r), n);
        const float log_sum = softmax_row(row, n, keys);
        if (a.log_sum_exp) a.log_sum_exp[unit * s.queries + q0 + r] = log_sum;
      }
      product(p.output, scores, a.v + place_of(s.v, b, h, 0), a.o + place_of(s.o, b, h, q0), scratch);
    }
  }
}

void AttentionBackward(const Attention& s, const AttentionBackwardArgs& a, void* workspace, Index begin, Index end) {
  auto* const scores = static_cast<float*>(workspace);
  auto* const d_scores = scores + kQueries * s.keys;
  void* const scratch = d_scores + kQueries * s.keys;
  for (Index unit = begin; unit < end; unit++) {
    const Index b = unit / s.heads, h = unit % s.heads;
    float *d_k = a.d_k + place_of(a.d_k_strides, b, h, 0), *d_v = a.d_v + place_of(a.d_v_strides, b, h, 0);
    for (Index t = 0; t < s.keys; t++) {
      std::fill_n(d_k + t * a.d_k_strides.time, s.depth, 0.F);
      std::fill_n(d_v + t * a.d_v_strides.time, s.value_depth, 0.F);
    }
    const float *k = a.k + place_of(s.k, b, h, 0), *v = a.v + place_of(s.v, b, h, 0);
    for (Index q0 = 0; q0 < s.queries; q0 += kQueries) {
      const Index rows = std::min(kQueries, s.queries - q0), keys = visible(s, q0 + rows - 1);
      const BlockProducts p = products(s, &a, rows, keys);
      const float *q = a.q + place_of(s.q, b, h, q0), *d_o = a.d_o + place_of(a.d_o_strides, b, h, q0),
                  *o = a.o + place_of(s.o, b, h, q0);
      product(p.scores, q, k, scores, scratch);
      product(p.d_scores, d_o, v, d_scores, scratch);
      for (Index r = 0; r < rows; r++) {
        float *row = scores + r * keys, *d_row = d_scores + r * keys;
        const Index n = visible(s, q0 + r);
        if (a.mask) add_mask(row, a.mask + place_of(s.mask, b, h, q0 + r), n);
        const V log_sum = set(a.log_sum_exp[unit * s.queries + q0 + r]), scale = set(s.scale);
        const V delta = set(dot(d_o + r * a.d_o_strides.time, o + r * s.o.time, s.value_depth));
        each_place(0, n, [&](auto at) HWY_ATTR {
          const V probability = exp(hn::Sub(at.read(row), log_sum));
          at.write(probability, row);
          at.write(hn::Mul(hn::Mul(probability, hn::Sub(at.read(d_row), delta)), scale), d_row);
        });
        std::fill(row + n, row + keys, 0.F);
        std::fill(d_row + n, d_row + keys, 0.F);
      }
      product(p.d_q, d_scores, k, a.d_q + place_of(a.d_q_strides, b, h, q0), scratch);
      product(p.d_k, d_scores, q, d_k, scratch);
      product(p.d_v, scores, d_o, d_v, scratch);
    }
  }
}

}  // namespace levin::compile::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace levin::compile::kernels {

HWY_EXPORT(AttentionForward);
HWY_EXPORT(AttentionBackward);

AttentionForwardFn select_attention_forward(const Attention&) { return LEVIN_BEST(AttentionForward); }
AttentionBackwardFn select_attention_backward(const Attention&) { return LEVIN_BEST(AttentionBackward); }

std::size_t attention_workspace(const Attention& s) {
  // Any block's products: causal ones have fewer keys, of which the workspace of a product is no monotonous function.
  AttentionBackwardArgs strides;
  strides.d_o_strides = strides.d_q_strides = strides.d_k_strides =
      strides.d_v_strides = {0, 0, std::max(s.depth, s.value_depth)};
  std::size_t bytes = 0;
  for (std::int64_t q0 = 0; q0 < s.queries; q0 += kQueries) {
    const std::int64_t rows = std::min(kQueries, s.queries - q0);
    const std::int64_t keys = s.causal ? std::min(s.keys, q0 + rows) : s.keys;
    bytes = std::max(bytes, products_workspace(products(s, &strides, rows, keys)));
  }
  return static_cast<std::size_t>(2 * kQueries * s.keys) * sizeof(float) + bytes;
}

}  // namespace levin::compile::kernels
#endif
