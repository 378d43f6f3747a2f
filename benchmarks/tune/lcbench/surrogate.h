// The LCBench surrogate of YAHPO Gym (Pfisterer et al. 2022): what a small neural network reaches on OpenML tasks for
// given hyperparameters (Zimmer et al. 2021), predicted by a network of 0.5 million weights.
#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace levin::benchmarks {

/** A training of LCBench, with its ranges there. */
struct LCBenchConfig {
  double epoch = 52;            ///< 1 to 52
  double batch_size = 64;       ///< 16 to 512
  double learning_rate = 1e-2;  ///< 1e-4 to 1e-1
  double momentum = 0.9;        ///< 0.1 to 0.99
  double weight_decay = 1e-5;   ///< 1e-5 to 1e-1
  double num_layers = 3;        ///< 1 to 5
  double max_units = 256;       ///< 64 to 1024
  double max_dropout = 0.5;     ///< 0 to 1
};

struct LCBenchResult {
  double seconds, val_accuracy, val_cross_entropy, val_balanced_accuracy, test_cross_entropy, test_balanced_accuracy;
};

class LCBench {
 public:
  /** Reads surrogate.safetensors and reference.json from `folder`. Throws Error where one is missing or broken. */
  explicit LCBench(const std::filesystem::path& folder);

  /** What the training would end with; accuracies in per cent. Throws Error for a task that LCBench does not have. */
  LCBenchResult operator()(const std::string& task, const LCBenchConfig& config) const;

  /** The largest difference to ONNX Runtime's results in reference.json, relative to 1 + |result|. */
  double largest_difference() const;

 private:
  using Tensor = std::vector<float>;

  std::array<float, 6> predict(int task, const std::array<float, 8>& inputs) const;
  const Tensor& at(const std::string& name) const;

  struct Block {
    Tensor scale, shift, in, in_bias, out, out_bias;
  };
  std::filesystem::path folder_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, int> tasks_;
  std::array<Block, 3> blocks_;
};

}  // namespace levin::benchmarks
