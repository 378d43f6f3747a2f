// PerTensorImpl: an optimizer written as the update of one tensor, for rules that ATen has no fused kernel for.
#pragma once

#include <levin/optim/optimizer_impl.h>

#include <ATen/ATen.h>

namespace levin::optim {

/**
 * Derive from it and supply `update_one`. The gradient comes with the group's `maximize` already taken into account,
 * and with weight decay added to it where the rule has an L2 penalty (`penalizes`). Steps are counted on the host.
 */
class PerTensorImpl : public OptimizerImpl {
 protected:
  /** What `update_one` works on; `state[i]` is undefined where the group's settings have no use for it. */
  struct One {
    at::Tensor param;
    at::Tensor grad;
    std::array<at::Tensor, kMaxStates> state;
    double step = 0;    ///< this step's number, from 1
    double number = 1;  ///< see number_name
    bool first = false;
  };

  using OptimizerImpl::OptimizerImpl;

  virtual void update_one(const Group& group, One& one) = 0;
  /** Whether weight decay goes through the gradient. */
  virtual bool penalizes(const Group& group) const { return !group.decoupled_weight_decay; }

  bool counts_steps() const final { return true; }
  bool counts_on_host() const final { return true; }

  void update(const Group& group, Lists& lists, bool first) final {
    for (size_t i = 0; i < lists.params.size(); ++i) {
      One one{.param = lists.params[i],
              .grad = group.maximize ? -lists.grads[i] : lists.grads[i],
              .step = lists.steps[i].item().toDouble(),
              .number = lists.numbers[i],
              .first = first};
      for (size_t s = 0; s < kMaxStates; ++s) {
        if (!lists.states[s].empty()) one.state[s] = lists.states[s][i];
      }
      if (group.weight_decay != 0 && penalizes(group)) one.grad = one.grad.add(one.param, group.weight_decay);
      update_one(group, one);
    }
  }
};

}  // namespace levin::optim
