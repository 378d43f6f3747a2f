// RMSprop.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <vector>

namespace levin::optim {

/** As torch.optim.RMSprop's arguments. */
struct RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;      ///< decay of the mean square, in [0, 1)
  double eps = 1e-8;        ///< added to its root
  double weight_decay = 0;  ///< L2 penalty
  double momentum = 0;
  bool centered = false;  ///< divide by the standard deviation instead of the root of the mean square
  bool maximize = false;
};

/** RMSprop (Hinton's lecture 6, 2012; centered: Graves 2013, arXiv:1308.0850); as torch.optim.RMSprop. */
class LEVIN_API RMSprop : public Optimizer {
 public:
  explicit RMSprop(std::vector<at::Tensor> params, RMSpropOptions options = {});
  explicit RMSprop(std::vector<ParamGroup> groups, RMSpropOptions options = {});
};

}  // namespace levin::optim
