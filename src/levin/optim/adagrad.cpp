#include <levin/optim/adagrad.h>

#include <levin/optim/per_tensor_impl.h>
#include <levin/optim/validate.h>

namespace levin::optim {
namespace {

class AdagradImpl : public PerTensorImpl {
 public:
  AdagradImpl(Group defaults, std::vector<ParamGroup> groups) : PerTensorImpl("Adagrad", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  static constexpr std::array<std::string_view, 1> kStates = {"sum"};
  static constexpr std::array<std::string_view, 9> kSettings = {
      "lr", "lr_decay", "eps", "weight_decay", "initial_accumulator_value", "foreach", "maximize", "differentiable",
      "fused"};

  std::span<const std::string_view> state_names(const Group&) const override { return kStates; }
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }

  void update_one(const Group& group, One& one) override {
    at::Tensor& sum = one.state[0];
    if (one.first) sum.fill_(group.initial_accumulator_value);
    sum.addcmul_(one.grad, one.grad);
    one.param.addcdiv_(one.grad, sum.sqrt().add_(group.eps), -group.lr / (1 + (one.step - 1) * group.lr_decay));
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.lr_decay >= 0, name(), "lr_decay", group.lr_decay, "at least 0");
    require(group.eps >= 0, name(), "eps", group.eps, "at least 0");
    require(group.weight_decay >= 0, name(), "weight_decay", group.weight_decay, "at least 0");
    require(group.initial_accumulator_value >= 0, name(), "initial_accumulator_value", group.initial_accumulator_value,
            "at least 0");
  }
};

class AdadeltaImpl : public PerTensorImpl {
 public:
  AdadeltaImpl(Group defaults, std::vector<ParamGroup> groups) : PerTensorImpl("Adadelta", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  static constexpr std::array<std::string_view, 2> kStates = {"square_avg", "acc_delta"};
  static constexpr std::array<std::string_view, 8> kSettings = {
      "lr", "rho", "eps", "weight_decay", "maximize", "capturable", "foreach", "differentiable"};

  std::span<const std::string_view> state_names(const Group&) const override { return kStates; }
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }

  void update_one(const Group& group, One& one) override {
    auto& [square_avg, acc_delta, none] = one.state;
    square_avg.mul_(group.rho).addcmul_(one.grad, one.grad, 1 - group.rho);
    const at::Tensor root = square_avg.add(group.eps).sqrt_();
    const at::Tensor delta = acc_delta.add(group.eps).sqrt_().div_(root).mul_(one.grad);
    acc_delta.mul_(group.rho).addcmul_(delta, delta, 1 - group.rho);
    one.param.add_(delta, -group.lr);
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.rho >= 0 && group.rho <= 1, name(), "rho", group.rho, "in [0, 1]");
    require(group.eps >= 0, name(), "eps", group.eps, "at least 0");
    require(group.weight_decay >= 0, name(), "weight_decay", group.weight_decay, "at least 0");
  }
};

Group defaults_of(const AdagradOptions& options) {
  Group group;
  group.lr = options.lr;
  group.lr_decay = options.lr_decay;
  group.weight_decay = options.weight_decay;
  group.initial_accumulator_value = options.initial_accumulator_value;
  group.eps = options.eps;
  group.maximize = options.maximize;
  return group;
}

Group defaults_of(const AdadeltaOptions& options) {
  Group group;
  group.lr = options.lr;
  group.rho = options.rho;
  group.eps = options.eps;
  group.weight_decay = options.weight_decay;
  group.maximize = options.maximize;
  return group;
}

}  // namespace

Adagrad::Adagrad(std::vector<at::Tensor> params, AdagradOptions options)
    : Adagrad(one_group(std::move(params)), options) {}
Adagrad::Adagrad(std::vector<ParamGroup> groups, AdagradOptions options)
    : Optimizer(std::make_shared<AdagradImpl>(defaults_of(options), std::move(groups))) {}

Adadelta::Adadelta(std::vector<at::Tensor> params, AdadeltaOptions options)
    : Adadelta(one_group(std::move(params)), options) {}
Adadelta::Adadelta(std::vector<ParamGroup> groups, AdadeltaOptions options)
    : Optimizer(std::make_shared<AdadeltaImpl>(defaults_of(options), std::move(groups))) {}

}  // namespace levin::optim
