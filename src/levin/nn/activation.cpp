#include <levin/nn/activation.h>

#include <levin/core/error.h>

#include <torch/types.h>

namespace levin::nn {
namespace {

struct Entry {
  const char* name;
  torch::Tensor (*function)(const torch::Tensor&);
};

const Entry kActivations[] = {
    {"relu", [](const torch::Tensor& x) { return torch::relu(x); }},
    {"leaky_relu", [](const torch::Tensor& x) { return torch::leaky_relu(x); }},
    {"elu", [](const torch::Tensor& x) { return torch::elu(x); }},
    {"selu", [](const torch::Tensor& x) { return torch::selu(x); }},
    {"gelu", [](const torch::Tensor& x) { return torch::gelu(x); }},
    {"silu", [](const torch::Tensor& x) { return torch::silu(x); }},
    {"tanh", [](const torch::Tensor& x) { return torch::tanh(x); }},
    {"sigmoid", [](const torch::Tensor& x) { return torch::sigmoid(x); }},
    {"identity", [](const torch::Tensor& x) { return x; }},
};

}  // namespace

const std::vector<std::string>& activation_names() {
  static const auto names = [] {
    std::vector<std::string> list;
    for (const auto& entry : kActivations) list.emplace_back(entry.name);
    return list;
  }();
  return names;
}

ActivationImpl::ActivationImpl(const std::string& name) : name_(name), function_(nullptr) {
  for (const auto& entry : kActivations) {
    if (name == entry.name) function_ = entry.function;
  }
  if (!function_) {
    throw Error({.what = "there is no activation of this name",
                 .value = "\"" + name + "\"",
                 .where = {},
                 .hint = did_you_mean(name, activation_names())});
  }
}

void ActivationImpl::pretty_print(std::ostream& stream) const { stream << "levin::nn::Activation(" << name_ << ")"; }

Activation activation(const std::string& name) { return Activation(name); }

}  // namespace levin::nn
