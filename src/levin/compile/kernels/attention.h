// Scaled dot product attention, forward and backward, block by block: the matrix of scores is never whole in memory.
#pragma once

#include <levin/core/export.h>

#include <cstddef>
#include <cstdint>

namespace levin::compile::kernels {

/** Where [batch, heads, time, depth] lies: elements from one to the next; depth is contiguous. */
struct HeadStrides {
  std::int64_t batch = 0, head = 0, time = 0;
};

struct Attention {
  std::int64_t batch = 0, heads = 0, queries = 0, keys = 0, depth = 0, value_depth = 0;
  float scale = 1;      ///< of the scores: 1 / sqrt(depth) as a rule
  bool causal = false;  ///< query i sees keys 0 to i
  HeadStrides q, k, v, o;
  HeadStrides mask;  ///< of the additive mask [batch, heads, queries, keys]; 0 repeats

  /** What `begin` and `end` count. */
  std::int64_t units() const { return batch * heads; }
};

struct AttentionForwardArgs {
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  const float* mask = nullptr;  ///< added to the scores, or null
  float* o = nullptr;
  float* log_sum_exp = nullptr;  ///< [batch, heads, queries], or null
};
struct AttentionBackwardArgs {
  const float* d_o = nullptr;  ///< laid out as `d_o_strides`
  const float* q = nullptr;
  const float* k = nullptr;
  const float* v = nullptr;
  const float* mask = nullptr;
  const float* o = nullptr;
  const float* log_sum_exp = nullptr;
  float* d_q = nullptr;
  float* d_k = nullptr;
  float* d_v = nullptr;
  HeadStrides d_o_strides, d_q_strides, d_k_strides, d_v_strides;
};

/** Heads [begin, end) of batch * heads; `workspace` has attention_workspace() bytes, one for each thread. */
using AttentionForwardFn = void (*)(const Attention&, const AttentionForwardArgs&, void* workspace, std::int64_t begin,
                                    std::int64_t end);
using AttentionBackwardFn = void (*)(const Attention&, const AttentionBackwardArgs&, void* workspace,
                                     std::int64_t begin, std::int64_t end);
LEVIN_API AttentionForwardFn select_attention_forward(const Attention& settings);
LEVIN_API AttentionBackwardFn select_attention_backward(const Attention& settings);
/** Enough for both passes. */
LEVIN_API std::size_t attention_workspace(const Attention& settings);

}  // namespace levin::compile::kernels
