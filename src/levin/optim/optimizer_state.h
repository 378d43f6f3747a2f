// OptimizerState: what an optimizer remembers, in the layout of PyTorch's Optimizer.state_dict().
#pragma once

#include <levin/core/export.h>
#include <levin/core/value.h>

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace levin::optim {

/**
 * {state: {index: {name: tensor}}, param_groups: [{lr, ..., params: [index, ...]}]}.
 *
 * Parameters are numbered through all groups in order. Names are PyTorch's: step (0-dim float32), exp_avg, exp_avg_sq,
 * max_exp_avg_sq, momentum_buffer. Tensors alias the optimizer's own, save `step`: clone() gives a snapshot.
 */
struct LEVIN_API OptimizerState {
  using Entry = std::vector<std::pair<std::string, at::Tensor>>;

  std::map<int64_t, Entry> state;
  std::vector<Map> param_groups;

  OptimizerState clone() const;
  /** The tensor `name` of parameter `index`; undefined when there is none. */
  at::Tensor find(int64_t index, std::string_view name) const;
};

}  // namespace levin::optim
