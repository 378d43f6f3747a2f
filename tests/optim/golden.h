// Golden files and the small regression they follow (tests/golden/scripts/make_optim_golden.py).
#pragma once

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>
#include <torch/torch.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace levin::testing {

using Json = nlohmann::ordered_json;

inline Json golden(const std::string& name) {
  std::ifstream file(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/optim/" + name);
  return Json::parse(file);
}

inline at::Tensor tensor_of(const Json& values, at::IntArrayRef shape, at::ScalarType dtype = at::kDouble) {
  return torch::tensor(values.get<std::vector<double>>(), at::kDouble).reshape(shape).to(dtype);
}

/** The parameters w, b, c and the loss of the golden trajectories. */
struct Problem {
  explicit Problem(const Json& inputs, at::ScalarType dtype) {
    auto read = [&](const char* name) {
      return tensor_of(inputs.at(name).at("values"), inputs.at(name).at("shape").get<std::vector<int64_t>>(), dtype);
    };
    x = read("x"), y = read("y");
    for (const auto* name : {"w", "b", "c"}) params[name] = read(name).clone().requires_grad_();
  }

  at::Tensor loss(bool with_c = true) const {
    auto h = torch::tanh(torch::mm(x, params.at("w").t()) + params.at("b"));
    auto out = with_c ? torch::mm(h, params.at("c").t()) : h.slice(1, 0, 2);
    return (out - y).square().mean();
  }
  std::vector<at::Tensor> all() const { return {params.at("w"), params.at("b"), params.at("c")}; }

  std::map<std::string, at::Tensor> params;
  at::Tensor x, y;
};

/** The largest difference, relative to 1 or to the expected size where that is larger. */
inline double distance(const at::Tensor& actual, const Json& expected) {
  auto want = tensor_of(expected, {static_cast<int64_t>(expected.size())});
  auto got = actual.detach().to(at::kDouble).reshape({-1});
  return ((got - want).abs() / want.abs().clamp_min(1)).max().item<double>();
}

}  // namespace levin::testing
