#include <levin/nn/init.h>

#include <levin/core/error.h>
#include <levin/nn/activation.h>

#include <torch/nn/init.h>
#include <torch/nn/modules/embedding.h>

#include <algorithm>
#include <cmath>

namespace levin::nn {
namespace {

double gain_of(const std::string& activation) {
  if (activation == "tanh") return 5.0 / 3;
  if (activation == "leaky_relu") return std::sqrt(2 / (1 + 0.01 * 0.01));
  if (activation == "selu") return 0.75;
  if (activation == "sigmoid" || activation == "identity") return 1;
  return std::sqrt(2.0);
}

void init_weight(torch::Tensor& weight, const std::string& scheme, double gain) {
  if (scheme == "xavier_uniform") {
    torch::nn::init::xavier_uniform_(weight, gain);
  } else if (scheme == "xavier_normal") {
    torch::nn::init::xavier_normal_(weight, gain);
  } else if (scheme == "orthogonal") {
    torch::nn::init::orthogonal_(weight, gain);
  } else {
    const auto fan_in = static_cast<double>(std::get<0>(torch::nn::init::_calculate_fan_in_and_fan_out(weight)));
    const double std = gain / std::sqrt(fan_in);
    if (scheme == "kaiming_normal") {
      torch::nn::init::normal_(weight, 0, std);
    } else {
      torch::nn::init::uniform_(weight, -std::sqrt(3.0) * std, std::sqrt(3.0) * std);
    }
  }
}

void init_layer(torch::nn::Module& layer, const std::string& scheme, double gain) {
  if (layer.as<torch::nn::EmbeddingImpl>() || layer.as<torch::nn::EmbeddingBagImpl>()) return;
  auto parameters = layer.named_parameters(/*recurse=*/false);
  bool has_weights = false;
  for (auto& item : parameters) {
    if (!item.key().starts_with("weight") || item.value().dim() < 2 || item.value().numel() == 0) continue;
    init_weight(item.value(), scheme, gain);
    has_weights = true;
  }
  for (auto& item : parameters) {
    if (has_weights && item.key().starts_with("bias")) torch::nn::init::zeros_(item.value());
  }
}

}  // namespace

const std::vector<std::string>& init_names() {
  static const std::vector<std::string> names{"default",         "xavier_uniform", "xavier_normal",
                                              "kaiming_uniform", "kaiming_normal", "orthogonal"};
  return names;
}

void apply_init(torch::nn::Module& module, const std::string& scheme, const std::string& activation) {
  const auto& names = init_names();
  if (std::find(names.begin(), names.end(), scheme) == names.end()) {
    throw Error({.what = "there is no initialisation scheme of this name",
                 .value = "\"" + scheme + "\"",
                 .where = {},
                 .hint = did_you_mean(scheme, names)});
  }
  const double gain = gain_of(ActivationImpl(activation).activation());
  if (scheme == "default") return;
  init_layer(module, scheme, gain);
  for (const auto& child : module.modules(/*include_self=*/false)) init_layer(*child, scheme, gain);
}

}  // namespace levin::nn
