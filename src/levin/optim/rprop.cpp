#include <levin/optim/rprop.h>

#include <levin/optim/per_tensor_impl.h>
#include <levin/optim/validate.h>

namespace levin::optim {
namespace {

class RpropImpl : public PerTensorImpl {
 public:
  RpropImpl(Group defaults, std::vector<ParamGroup> groups) : PerTensorImpl("Rprop", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  static constexpr std::array<std::string_view, 2> kStates = {"prev", "step_size"};
  static constexpr std::array<std::string_view, 7> kSettings = {"lr",       "etas",           "step_sizes", "foreach",
                                                                "maximize", "differentiable", "capturable"};
  std::span<const std::string_view> state_names(const Group&) const override { return kStates; }
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }

  void update_one(const Group& group, One& one) override {
    auto& [previous, step_size, none] = one.state;
    if (one.first) step_size.fill_(group.lr);
    const at::Tensor agreement = one.grad * previous;
    const at::Tensor turned = agreement.lt(0);
    const at::Tensor factor =
        at::ones_like(agreement).masked_fill_(agreement.gt(0), group.etas[1]).masked_fill_(turned, group.etas[0]);
    step_size.mul_(factor).clamp_(group.step_sizes[0], group.step_sizes[1]);
    // Where the sign changed the last step went too far: no step now, and no change of size after it.
    const at::Tensor grad = one.grad.masked_fill(turned, 0);
    one.param.addcmul_(grad.sign(), step_size, -1);
    previous.copy_(grad);
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.etas[0] > 0 && group.etas[0] < 1, name(), "etas[0]", group.etas[0], "in (0, 1)");
    require(group.etas[1] > 1, name(), "etas[1]", group.etas[1], "above 1");
    require(group.step_sizes[0] <= group.step_sizes[1], name(), "step_sizes[0]", group.step_sizes[0],
            "at most step_sizes[1]");
  }
};

Group defaults_of(const RpropOptions& options) {
  Group group;
  group.lr = options.lr;
  group.etas = options.etas;
  group.step_sizes = options.step_sizes;
  group.maximize = options.maximize;
  return group;
}

}  // namespace

Rprop::Rprop(std::vector<at::Tensor> params, RpropOptions options) : Rprop(one_group(std::move(params)), options) {}
Rprop::Rprop(std::vector<ParamGroup> groups, RpropOptions options)
    : Optimizer(std::make_shared<RpropImpl>(defaults_of(options), std::move(groups))) {}

}  // namespace levin::optim
