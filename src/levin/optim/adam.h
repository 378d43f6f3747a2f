// Adam and AdamW.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <array>
#include <vector>

namespace levin::optim {

/** As torch.optim.Adam's arguments. */
struct AdamOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};  ///< decay of the means of the gradient and of its square, in [0, 1)
  double eps = 1e-8;                           ///< added to the root of the second mean
  double weight_decay = 0;                     ///< L2 penalty, through the gradient unless decoupled
  bool amsgrad = false;                        ///< divide by the largest second mean so far
  bool maximize = false;
  bool decoupled_weight_decay = false;  ///< decay the parameter itself, as AdamW does
};

/** As torch.optim.AdamW's arguments. */
struct AdamWOptions {
  double lr = 1e-3;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 1e-2;
  bool amsgrad = false;
  bool maximize = false;
};

/** Adam (Kingma and Ba 2015, arXiv:1412.6980); the numbers are those of torch.optim.Adam(fused=True). */
class LEVIN_API Adam : public Optimizer {
 public:
  explicit Adam(std::vector<at::Tensor> params, AdamOptions options = {});
  explicit Adam(std::vector<ParamGroup> groups, AdamOptions options = {});
};

/** Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101); as torch.optim.AdamW(fused=True).
 */
class LEVIN_API AdamW : public Optimizer {
 public:
  explicit AdamW(std::vector<at::Tensor> params, AdamWOptions options = {});
  explicit AdamW(std::vector<ParamGroup> groups, AdamWOptions options = {});
};

}  // namespace levin::optim
