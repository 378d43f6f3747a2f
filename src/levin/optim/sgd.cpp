#include <levin/optim/sgd.h>

#include <levin/optim/optimizer_impl.h>
#include <levin/optim/validate.h>

#include <ATen/ATen.h>

namespace levin::optim {
namespace {

constexpr std::array<std::string_view, 1> kStates = {"momentum_buffer"};
constexpr std::array<std::string_view, 9> kSettings = {
    "lr", "momentum", "dampening", "weight_decay", "nesterov", "maximize", "foreach", "differentiable", "fused"};

class SGDImpl : public OptimizerImpl {
 public:
  SGDImpl(Group defaults, std::vector<ParamGroup> groups) : OptimizerImpl("SGD", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  std::span<const std::string_view> state_names(const Group& group) const override {
    return std::span(kStates).first(group.momentum != 0 ? 1 : 0);
  }
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }
  bool counts_steps() const override { return false; }

  void update(const Group& group, Lists& lists, bool first) override {
    static const std::vector<at::Tensor> none;
    const auto& momentum = group.momentum != 0 ? lists.states[0] : none;
    at::_fused_sgd_(lists.params, lists.grads, momentum, group.weight_decay, group.momentum, group.lr, group.dampening,
                    group.nesterov, group.maximize, first);
  }

  void update_sparse(const Group& group, at::Tensor& param, const at::Tensor& grad) override {
    if (group.momentum != 0 || group.weight_decay != 0) {
      throw Error(
          {.what = "SGD takes a sparse gradient only without momentum and weight decay",
           .value = "momentum " + format_double(group.momentum) + ", weight_decay " + format_double(group.weight_decay),
           .where = {},
           .hint = "make the embedding with sparse(false), or give it a group of its own"});
    }
    param.add_(grad, group.maximize ? group.lr : -group.lr);
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.momentum >= 0, name(), "momentum", group.momentum, "at least 0");
    require(group.weight_decay >= 0, name(), "weight_decay", group.weight_decay, "at least 0");
    if (group.nesterov) {
      require(group.momentum > 0, name(), "momentum", group.momentum, "above 0 with nesterov");
      require(group.dampening == 0, name(), "dampening", group.dampening, "0 with nesterov");
    }
  }
};

Group defaults_of(const SGDOptions& options) {
  Group group;
  group.lr = options.lr;
  group.momentum = options.momentum;
  group.dampening = options.dampening;
  group.weight_decay = options.weight_decay;
  group.nesterov = options.nesterov;
  group.maximize = options.maximize;
  return group;
}

}  // namespace

SGD::SGD(std::vector<at::Tensor> params, SGDOptions options) : SGD(one_group(std::move(params)), options) {}
SGD::SGD(std::vector<ParamGroup> groups, SGDOptions options)
    : Optimizer(std::make_shared<SGDImpl>(defaults_of(options), std::move(groups))) {}

}  // namespace levin::optim
