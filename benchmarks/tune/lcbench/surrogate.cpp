#include "surrogate.h"

#include <levin/core/error.h>
#include <levin/core/file.h>
#include <levin/core/json.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <utility>

namespace levin::benchmarks {
namespace {

using Vector = std::vector<float>;

// weights (rows x x.size(), row by row) * x + bias
Vector affine(const Vector& weights, const Vector& bias, const Vector& x) {
  constexpr std::size_t lanes = 8;  // sums side by side, for vector instructions
  Vector out(bias);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float* row = weights.data() + i * x.size();
    float sums[lanes] = {};
    std::size_t k = 0;
    for (; k + lanes <= x.size(); k += lanes) {
      for (std::size_t j = 0; j < lanes; ++j) sums[j] += row[k + j] * x[k + j];
    }
    for (; k < x.size(); ++k) sums[0] += row[k] * x[k];
    out[i] += std::accumulate(sums, sums + lanes, 0.0F);
  }
  return out;
}

}  // namespace

LCBench::LCBench(const std::filesystem::path& folder) : folder_(folder) {
  const std::string data = read_file(folder / "surrogate.safetensors");
  std::uint64_t size = 0;
  const auto broken = [&](const std::string& what) {
    return Error({.what = what, .value = {}, .where = (folder / "surrogate.safetensors").string(), .hint = {}});
  };
  if (data.size() < sizeof size) throw broken("not a safetensors file");
  std::memcpy(&size, data.data(), sizeof size);
  if (size > data.size() - sizeof size) throw broken("the header reaches past the end of the file");
  const Value header = parse_json(data.substr(sizeof size, size));
  for (const auto& [name, tensor] : header.as_map()) {
    const auto& ends = tensor.as_map().at("data_offsets").as_list();
    const auto first = static_cast<std::size_t>(ends[0].as_int()), last = static_cast<std::size_t>(ends[1].as_int());
    const std::size_t start = sizeof size + size;
    if (first > last || last > data.size() - start) throw broken("tensor " + name + " reaches past the end of the file");
    Tensor values((last - first) / sizeof(float));
    std::memcpy(values.data(), data.data() + start + first, values.size() * sizeof(float));
    tensors_[name] = std::move(values);
  }
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    const std::string layer = "layers." + std::to_string(i) + ".";
    blocks_[i] = {at(layer + "norm.scale"),    at(layer + "norm.shift"),     at(layer + "linear0.weight"),
                  at(layer + "linear0.bias"), at(layer + "linear1.weight"), at(layer + "linear1.bias")};
  }
  const Value reference = parse_json(read_file(folder / "reference.json"));
  for (const auto& [name, index] : reference.as_map().at("tasks").as_map()) tasks_[name] = static_cast<int>(index.as_int());
}

const LCBench::Tensor& LCBench::at(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it != tensors_.end()) return it->second;
  throw Error({.what = "the surrogate lacks a tensor", .value = name, .where = folder_.string(), .hint = {}});
}

std::array<float, 6> LCBench::predict(int task, const std::array<float, 8>& inputs) const {
  constexpr std::size_t width = 24;  // of the tasks' embedding
  const auto& embedding = at("embedding.weight");
  const auto row = embedding.begin() + static_cast<std::ptrdiff_t>(width) * task;
  Vector x(row, row + width);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const float value = at("input.log")[i] > 0 ? std::log(inputs[i] + at("input.offset")[i]) : inputs[i];
    x.push_back((value - at("input.mean")[i]) / at("input.deviation")[i]);
  }
  Vector h = affine(at("first_layer.weight"), at("first_layer.bias"), x);
  for (const Block& block : blocks_) {
    Vector z(h.size());
    for (std::size_t i = 0; i < h.size(); ++i) z[i] = block.scale[i] * h[i] + block.shift[i];
    Vector gated = affine(block.in, block.in_bias, z);  // values, then their gates
    const std::size_t n = gated.size() / 2;
    for (std::size_t i = 0; i < n; ++i) gated[i] *= std::max(gated[n + i], 0.0F);
    gated.resize(n);
    const Vector change = affine(block.out, block.out_bias, gated);
    for (std::size_t i = 0; i < h.size(); ++i) h[i] += change[i];
  }
  for (std::size_t i = 0; i < h.size(); ++i) {
    h[i] = std::max(at("last_normalization.scale")[i] * h[i] + at("last_normalization.shift")[i], 0.0F);
  }
  const Vector logits = affine(at("head.weight"), at("head.bias"), h);
  std::array<float, 6> out{};
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float y = at("output.scale")[i] / (1 + std::exp(-logits[i])) + at("output.mean")[i];
    out[i] = at("output.log")[i] > 0 ? std::exp(y) - at("output.offset")[i] : y;
  }
  return out;
}

LCBenchResult LCBench::operator()(const std::string& task, const LCBenchConfig& c) const {
  const auto it = tasks_.find(task);
  if (it == tasks_.end()) throw Error({.what = "LCBench has no such task", .value = task, .where = {}, .hint = {}});
  const std::array<double, 8> inputs{c.epoch,        c.batch_size, c.learning_rate, c.momentum,
                                     c.weight_decay, c.num_layers, c.max_units,     c.max_dropout};
  std::array<float, 8> x{};
  std::transform(inputs.begin(), inputs.end(), x.begin(), [](double v) { return static_cast<float>(v); });
  const auto y = predict(it->second, x);
  return {y[0], y[1], y[2], y[3], y[4], y[5]};
}

double LCBench::largest_difference() const {
  double worst = 0;
  const Value reference = parse_json(read_file(folder_ / "reference.json"));
  for (const auto& item : reference.as_map().at("cases").as_list()) {
    std::array<float, 8> x{};
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(item.as_map().at("x").as_list()[i].as_double());
    const auto y = predict(tasks_.at(item.as_map().at("task").as_string()), x);
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double expected = item.as_map().at("y").as_list()[i].as_double();
      worst = std::max(worst, std::abs(y[i] - expected) / (1 + std::abs(expected)));
    }
  }
  return worst;
}

}  // namespace levin::benchmarks
