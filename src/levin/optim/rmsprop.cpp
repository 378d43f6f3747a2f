#include <levin/optim/rmsprop.h>

#include <levin/optim/per_tensor_impl.h>
#include <levin/optim/validate.h>

namespace levin::optim {
namespace {

constexpr std::array<std::string_view, 3> kStates = {"square_avg", "momentum_buffer", "grad_avg"};
constexpr std::array<std::string_view, 10> kSettings = {"lr",           "momentum",   "alpha",   "eps",      "centered",
                                                        "weight_decay", "capturable", "foreach", "maximize", "differentiable"};

class RMSpropImpl : public PerTensorImpl {
 public:
  RMSpropImpl(Group defaults, std::vector<ParamGroup> groups) : PerTensorImpl("RMSprop", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  std::span<const std::string_view> state_names(const Group& group) const override {
    static constexpr std::array<std::string_view, 2> centered = {"square_avg", "grad_avg"};
    if (group.momentum > 0) return std::span(kStates).first(group.centered ? 3 : 2);
    return group.centered ? std::span<const std::string_view>(centered) : std::span(kStates).first(1);
  }
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }

  void update_one(const Group& group, One& one) override {
    auto& [square_avg, momentum_buffer, grad_avg] = one.state;
    square_avg.mul_(group.alpha).addcmul_(one.grad, one.grad, 1 - group.alpha);
    at::Tensor root;
    if (group.centered) {
      grad_avg.lerp_(one.grad, 1 - group.alpha);
      root = square_avg.addcmul(grad_avg, grad_avg, -1).sqrt_();
    } else {
      root = square_avg.sqrt();
    }
    root.add_(group.eps);
    if (group.momentum > 0) {
      momentum_buffer.mul_(group.momentum).addcdiv_(one.grad, root);
      one.param.add_(momentum_buffer, -group.lr);
    } else {
      one.param.addcdiv_(one.grad, root, -group.lr);
    }
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.alpha >= 0, name(), "alpha", group.alpha, "at least 0");
    require(group.eps >= 0, name(), "eps", group.eps, "at least 0");
    require(group.weight_decay >= 0, name(), "weight_decay", group.weight_decay, "at least 0");
    require(group.momentum >= 0, name(), "momentum", group.momentum, "at least 0");
  }
};

Group defaults_of(const RMSpropOptions& options) {
  Group group;
  group.lr = options.lr;
  group.alpha = options.alpha;
  group.eps = options.eps;
  group.weight_decay = options.weight_decay;
  group.momentum = options.momentum;
  group.centered = options.centered;
  group.maximize = options.maximize;
  return group;
}

}  // namespace

RMSprop::RMSprop(std::vector<at::Tensor> params, RMSpropOptions options)
    : RMSprop(one_group(std::move(params)), options) {}
RMSprop::RMSprop(std::vector<ParamGroup> groups, RMSpropOptions options)
    : Optimizer(std::make_shared<RMSpropImpl>(defaults_of(options), std::move(groups))) {}

}  // namespace levin::optim
