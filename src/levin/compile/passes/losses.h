// levin::cross_entropy and levin::mse: a loss and its gradient in one node.
#pragma once

#include <levin/compile/graph.h>
#include <levin/compile/kernels/loss.h>

#include <string>

namespace levin::compile {

/** Arguments: logits, target, weight or None, upstream gradient or None (1). Results: loss or none, gradient or none. */
struct CrossEntropyPayload : Payload {
  kernels::CrossEntropy settings;
  std::string to_string() const override;
};

/** Arguments: input, target, upstream or None (1). Results: loss, gradient, column sums of the gradient; each or none. */
struct MsePayload : Payload {
  kernels::Mse settings;
  std::string to_string() const override;
};

}  // namespace levin::compile
