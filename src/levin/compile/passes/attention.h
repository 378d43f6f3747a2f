// levin::attention and levin::attention_backward: scaled dot product attention on heads that lie with strides.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/attention.h>

#include <optional>
#include <string>

namespace levin::compile {

/**
 * Of levin::attention, with arguments q, k, v [batch, heads, time, depth], mask or None and results o, log sum of
 * exponentials [batch, heads, time] or none; and of levin::attention_backward, with arguments do, q, k, v, o, log sum,
 * mask or None and results dq, dk, dv.
 */
struct AttentionPayload : Payload {
  float scale = 1;
  bool causal = false;
  std::string to_string() const override;
};

/** The kernel's description of either node; nothing when its operands do not lie as the kernels need. */
std::optional<kernels::Attention> attention_of(const Graph& graph, const Node& node);

/** How [batch, heads, time, depth] lies, where rows of `depth` lie together. */
std::optional<kernels::HeadStrides> head_strides(const Value& value);

}  // namespace levin::compile
