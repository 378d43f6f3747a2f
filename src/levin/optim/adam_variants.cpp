#include <levin/optim/adam_variants.h>

#include <levin/optim/per_tensor_impl.h>
#include <levin/optim/validate.h>

#include <cmath>

namespace levin::optim {
namespace {

// What the three share: two means, and the ranges of their settings.
class VariantImpl : public PerTensorImpl {
 protected:
  using PerTensorImpl::PerTensorImpl;

  std::span<const std::string_view> state_names(const Group&) const override { return all_state_names(); }

  // Decays the parameter itself where asked to, and takes the gradient into the two means.
  static void average(const Group& group, One& one) {
    if (group.weight_decay != 0 && group.decoupled_weight_decay) one.param.mul_(1 - group.lr * group.weight_decay);
    one.state[0].lerp_(one.grad, 1 - group.betas[0]);
    one.state[1].mul_(group.betas[1]).addcmul_(one.grad, one.grad, 1 - group.betas[1]);
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.eps >= 0, name(), "eps", group.eps, "at least 0");
    for (size_t i = 0; i < 2; ++i) {
      require(group.betas[i] >= 0 && group.betas[i] < 1, name(), "betas[" + std::to_string(i) + "]", group.betas[i],
              "in [0, 1)");
    }
    require(group.weight_decay >= 0, name(), "weight_decay", group.weight_decay, "at least 0");
    require(group.momentum_decay >= 0, name(), "momentum_decay", group.momentum_decay, "at least 0");
  }
};

class AdamaxImpl : public VariantImpl {
 public:
  AdamaxImpl(Group defaults, std::vector<ParamGroup> groups) : VariantImpl("Adamax", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  static constexpr std::array<std::string_view, 2> kStates = {"exp_avg", "exp_inf"};
  static constexpr std::array<std::string_view, 8> kSettings = {
      "lr", "betas", "eps", "weight_decay", "foreach", "maximize", "differentiable", "capturable"};
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }

  void update_one(const Group& group, One& one) override {
    auto& [exp_avg, exp_inf, none] = one.state;
    exp_avg.lerp_(one.grad, 1 - group.betas[0]);
    at::maximum_out(exp_inf, exp_inf.mul_(group.betas[1]), one.grad.abs().add_(group.eps));
    one.param.addcdiv_(exp_avg, exp_inf, -group.lr / (1 - std::pow(group.betas[0], one.step)));
  }
};

class NAdamImpl : public VariantImpl {
 public:
  NAdamImpl(Group defaults, std::vector<ParamGroup> groups) : VariantImpl("NAdam", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  static constexpr std::array<std::string_view, 2> kStates = {"exp_avg", "exp_avg_sq"};
  static constexpr std::array<std::string_view, 10> kSettings = {
      "lr",       "betas",   "eps",        "weight_decay",  "momentum_decay", "decoupled_weight_decay",
      "maximize", "foreach", "capturable", "differentiable"};
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }
  std::string_view number_name() const override { return "mu_product"; }
  double next_number(const Group& group, double step, double number) const override {
    // PyTorch keeps the product in single precision, whatever the parameters are in.
    return static_cast<float>(number) * static_cast<float>(momentum(group, step));
  }

  // The momentum of a step, which approaches betas[0].
  static double momentum(const Group& group, double step) {
    return group.betas[0] * (1 - 0.5 * std::pow(0.96, step * group.momentum_decay));
  }

  void update_one(const Group& group, One& one) override {
    average(group, one);
    const auto& [exp_avg, exp_avg_sq, none] = one.state;
    const double mu = momentum(group, one.step), mu_next = momentum(group, one.step + 1);
    const at::Tensor root = exp_avg_sq.div(1 - std::pow(group.betas[1], one.step)).sqrt().add_(group.eps);
    one.param.addcdiv_(one.grad, root, -group.lr * (1 - mu) / (1 - one.number));
    one.param.addcdiv_(exp_avg, root, -group.lr * mu_next / (1 - one.number * mu_next));
  }
};

class RAdamImpl : public VariantImpl {
 public:
  RAdamImpl(Group defaults, std::vector<ParamGroup> groups) : VariantImpl("RAdam", std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  static constexpr std::array<std::string_view, 2> kStates = {"exp_avg", "exp_avg_sq"};
  static constexpr std::array<std::string_view, 9> kSettings = {
      "lr", "betas", "eps", "weight_decay", "maximize", "foreach", "capturable", "differentiable",
      "decoupled_weight_decay"};
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }

  void update_one(const Group& group, One& one) override {
    average(group, one);
    const auto& [exp_avg, exp_avg_sq, none] = one.state;
    const double decay = std::pow(group.betas[1], one.step);
    const double correction1 = 1 - std::pow(group.betas[0], one.step), correction2 = 1 - decay;
    // The length of the simple moving average that the mean square amounts to, at the end and now.
    const double rho_inf = 2 / (1 - group.betas[1]) - 1;
    const double rho = rho_inf - 2 * one.step * decay / correction2;
    at::Tensor update = (exp_avg / correction1).mul_(group.lr);
    if (rho > 5) {
      const double rectified =
          std::sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho));
      update.mul_(exp_avg_sq.sqrt().add_(group.eps).reciprocal_().mul_(std::sqrt(correction2))).mul_(rectified);
    }
    one.param.sub_(update);
  }
};

template <class Options>
Group defaults_of(const Options& options) {
  Group group;
  group.lr = options.lr;
  group.betas = options.betas;
  group.eps = options.eps;
  group.weight_decay = options.weight_decay;
  group.maximize = options.maximize;
  if constexpr (requires { options.decoupled_weight_decay; })
    group.decoupled_weight_decay = options.decoupled_weight_decay;
  if constexpr (requires { options.momentum_decay; }) group.momentum_decay = options.momentum_decay;
  return group;
}

}  // namespace

Adamax::Adamax(std::vector<at::Tensor> params, AdamaxOptions options) : Adamax(one_group(std::move(params)), options) {}
Adamax::Adamax(std::vector<ParamGroup> groups, AdamaxOptions options)
    : Optimizer(std::make_shared<AdamaxImpl>(defaults_of(options), std::move(groups))) {}

NAdam::NAdam(std::vector<at::Tensor> params, NAdamOptions options) : NAdam(one_group(std::move(params)), options) {}
NAdam::NAdam(std::vector<ParamGroup> groups, NAdamOptions options)
    : Optimizer(std::make_shared<NAdamImpl>(defaults_of(options), std::move(groups))) {}

RAdam::RAdam(std::vector<at::Tensor> params, RAdamOptions options) : RAdam(one_group(std::move(params)), options) {}
RAdam::RAdam(std::vector<ParamGroup> groups, RAdamOptions options)
    : Optimizer(std::make_shared<RAdamImpl>(defaults_of(options), std::move(groups))) {}

}  // namespace levin::optim
