#include <levin/optim/optimizer.h>

#include <levin/core/error.h>
#include <levin/optim/optimizer_impl.h>

namespace levin::optim {

OptimizerImpl& Optimizer::get() const {
  if (!impl_) {
    throw Error({.what = "an empty optimizer was used",
                 .value = {},
                 .where = {},
                 .hint = "make one first, for instance levin::optim::Adam(model->parameters(), {.lr = 1e-3})"});
  }
  return *impl_;
}

std::string Optimizer::name() const { return get().name(); }
void Optimizer::zero_grad(bool set_to_none) { get().zero_grad(set_to_none); }
void Optimizer::step() { get().step(); }
int64_t Optimizer::step_count() const { return get().step_count(); }
std::span<Group> Optimizer::param_groups() const { return get().param_groups(); }
std::vector<at::Tensor> Optimizer::parameters() const { return get().parameters(); }
void Optimizer::add_param_group(ParamGroup group) { get().add_param_group(std::move(group)); }
OptimizerState Optimizer::state_dict() const { return get().state_dict(); }
void Optimizer::load_state_dict(const OptimizerState& state) { get().load_state_dict(state); }
void Optimizer::bind_gradients() { get().bind_gradients(); }
void Optimizer::unbind_gradients() { get().unbind_gradients(); }
bool Optimizer::gradients_bound() const { return get().gradients_bound(); }

}  // namespace levin::optim
