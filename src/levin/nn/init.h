// Initial weights by name.
#pragma once

#include <levin/core/export.h>

#include <torch/nn/module.h>

#include <string>
#include <vector>

namespace levin::nn {

/** The schemes that `apply_init` knows, in order. */
LEVIN_API const std::vector<std::string>& init_names();

/**
 * Draws the weights of all linear, convolutional and recurrent layers in `module` anew, from torch's generator, and
 * sets their biases to zero; embeddings and normalisation layers keep what they have.
 *
 * Schemes: default (nothing changes), xavier_uniform, xavier_normal (Glorot and Bengio 2010), kaiming_uniform,
 * kaiming_normal (He et al. 2015, fan in), orthogonal (Saxe et al. 2013). Weights are scaled by the gain that
 * torch::nn::init::calculate_gain gives for `activation`: 5/3 for tanh, sqrt(2 / (1 + 0.01^2)) for leaky_relu, 3/4 for
 * selu, 1 for sigmoid and identity, sqrt(2) for relu and those that resemble it (elu, gelu, silu).
 *
 * Throws Error for an unknown scheme or activation.
 */
LEVIN_API void apply_init(torch::nn::Module& module, const std::string& scheme, const std::string& activation = "relu");

template <class Impl>
void apply_init(const torch::nn::ModuleHolder<Impl>& module, const std::string& scheme,
                const std::string& activation = "relu") {
  apply_init(static_cast<torch::nn::Module&>(*module.ptr()), scheme, activation);
}

}  // namespace levin::nn
