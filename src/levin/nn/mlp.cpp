#include <levin/nn/mlp.h>

#include <levin/core/error.h>
#include <levin/core/value.h>
#include <levin/nn/init.h>

#include <torch/nn/modules/batchnorm.h>
#include <torch/nn/modules/normalization.h>
#include <torch/types.h>

#include <algorithm>
#include <sstream>

namespace levin::nn {
namespace {

void check_size(std::int64_t size, std::int64_t least, const std::string& where) {
  if (size >= least) return;
  throw Error({.what = "a size of an MLP must be at least " + std::to_string(least),
               .value = std::to_string(size),
               .where = where,
               .hint = {}});
}

std::string shape_text(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "none";
  std::ostringstream text;
  text << tensor.sizes();
  return text.str();
}

}  // namespace

const std::vector<std::string>& norm_names() {
  static const std::vector<std::string> names{"none", "batch", "layer"};
  return names;
}

MLPImpl::MLPImpl(MLPOptions options) : options_(std::move(options)) {
  check_size(options_.in, options_.embeddings.empty() ? 1 : 0, "MLP .in");
  check_size(options_.out, 1, "MLP .out");
  for (const auto width : options_.widths) check_size(width, 1, "MLP .widths");
  for (auto& embedding : options_.embeddings) {
    check_size(embedding.cardinality, 1, "MLP .embeddings, cardinality");
    check_size(embedding.dim, 0, "MLP .embeddings, dim");
    if (embedding.dim == 0) embedding.dim = std::min<std::int64_t>(50, (embedding.cardinality + 1) / 2);
  }
  if (!(options_.dropout >= 0 && options_.dropout < 1)) {
    throw Error({.what = "a dropout probability must lie in [0, 1)",
                 .value = format_double(options_.dropout),
                 .where = "MLP .dropout",
                 .hint = {}});
  }
  if (std::find(norm_names().begin(), norm_names().end(), options_.norm) == norm_names().end()) {
    throw Error({.what = "there is no normalisation of this name",
                 .value = "\"" + options_.norm + "\"",
                 .where = "MLP .norm",
                 .hint = did_you_mean(options_.norm, norm_names())});
  }
  reset();
}

void MLPImpl::reset() {
  embeddings_.clear();
  layers_.clear();
  auto size = options_.in;
  for (std::size_t i = 0; i < options_.embeddings.size(); ++i) {
    const auto& [cardinality, dim] = options_.embeddings[i];
    auto embedding = torch::nn::Embedding(cardinality, dim);
    {
      const torch::NoGradGuard no_grad;
      embedding->weight[0].zero_();
    }
    embeddings_.push_back(register_module("embedding_" + std::to_string(i), embedding));
    size += dim;
  }
  activation_ = register_module("activation", nn::activation(options_.activation));
  dropout_ = register_module("dropout", torch::nn::Dropout(options_.dropout));
  for (std::size_t i = 0; i < options_.widths.size(); ++i) {
    const auto width = options_.widths[i];
    const auto number = std::to_string(i);
    Layer layer;
    layer.linear = register_module("linear_" + number, torch::nn::Linear(size, width));
    if (options_.norm == "batch") {
      layer.norm = register_module("norm_" + number, torch::nn::BatchNorm1d(width));
    } else if (options_.norm == "layer") {
      layer.norm = register_module("norm_" + number, torch::nn::LayerNorm(torch::nn::LayerNormOptions({width})));
    }
    if (options_.skip && size != width) {
      layer.projection =
          register_module("projection_" + number, torch::nn::Linear(torch::nn::LinearOptions(size, width).bias(false)));
    }
    layers_.push_back(std::move(layer));
    size = width;
  }
  head_ = register_module("head", torch::nn::Linear(size, options_.out));
  apply_init(*this, options_.init, options_.activation);
}

torch::Tensor MLPImpl::embed(const torch::Tensor& x, const torch::Tensor& categories) {
  const auto columns = static_cast<std::int64_t>(embeddings_.size());
  if (!categories.defined() || categories.dim() != 2 || categories.size(1) != columns) {
    throw Error({.what = "an MLP with embeddings needs category codes of shape [n, " + std::to_string(columns) + "]",
                 .value = shape_text(categories),
                 .where = "MLP::forward",
                 .hint = {}});
  }
  std::vector<torch::Tensor> parts;
  if (options_.in > 0) parts.push_back(x);
  for (std::int64_t i = 0; i < columns; ++i) {
    parts.push_back(embeddings_[static_cast<std::size_t>(i)]->forward(categories.select(1, i)));
  }
  return torch::cat(parts, 1);
}

torch::Tensor MLPImpl::forward(const torch::Tensor& x, const torch::Tensor& categories) {
  if (options_.in > 0 && (!x.defined() || x.dim() == 0 || x.size(-1) != options_.in)) {
    throw Error({.what = "an MLP's input must end in a dimension of size " + std::to_string(options_.in),
                 .value = shape_text(x),
                 .where = "MLP::forward",
                 .hint = {}});
  }
  if (embeddings_.empty() && categories.defined()) {
    throw Error({.what = "an MLP without embeddings was given category codes",
                 .value = shape_text(categories),
                 .where = "MLP::forward",
                 .hint = "list their cardinalities in MLPOptions .embeddings"});
  }
  auto hidden = embeddings_.empty() ? x : embed(x, categories);
  for (auto& layer : layers_) {
    auto out = layer.linear->forward(hidden);
    if (auto* batch_norm = dynamic_cast<torch::nn::BatchNorm1dImpl*>(layer.norm.get())) {
      out = batch_norm->forward(out);
    } else if (auto* layer_norm = dynamic_cast<torch::nn::LayerNormImpl*>(layer.norm.get())) {
      out = layer_norm->forward(out);
    }
    out = activation_->forward(out);
    if (options_.dropout > 0) out = dropout_->forward(out);
    if (options_.skip) out = out + (layer.projection ? layer.projection->forward(hidden) : hidden);
    hidden = std::move(out);
  }
  return head_->forward(hidden);
}

void MLPImpl::pretty_print(std::ostream& stream) const {
  stream << "levin::nn::MLP(" << options_.in << " -> " << Value(List(options_.widths.begin(), options_.widths.end()))
         << " -> " << options_.out << ", " << options_.activation << ", dropout=" << options_.dropout
         << ", norm=" << options_.norm << (options_.skip ? ", skip" : "") << ")";
}

}  // namespace levin::nn
