// Stochastic gradient descent.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <vector>

namespace levin::optim {

/** As torch.optim.SGD's arguments. */
struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;     ///< share of a gradient that does not enter the momentum
  double weight_decay = 0;  ///< L2 penalty
  bool nesterov = false;    ///< needs a momentum and no dampening
  bool maximize = false;
};

/**
 * Gradient descent, with momentum as in Sutskever et al. 2013; the numbers are those of torch.optim.SGD(fused=True).
 * Takes sparse gradients when momentum and weight decay are 0.
 */
class LEVIN_API SGD : public Optimizer {
 public:
  explicit SGD(std::vector<at::Tensor> params, SGDOptions options = {});
  explicit SGD(std::vector<ParamGroup> groups, SGDOptions options = {});
};

}  // namespace levin::optim
