// Adamax, NAdam and RAdam.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <array>
#include <vector>

namespace levin::optim {

/** As torch.optim.Adamax's arguments. */
struct AdamaxOptions {
  double lr = 2e-3;
  std::array<double, 2> betas = {0.9, 0.999};  ///< decay of the mean gradient and of the largest one, in [0, 1)
  double eps = 1e-8;                           ///< added to the size of a gradient
  double weight_decay = 0;                     ///< L2 penalty
  bool maximize = false;
};

/** Adam with the largest gradient in place of the mean square (Kingma and Ba 2015); as torch.optim.Adamax. */
class LEVIN_API Adamax : public Optimizer {
 public:
  explicit Adamax(std::vector<at::Tensor> params, AdamaxOptions options = {});
  explicit Adamax(std::vector<ParamGroup> groups, AdamaxOptions options = {});
};

/** As torch.optim.NAdam's arguments. */
struct NAdamOptions {
  double lr = 2e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum_decay = 4e-3;  ///< how fast the momentum approaches betas[0]
  bool decoupled_weight_decay = false;
  bool maximize = false;
};

/** Adam with Nesterov momentum (Dozat 2016); as torch.optim.NAdam. */
class LEVIN_API NAdam : public Optimizer {
 public:
  explicit NAdam(std::vector<at::Tensor> params, NAdamOptions options = {});
  explicit NAdam(std::vector<ParamGroup> groups, NAdamOptions options = {});
};

/** As torch.optim.RAdam's arguments. */
struct RAdamOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  bool decoupled_weight_decay = false;
  bool maximize = false;
};

/** Adam that adapts only once the mean square is reliable (Liu and others 2020, arXiv:1908.03265); as torch.optim.RAdam.
 */
class LEVIN_API RAdam : public Optimizer {
 public:
  explicit RAdam(std::vector<at::Tensor> params, RAdamOptions options = {});
  explicit RAdam(std::vector<ParamGroup> groups, RAdamOptions options = {});
};

}  // namespace levin::optim
