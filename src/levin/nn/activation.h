// Activations by name, for the command line and the search.
#pragma once

#include <levin/core/export.h>

#include <torch/nn/cloneable.h>
#include <torch/nn/pimpl.h>

#include <string>
#include <vector>

namespace levin::nn {

/** The names that `activation` knows, in order. */
LEVIN_API const std::vector<std::string>& activation_names();

/** An elementwise function without parameters, with PyTorch's defaults. */
class LEVIN_API ActivationImpl : public torch::nn::Cloneable<ActivationImpl> {
 public:
  /** One of activation_names(); throws Error with the nearest name otherwise. */
  explicit ActivationImpl(const std::string& name = "identity");

  torch::Tensor forward(const torch::Tensor& input) { return function_(input); }
  const std::string& activation() const noexcept { return name_; }
  void reset() override {}
  void pretty_print(std::ostream& stream) const override;

 private:
  std::string name_;
  torch::Tensor (*function_)(const torch::Tensor&);
};

TORCH_MODULE(Activation);

/**
 * A module for torch::nn::Sequential: relu, leaky_relu (slope 0.01), elu, selu, gelu (exact), silu, tanh, sigmoid or
 * identity. Throws Error for any other name.
 */
LEVIN_API Activation activation(const std::string& name);

}  // namespace levin::nn
