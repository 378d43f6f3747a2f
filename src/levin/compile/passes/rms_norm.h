// levin::rms_norm, levin::rms_norm_backward and levin::rms_norm_weight: RMS norm over the last dimensions.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/norm.h>

#include <string>

namespace levin::compile {

/**
 * Of levin::rms_norm, with arguments x, weight or None and results y, 1 / root mean square of each row;
 * levin::rms_norm_backward, with arguments dy, x, weight or None, the root's inverse and the result dx; and
 * levin::rms_norm_weight, with arguments dy, x, the root's inverse and the result dweight.
 */
struct RmsNormPayload : Payload {
  kernels::LayerNorm settings;
  std::string to_string() const override;
};

}  // namespace levin::compile
