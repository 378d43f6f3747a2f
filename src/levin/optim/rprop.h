// Rprop.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <array>
#include <vector>

namespace levin::optim {

/** As torch.optim.Rprop's arguments. */
struct RpropOptions {
  double lr = 1e-2;                             ///< the first step size
  std::array<double, 2> etas = {0.5, 1.2};      ///< factors of the step size when a gradient's sign changes and stays
  std::array<double, 2> step_sizes = {1e-6, 50};  ///< smallest and largest step size
  bool maximize = false;
};

/** Resilient backpropagation, for whole batches (Riedmiller and Braun 1993); as torch.optim.Rprop. */
class LEVIN_API Rprop : public Optimizer {
 public:
  explicit Rprop(std::vector<at::Tensor> params, RpropOptions options = {});
  explicit Rprop(std::vector<ParamGroup> groups, RpropOptions options = {});
};

}  // namespace levin::optim
