#include <levin/optim/adam.h>

#include <levin/optim/optimizer_impl.h>
#include <levin/optim/validate.h>

#include <ATen/ATen.h>

namespace levin::optim {
namespace {

constexpr std::array<std::string_view, 3> kStates = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"};
constexpr std::array<std::string_view, 11> kSettings = {
    "lr",         "betas",          "eps",   "weight_decay",          "amsgrad", "maximize", "foreach",
    "capturable", "differentiable", "fused", "decoupled_weight_decay"};

class AdamImpl : public OptimizerImpl {
 public:
  AdamImpl(std::string name, Group defaults, std::vector<ParamGroup> groups)
      : OptimizerImpl(std::move(name), std::move(defaults)) {
    add_param_groups(std::move(groups));
  }

 protected:
  std::span<const std::string_view> state_names(const Group& group) const override {
    return std::span(kStates).first(group.amsgrad ? 3 : 2);
  }
  std::span<const std::string_view> all_state_names() const override { return kStates; }
  std::span<const std::string_view> setting_names() const override { return kSettings; }
  bool counts_steps() const override { return true; }

  void update(const Group& group, Lists& lists, bool) override {
    static const std::vector<at::Tensor> none;
    const auto& largest = group.amsgrad ? lists.states[2] : none;
    const auto step =
        group.decoupled_weight_decay ? static_cast<Fused>(&at::_fused_adamw_) : static_cast<Fused>(&at::_fused_adam_);
    step(lists.params, lists.grads, lists.states[0], lists.states[1], largest, lists.steps, group.lr, group.betas[0],
         group.betas[1], group.weight_decay, group.eps, group.amsgrad, group.maximize, {}, {});
  }

  void validate(const Group& group) const override {
    require(group.lr >= 0, name(), "lr", group.lr, "at least 0");
    require(group.eps >= 0, name(), "eps", group.eps, "at least 0");
    for (size_t i = 0; i < 2; ++i) {
      require(group.betas[i] >= 0 && group.betas[i] < 1, name(), "betas[" + std::to_string(i) + "]", group.betas[i],
              "in [0, 1)");
    }
    require(group.weight_decay >= 0, name(), "weight_decay", group.weight_decay, "at least 0");
  }

 private:
  using Fused = void (*)(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList,
                         double, double, double, double, double, bool, bool, const std::optional<at::Tensor>&,
                         const std::optional<at::Tensor>&);
};

template <class Options>
Group defaults_of(const Options& options, bool decoupled) {
  Group group;
  group.lr = options.lr;
  group.betas = options.betas;
  group.eps = options.eps;
  group.weight_decay = options.weight_decay;
  group.amsgrad = options.amsgrad;
  group.maximize = options.maximize;
  group.decoupled_weight_decay = decoupled;
  return group;
}

}  // namespace

Adam::Adam(std::vector<at::Tensor> params, AdamOptions options) : Adam(one_group(std::move(params)), options) {}
Adam::Adam(std::vector<ParamGroup> groups, AdamOptions options)
    : Optimizer(std::make_shared<AdamImpl>("Adam", defaults_of(options, options.decoupled_weight_decay),
                                           std::move(groups))) {}

AdamW::AdamW(std::vector<at::Tensor> params, AdamWOptions options) : AdamW(one_group(std::move(params)), options) {}
AdamW::AdamW(std::vector<ParamGroup> groups, AdamWOptions options)
    : Optimizer(std::make_shared<AdamImpl>("AdamW", defaults_of(options, true), std::move(groups))) {}

}  // namespace levin::optim
