#include <levin/optim/optimizer_state.h>

#include <ATen/ATen.h>

namespace levin::optim {

OptimizerState OptimizerState::clone() const {
  OptimizerState copy = *this;
  for (auto& [index, entry] : copy.state) {
    for (auto& [name, tensor] : entry) tensor = tensor.detach().clone();
  }
  return copy;
}

at::Tensor OptimizerState::find(int64_t index, std::string_view name) const {
  const auto entry = state.find(index);
  if (entry == state.end()) return {};
  for (const auto& [key, tensor] : entry->second) {
    if (key == name) return tensor;
  }
  return {};
}

}  // namespace levin::optim
