// MLP: the built-in network for tables.
#pragma once

#include <levin/core/export.h>
#include <levin/nn/activation.h>

#include <torch/nn/cloneable.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/embedding.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace levin::nn {

/** A table of learnt vectors for one column of category codes. */
struct EmbeddingSize {
  std::int64_t cardinality = 0;  ///< codes 0 to cardinality - 1; code 0 is "unknown" and starts as a zero vector
  std::int64_t dim = 0;          ///< length of the vectors; 0: half the cardinality, at most 50
};

struct MLPOptions {
  std::int64_t in = 0;                    ///< numbers a sample; may be 0 with embeddings
  std::vector<std::int64_t> widths;       ///< of the hidden layers; none makes a linear model
  std::int64_t out = 1;                   ///< outputs a sample: classes, or 1 for a regression
  std::string activation = "relu";        ///< one of activation_names()
  double dropout = 0;                     ///< probability after every hidden layer, in [0, 1)
  std::string norm = "none";              ///< none, batch or layer: normalisation before the activation
  bool skip = false;                      ///< adds every hidden layer's input to its output, projected if sizes differ
  std::string init = "default";           ///< one of init_names()
  std::vector<EmbeddingSize> embeddings;  ///< one a column of category codes
};

/** The names that MLPOptions::norm knows. */
LEVIN_API const std::vector<std::string>& norm_names();

/**
 * Hidden layers (linear, norm, activation, dropout, and a residual connection if asked for), then a linear head.
 *
 * `forward(x)` with x [n, in], or `forward(x, categories)` with categories int64 [n, embeddings], gives [n, out].
 * Throws Error for sizes below 1, a dropout outside [0, 1), and unknown names.
 */
class LEVIN_API MLPImpl : public torch::nn::Cloneable<MLPImpl> {
 public:
  explicit MLPImpl(MLPOptions options);

  torch::Tensor forward(const torch::Tensor& x, const torch::Tensor& categories = {});
  void reset() override;
  void pretty_print(std::ostream& stream) const override;

  const MLPOptions& options() const noexcept { return options_; }

 protected:
  FORWARD_HAS_DEFAULT_ARGS({1, torch::nn::AnyValue(torch::Tensor())})

 private:
  struct Layer {
    torch::nn::Linear linear{nullptr};
    std::shared_ptr<torch::nn::Module> norm;  // BatchNorm1d, LayerNorm or none
    torch::nn::Linear projection{nullptr};    // only where a residual connection changes its size
  };

  torch::Tensor embed(const torch::Tensor& x, const torch::Tensor& categories);

  MLPOptions options_;
  std::vector<torch::nn::Embedding> embeddings_;
  std::vector<Layer> layers_;
  Activation activation_{nullptr};
  torch::nn::Dropout dropout_{nullptr};
  torch::nn::Linear head_{nullptr};
};

/** A holder of MLPImpl, as torch::nn's: `MLP({.in = 4, .widths = {64, 64}, .out = 3})`. */
class MLP : public torch::nn::ModuleHolder<MLPImpl> {
 public:
  using torch::nn::ModuleHolder<MLPImpl>::ModuleHolder;
  using Impl = MLPImpl;

  explicit MLP(MLPOptions options) : ModuleHolder(std::make_shared<MLPImpl>(std::move(options))) {}
};

}  // namespace levin::nn
