// Parameter groups: what a caller asks for, and what an optimizer works with.
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <ATen/core/Tensor.h>

#include <array>
#include <optional>
#include <vector>

namespace levin::optim {

/** Parameters with settings of their own; what is left out is the optimizer's. */
struct ParamGroup {
  std::vector<at::Tensor> params;
  std::optional<double> lr = {};
  std::optional<double> momentum = {};              ///< SGD, RMSprop
  std::optional<double> dampening = {};             ///< SGD
  std::optional<std::array<double, 2>> betas = {};  ///< the Adam family
  std::optional<double> eps = {};                   ///< all but SGD and Rprop
  std::optional<double> weight_decay = {};          ///< all but Rprop
  std::optional<bool> nesterov = {};                ///< SGD
  std::optional<bool> amsgrad = {};                 ///< Adam, AdamW
  std::optional<bool> maximize = {};
  std::optional<double> alpha = {};                       ///< RMSprop
  std::optional<bool> centered = {};                      ///< RMSprop
  std::optional<double> rho = {};                         ///< Adadelta
  std::optional<double> lr_decay = {};                    ///< Adagrad
  std::optional<double> initial_accumulator_value = {};   ///< Adagrad
  std::optional<double> momentum_decay = {};              ///< NAdam
  std::optional<std::array<double, 2>> etas = {};         ///< Rprop
  std::optional<std::array<double, 2>> step_sizes = {};   ///< Rprop
};

/**
 * One group of a living optimizer. The settings are read anew at every step, so a scheduler just assigns `lr`.
 * Settings that the optimizer does not have (see its options) stay at their defaults and are not read.
 */
class LEVIN_API Group {
 public:
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  std::array<double, 2> betas = {0.9, 0.999};
  double eps = 1e-8;
  double weight_decay = 0;
  bool nesterov = false;
  bool amsgrad = false;
  bool maximize = false;
  bool decoupled_weight_decay = false;  ///< AdamW's decay: on the parameter, not through the gradient
  double alpha = 0.99;
  bool centered = false;
  double rho = 0.9;
  double lr_decay = 0;
  double initial_accumulator_value = 0;
  double momentum_decay = 4e-3;
  std::array<double, 2> etas = {0.5, 1.2};
  std::array<double, 2> step_sizes = {1e-6, 50};

  std::optional<double> initial_lr = {};  ///< the lr before any schedule; set by the first scheduler
  Map extra;                              ///< keys of a loaded state that Levin does not know; written back unchanged

  const std::vector<at::Tensor>& params() const noexcept { return params_; }

 private:
  friend class OptimizerImpl;
  std::vector<at::Tensor> params_;
};

}  // namespace levin::optim
