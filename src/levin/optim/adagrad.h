// Adagrad and Adadelta: step sizes from sums and from means of squared gradients.
#pragma once

#include <levin/core/export.h>
#include <levin/optim/optimizer.h>

#include <vector>

namespace levin::optim {

/** As torch.optim.Adagrad's arguments. */
struct AdagradOptions {
  double lr = 1e-2;
  double lr_decay = 0;                   ///< the lr of step n is lr / (1 + (n - 1) lr_decay)
  double weight_decay = 0;               ///< L2 penalty
  double initial_accumulator_value = 0;  ///< where the sums of squares begin
  double eps = 1e-10;                    ///< added to their roots
  bool maximize = false;
};

/** Adagrad (Duchi, Hazan and Singer 2011, JMLR 12); as torch.optim.Adagrad, for dense gradients. */
class LEVIN_API Adagrad : public Optimizer {
 public:
  explicit Adagrad(std::vector<at::Tensor> params, AdagradOptions options = {});
  explicit Adagrad(std::vector<ParamGroup> groups, AdagradOptions options = {});
};

/** As torch.optim.Adadelta's arguments. */
struct AdadeltaOptions {
  double lr = 1.0;
  double rho = 0.9;         ///< decay of the means of squares, in [0, 1]
  double eps = 1e-6;        ///< added under the roots
  double weight_decay = 0;  ///< L2 penalty
  bool maximize = false;
};

/** Adadelta (Zeiler 2012, arXiv:1212.5701); as torch.optim.Adadelta. */
class LEVIN_API Adadelta : public Optimizer {
 public:
  explicit Adadelta(std::vector<at::Tensor> params, AdadeltaOptions options = {});
  explicit Adadelta(std::vector<ParamGroup> groups, AdadeltaOptions options = {});
};

}  // namespace levin::optim
