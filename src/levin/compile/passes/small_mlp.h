// levin::mlp and levin::mlp_backward: Linear -> ReLU -> Linear with one output and few inputs, as one node each way.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/mlp.h>

#include <string>

namespace levin::compile {

/**
 * Of levin::mlp, with arguments x, w1, b1 or None, w2, b2 or None and the prediction as result; and of
 * levin::mlp_backward, with arguments x, w1, b1 or None, w2, dy and results dw1, db1 or none, dw2.
 */
struct MlpPayload : Payload {
  kernels::Mlp settings;
  std::string to_string() const override;
};

}  // namespace levin::compile
