// The models of the benchmarks of compiled steps: plain torch::nn code, the same networks as in peers.py.
#pragma once

#include <levin/levin.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace levin::benchmarks {

namespace nn = torch::nn;
using torch::Tensor;

struct Model {
  std::string name;
  std::function<nn::Sequential()> make;
  std::function<levin::Batch()> batch;
  std::function<Tensor(const Tensor&, const Tensor&)> loss;
  int steps;              ///< of a round
  int trainer_steps;      ///< of a round of the Trainer, which begins a run each time
  bool has_limit = false; ///< limit.h is this network
};

inline Tensor cross_entropy(const Tensor& logits, const Tensor& target) {
  return torch::cross_entropy_loss(logits.flatten(0, -2), target.flatten());
}

inline nn::Conv2d conv(std::int64_t in, std::int64_t out, std::int64_t size) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, size));
}

/** Of a residual network for images of 32 x 32 (He et al. 2015), with a projection where the shape changes. */
struct ResidualBlockImpl : nn::Module {
  ResidualBlockImpl(std::int64_t in, std::int64_t out, std::int64_t stride) {
    const auto conv3 = [](std::int64_t from, std::int64_t to, std::int64_t by) {
      return nn::Conv2d(nn::Conv2dOptions(from, to, 3).stride(by).padding(1).bias(false));
    };
    main = register_module("main", nn::Sequential(conv3(in, out, stride), nn::BatchNorm2d(out), nn::ReLU(),
                                                  conv3(out, out, 1), nn::BatchNorm2d(out)));
    if (stride == 1 && in == out) return;
    shortcut = register_module(
        "shortcut", nn::Sequential(nn::Conv2d(nn::Conv2dOptions(in, out, 1).stride(stride).bias(false)),
                                   nn::BatchNorm2d(out)));
  }
  Tensor forward(const Tensor& x) {
    return torch::relu(main->forward(x) + (shortcut.is_empty() ? x : shortcut->forward(x)));
  }
  nn::Sequential main, shortcut{nullptr};
};
TORCH_MODULE(ResidualBlock);

inline nn::Sequential resnet20() {
  nn::Sequential net(nn::Conv2d(nn::Conv2dOptions(3, 16, 3).padding(1).bias(false)), nn::BatchNorm2d(16), nn::ReLU());
  std::int64_t in = 16;
  for (const std::int64_t out : {16, 32, 64}) {
    for (int block = 0; block < 3; ++block, in = out) net->push_back(ResidualBlock(in, out, in == out ? 1 : 2));
  }
  net->push_back(nn::AdaptiveAvgPool2d(1));
  net->push_back(nn::Flatten());
  net->push_back(nn::Linear(64, 10));
  return net;
}

/** A block of a language model: attention to what came before, then a hidden layer of four times the width. */
struct GptBlockImpl : nn::Module {
  GptBlockImpl(std::int64_t width, std::int64_t heads_) : heads(heads_) {
    const auto norm = [width] { return nn::LayerNorm(nn::LayerNormOptions({width})); };
    norm1 = register_module("norm1", norm());
    qkv = register_module("qkv", nn::Linear(width, 3 * width));
    out = register_module("out", nn::Linear(width, width));
    norm2 = register_module("norm2", norm());
    mlp = register_module("mlp", nn::Sequential(nn::Linear(width, 4 * width), nn::GELU(), nn::Linear(4 * width, width)));
  }
  Tensor attention(const Tensor& x) {
    const auto b = x.size(0), t = x.size(1), c = x.size(2);
    const auto parts = qkv->forward(x).split(c, 2);
    const auto head = [&](std::size_t i) { return parts[i].view({b, t, heads, c / heads}).transpose(1, 2); };
    const Tensor y = torch::scaled_dot_product_attention(head(0), head(1), head(2), {}, 0, /*is_causal=*/true);
    return out->forward(y.transpose(1, 2).contiguous().view({b, t, c}));
  }
  Tensor forward(Tensor x) {
    x = x + attention(norm1->forward(x));
    return x + mlp->forward(norm2->forward(x));
  }
  std::int64_t heads;
  nn::LayerNorm norm1{nullptr}, norm2{nullptr};
  nn::Linear qkv{nullptr}, out{nullptr};
  nn::Sequential mlp{nullptr};
};
TORCH_MODULE(GptBlock);

/** Embeddings of tokens and positions. */
struct TokensImpl : nn::Module {
  TokensImpl(std::int64_t vocabulary, std::int64_t length, std::int64_t width)
      : tokens(register_module("tokens", nn::Embedding(vocabulary, width))),
        positions(register_module("positions", nn::Embedding(length, width))) {}
  Tensor forward(const Tensor& ids) {
    return tokens->forward(ids) + positions->forward(torch::arange(ids.size(1), ids.options()));
  }
  nn::Embedding tokens, positions;
};
TORCH_MODULE(Tokens);

inline nn::Sequential gpt(std::int64_t vocabulary, std::int64_t length, int layers, std::int64_t width,
                          std::int64_t heads) {
  nn::Sequential net(Tokens(vocabulary, length, width));
  for (int i = 0; i < layers; ++i) net->push_back(GptBlock(width, heads));
  net->push_back(nn::LayerNorm(nn::LayerNormOptions({width})));
  net->push_back(nn::Linear(width, vocabulary));
  return net;
}

/** Classifies a sequence by what an LSTM has made of it at its end. */
struct SequenceClassifierImpl : nn::Module {
  SequenceClassifierImpl(std::int64_t inputs, std::int64_t width, std::int64_t classes)
      : lstm(register_module("lstm", nn::LSTM(nn::LSTMOptions(inputs, width).batch_first(true)))),
        head(register_module("head", nn::Linear(width, classes))) {}
  Tensor forward(const Tensor& x) { return head->forward(std::get<0>(lstm->forward(x)).select(1, -1)); }
  nn::LSTM lstm;
  nn::Linear head;
};
TORCH_MODULE(SequenceClassifier);

inline std::vector<Model> models() {
  const auto rows = [] { return levin::Batch{torch::randn({64, 784}), torch::randint(10, {64})}; };
  const auto images = [](std::int64_t channels, std::int64_t size) {
    return [=] { return levin::Batch{torch::randn({64, channels, size, size}), torch::randint(10, {64})}; };
  };
  return {
      {.name = "1-16-1, b 100",
       .make = [] { return nn::Sequential(nn::Linear(1, 16), nn::ReLU(), nn::Linear(16, 1)); },
       .batch =
           [] {
             auto x = torch::linspace(-1, 1, 100).unsqueeze(1);
             return levin::Batch{x, 2 * x + 1};
           },
       .loss = [](const Tensor& a, const Tensor& b) { return torch::mse_loss(a, b); },
       .steps = 2000,
       .trainer_steps = 40000,
       .has_limit = true},
      {.name = "MLP 784-128-10, b 64",
       .make = [] { return nn::Sequential(nn::Linear(784, 128), nn::ReLU(), nn::Linear(128, 10)); },
       .batch = rows,
       .loss = cross_entropy,
       .steps = 100,
       .trainer_steps = 1000},
      {.name = "MLP with BatchNorm and dropout, b 64",
       .make =
           [] {
             return nn::Sequential(nn::Linear(784, 128), nn::BatchNorm1d(128), nn::ReLU(), nn::Dropout(0.1),
                                   nn::Linear(128, 10));
           },
       .batch = rows,
       .loss = cross_entropy,
       .steps = 100,
       .trainer_steps = 1000},
      {.name = "CNN 8-16, b 64",
       .make =
           [] {
             return nn::Sequential(conv(1, 8, 3), nn::ReLU(), nn::MaxPool2d(2), conv(8, 16, 3), nn::ReLU(),
                                   nn::MaxPool2d(2), nn::Flatten(), nn::Linear(400, 10));
           },
       .batch = images(1, 28),
       .loss = cross_entropy,
       .steps = 10,
       .trainer_steps = 100},
      {.name = "LeNet 32-64, b 64",
       .make =
           [] {
             return nn::Sequential(conv(1, 32, 5), nn::ReLU(), nn::MaxPool2d(2), conv(32, 64, 5), nn::ReLU(),
                                   nn::MaxPool2d(2), nn::Flatten(), nn::Linear(1024, 128), nn::ReLU(),
                                   nn::Linear(128, 10));
           },
       .batch = images(1, 28),
       .loss = cross_entropy,
       .steps = 2,
       .trainer_steps = 10},
      {.name = "ResNet-20, b 64",
       .make = resnet20,
       .batch = images(3, 32),
       .loss = cross_entropy,
       .steps = 1,
       .trainer_steps = 4},
      {.name = "GPT 4x128, T 64, b 12",
       .make = [] { return gpt(65, 64, 4, 128, 4); },
       .batch = [] { return levin::Batch{torch::randint(65, {12, 64}), torch::randint(65, {12, 64})}; },
       .loss = cross_entropy,
       .steps = 4,
       .trainer_steps = 10},
      {.name = "LSTM 32-64, T 20, b 32",
       .make = [] { return nn::Sequential(SequenceClassifier(32, 64, 10)); },
       .batch = [] { return levin::Batch{torch::randn({32, 20, 32}), torch::randint(10, {32})}; },
       .loss = cross_entropy,
       .steps = 20,
       .trainer_steps = 200},
  };
}

}  // namespace levin::benchmarks
