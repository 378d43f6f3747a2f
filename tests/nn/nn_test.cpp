#include <levin/core/error.h>
#include <levin/nn/activation.h>
#include <levin/nn/init.h>
#include <levin/nn/mlp.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

namespace levin::nn {
namespace {

std::string message_of(const std::function<void()>& code) {
  try {
    code();
  } catch (const Error& error) {
    return error.what();
  }
  return "no Error was thrown";
}

TEST(Activation, ComputesWhatItsNameSays) {
  const auto x = torch::linspace(-3, 3, 25);
  const std::pair<const char*, torch::Tensor> expected[] = {
      {"relu", torch::clamp_min(x, 0)},
      {"leaky_relu", torch::where(x > 0, x, 0.01 * x)},
      {"elu", torch::where(x > 0, x, torch::expm1(x))},
      {"selu", 1.0507009873554805 * torch::where(x > 0, x, 1.6732632423543772 * torch::expm1(x))},
      {"gelu", 0.5 * x * (1 + torch::erf(x / std::sqrt(2.0)))},
      {"silu", x / (1 + torch::exp(-x))},
      {"tanh", torch::tanh(x)},
      {"sigmoid", 1 / (1 + torch::exp(-x))},
      {"identity", x}};
  EXPECT_EQ(activation_names().size(), std::size(expected));
  for (const auto& [name, y] : expected) {
    EXPECT_TRUE(torch::allclose(activation(name)->forward(x), y, 1e-5, 1e-6)) << name;
  }
}

TEST(Activation, StandsInASequential) {
  torch::nn::Sequential net;
  net->push_back(torch::nn::Linear(3, 4));
  net->push_back(activation("relu"));
  EXPECT_GE(net->forward(torch::randn({8, 3})).min().item<float>(), 0);
  EXPECT_EQ(net->parameters().size(), 2u);
  std::ostringstream text;
  text << activation("gelu");
  EXPECT_EQ(text.str(), "levin::nn::Activation(gelu)");
}

TEST(Activation, UnknownNamesGetASuggestion) {
  EXPECT_NE(message_of([] { activation("rellu"); }).find("did you mean \"relu\"?"), std::string::npos);
}

// 200 x 300 weights of a fixed seed; a standard deviation's relative standard error is 0.3 %, bounds at 5 of them.
TEST(ApplyInit, GivesTheirDeviations) {
  torch::manual_seed(0);
  const double fan_in = 300, fan_out = 200;
  struct Case {
    const char* scheme;
    const char* activation;
    double deviation;
  };
  const double xavier = std::sqrt(2 / (fan_in + fan_out)), he = std::sqrt(1 / fan_in);
  for (const auto& [scheme, name, deviation] :
       {Case{"xavier_uniform", "identity", xavier}, Case{"xavier_normal", "tanh", 5.0 / 3 * xavier},
        Case{"kaiming_uniform", "relu", std::sqrt(2.0) * he}, Case{"kaiming_normal", "gelu", std::sqrt(2.0) * he},
        Case{"kaiming_normal", "selu", 0.75 * he}}) {
    torch::nn::Linear linear(300, 200);
    apply_init(linear, scheme, name);
    EXPECT_NEAR(linear->weight.std().item<double>() / deviation, 1, 0.015) << scheme;
    EXPECT_NEAR(linear->weight.mean().item<double>() / deviation, 0, 0.02) << scheme;
    EXPECT_EQ(linear->bias.abs().max().item<double>(), 0) << scheme;
    const double largest = linear->weight.abs().max().item<double>() / deviation;
    if (std::string(scheme).ends_with("uniform")) {
      EXPECT_LE(largest, std::sqrt(3.0) * 1.0001) << scheme;
    } else {
      EXPECT_GT(largest, 3) << scheme;
    }
  }
}

TEST(ApplyInit, OrthogonalRowsAreOrthogonal) {
  torch::nn::Linear linear(30, 20);
  apply_init(linear, "orthogonal", "identity");
  EXPECT_TRUE(torch::allclose(linear->weight.mm(linear->weight.t()), torch::eye(20), 1e-4, 1e-5));
}

TEST(ApplyInit, TouchesLayersAloneAndReachesNestedOnes) {
  torch::nn::Sequential net(MLP({.in = 4, .out = 4}), torch::nn::BatchNorm1d(4), torch::nn::Embedding(3, 4),
                            torch::nn::Conv1d(2, 3, 3));
  const auto embedding = net[2]->as<torch::nn::Embedding>()->weight.clone();
  net[1]->as<torch::nn::BatchNorm1d>()->bias.data().fill_(7);
  auto before = net->named_parameters();
  const auto linear = before["0.head.weight"].clone(), conv = before["3.weight"].clone();
  apply_init(net, "kaiming_normal");
  auto after = net->named_parameters();
  EXPECT_FALSE(torch::equal(after["0.head.weight"], linear));
  EXPECT_FALSE(torch::equal(after["3.weight"], conv));
  EXPECT_EQ(after["3.bias"].abs().max().item<float>(), 0);
  EXPECT_TRUE(torch::equal(after["2.weight"], embedding));
  EXPECT_EQ(after["1.bias"].min().item<float>(), 7);
  EXPECT_TRUE(after["0.head.weight"].requires_grad());
}

TEST(ApplyInit, DefaultChangesNothingAndUnknownNamesAreErrors) {
  torch::nn::Linear linear(4, 4);
  const auto weight = linear->weight.clone();
  apply_init(linear, "default");
  EXPECT_TRUE(torch::equal(weight, linear->weight));
  EXPECT_NE(message_of([&] { apply_init(linear, "kaiming_norml"); }).find("did you mean \"kaiming_normal\"?"),
            std::string::npos);
  EXPECT_THROW(apply_init(linear, "orthogonal", "rellu"), Error);
}

TEST(MLP, ComputesItsLayers) {
  MLP mlp({.in = 3, .widths = {5, 4}, .out = 2, .activation = "tanh"});
  auto p = mlp->named_parameters();
  EXPECT_EQ(p.size(), 6u);
  const auto x = torch::randn({7, 3});
  auto hidden = torch::tanh(x.mm(p["linear_0.weight"].t()) + p["linear_0.bias"]);
  hidden = torch::tanh(hidden.mm(p["linear_1.weight"].t()) + p["linear_1.bias"]);
  EXPECT_TRUE(torch::allclose(mlp->forward(x), hidden.mm(p["head.weight"].t()) + p["head.bias"], 1e-5, 1e-6));
}

TEST(MLP, WithoutWidthsIsLinear) {
  MLP mlp({.in = 3, .out = 2});
  const auto x = torch::randn({7, 3});
  auto p = mlp->named_parameters();
  EXPECT_TRUE(torch::allclose(mlp->forward(x), x.mm(p["head.weight"].t()) + p["head.bias"], 1e-5, 1e-6));
}

TEST(MLP, SkipsAddTheInputAndProjectWhereSizesDiffer) {
  MLP mlp({.in = 3, .widths = {5, 5}, .out = 2, .skip = true});
  auto p = mlp->named_parameters();
  EXPECT_TRUE(p.contains("projection_0.weight"));
  EXPECT_FALSE(p.contains("projection_0.bias"));
  EXPECT_FALSE(p.contains("projection_1.weight"));
  const auto x = torch::randn({7, 3});
  auto first = torch::relu(x.mm(p["linear_0.weight"].t()) + p["linear_0.bias"]) + x.mm(p["projection_0.weight"].t());
  auto second = torch::relu(first.mm(p["linear_1.weight"].t()) + p["linear_1.bias"]) + first;
  EXPECT_TRUE(torch::allclose(mlp->forward(x), second.mm(p["head.weight"].t()) + p["head.bias"], 1e-5, 1e-6));
}

TEST(MLP, NormalisesBeforeTheActivation) {
  const auto x = 10 * torch::randn({64, 6}) + 5;
  for (const std::string norm : {"batch", "layer"}) {
    MLP mlp({.in = 6, .widths = {8}, .out = 8, .activation = "identity", .norm = norm});
    auto head = mlp->named_parameters();
    const torch::NoGradGuard no_grad;
    head["head.weight"].copy_(torch::eye(8));
    head["head.bias"].zero_();
    const auto out = mlp->forward(x);
    const auto dim = norm == "batch" ? 0 : 1;
    EXPECT_LT(out.mean(dim).abs().max().item<float>(), 1e-4) << norm;
    EXPECT_NEAR(out.var(dim, false).mean().item<float>(), 1, 0.02) << norm;
  }
}

TEST(MLP, DropsOutInTrainingOnly) {
  MLP mlp({.in = 4, .widths = {512}, .out = 1, .dropout = 0.5});
  const auto x = torch::randn({2, 4});
  EXPECT_FALSE(torch::equal(mlp->forward(x), mlp->forward(x)));
  mlp->eval();
  EXPECT_TRUE(torch::equal(mlp->forward(x), mlp->forward(x)));
}

TEST(MLP, EmbedsCategories) {
  MLP mlp(
      MLPOptions{.in = 2, .widths = {4}, .out = 3, .embeddings = {{.cardinality = 7}, {.cardinality = 3, .dim = 5}}});
  auto p = mlp->named_parameters();
  EXPECT_EQ(p["embedding_0.weight"].sizes(), (std::vector<int64_t>{7, 4}));
  EXPECT_EQ(p["embedding_1.weight"].sizes(), (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(p["linear_0.weight"].size(1), 2 + 4 + 5);
  EXPECT_EQ(p["embedding_0.weight"][0].abs().sum().item<float>(), 0);  // the unknown
  EXPECT_GT(p["embedding_0.weight"][1].abs().sum().item<float>(), 0);
  const auto x = torch::randn({2, 2});
  const auto codes = torch::tensor({{6, 2}, {0, 1}});
  const auto joined = torch::cat({x, torch::stack({p["embedding_0.weight"][6], p["embedding_0.weight"][0]}),
                                  torch::stack({p["embedding_1.weight"][2], p["embedding_1.weight"][1]})},
                                 1);
  const auto hidden = torch::relu(joined.mm(p["linear_0.weight"].t()) + p["linear_0.bias"]);
  EXPECT_TRUE(torch::allclose(mlp->forward(x, codes), hidden.mm(p["head.weight"].t()) + p["head.bias"], 1e-5, 1e-6));
  EXPECT_EQ(
      MLP({.out = 2, .embeddings = {{.cardinality = 4}}})->forward({}, torch::zeros({5, 1}, torch::kLong)).sizes(),
      (std::vector<int64_t>{5, 2}));
}

TEST(MLP, ClonesAndStandsInASequential) {
  MLP mlp({.in = 3, .widths = {4}, .out = 2, .norm = "batch"});
  auto copy = std::dynamic_pointer_cast<MLPImpl>(mlp->clone());
  const auto x = torch::randn({5, 3});
  EXPECT_TRUE(torch::equal(mlp->forward(x), copy->forward(x)));
  {
    const torch::NoGradGuard no_grad;
    copy->parameters()[0].add_(1);
  }
  EXPECT_FALSE(torch::equal(mlp->forward(x), copy->forward(x)));
  torch::nn::Sequential net(mlp);
  EXPECT_EQ(net->forward(x).sizes(), (std::vector<int64_t>{5, 2}));
}

TEST(MLP, UsesItsInitScheme) {
  MLP mlp({.in = 6, .widths = {6}, .out = 6, .activation = "identity", .init = "orthogonal"});
  const auto weight = mlp->named_parameters()["linear_0.weight"];
  EXPECT_TRUE(torch::allclose(weight.mm(weight.t()), torch::eye(6), 1e-4, 1e-5));
}

TEST(MLP, LearnsXor) {
  torch::manual_seed(1);
  const auto x = torch::tensor({{0.0f, 0.0f}, {0.0f, 1.0f}, {1.0f, 0.0f}, {1.0f, 1.0f}});
  const auto y = torch::tensor({0, 1, 1, 0}, torch::kLong);
  MLP mlp({.in = 2, .widths = {16, 16}, .out = 2, .skip = true});
  torch::optim::Adam adam(mlp->parameters(), torch::optim::AdamOptions(0.02));
  for (int step = 0; step < 200; ++step) {
    adam.zero_grad();
    torch::cross_entropy_loss(mlp->forward(x), y).backward();
    adam.step();
  }
  EXPECT_TRUE(torch::equal(mlp->forward(x).argmax(1), y));
}

TEST(MLP, ErrorsAreClear) {
  EXPECT_THROW(MLP({.in = 0, .out = 1}), Error);
  EXPECT_THROW(MLP({.in = 1, .widths = {0}}), Error);
  EXPECT_THROW(MLP({.in = 1, .out = 0}), Error);
  EXPECT_THROW(MLP({.in = 1, .dropout = 1}), Error);
  EXPECT_THROW(MLP({.in = 1, .embeddings = {{.cardinality = 0}}}), Error);
  EXPECT_NE(message_of([] { MLP({.in = 1, .norm = "bach"}); }).find("did you mean \"batch\"?"), std::string::npos);
  EXPECT_THROW(MLP({.in = 1, .activation = "rellu"}), Error);
  EXPECT_THROW(MLP({.in = 1, .init = "zeros"}), Error);
  MLP mlp({.in = 3});
  EXPECT_NE(message_of([&] { mlp->forward(torch::zeros({2, 4})); }).find("[2, 4]"), std::string::npos);
  EXPECT_THROW(mlp->forward(torch::zeros({2, 3}), torch::zeros({2, 1}, torch::kLong)), Error);
  MLP embedding({.in = 3, .embeddings = {{.cardinality = 4}}});
  EXPECT_THROW(embedding->forward(torch::zeros({2, 3})), Error);
}

}  // namespace
}  // namespace levin::nn
