#include <levin/core/error.h>
#include <levin/optim/adam.h>
#include <levin/optim/clip_grad.h>
#include <levin/optim/optimizer_impl.h>
#include <levin/optim/sgd.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>

namespace levin::optim {
namespace {

at::Tensor param(at::IntArrayRef sizes, double value = 1) { return at::full(sizes, value).requires_grad_(); }

std::string message(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Optimizer, ParametersShareOneAlignedBuffer) {
  torch::nn::Sequential net(torch::nn::Linear(3, 5), torch::nn::Linear(5, 2));
  const auto before = torch::nn::utils::parameters_to_vector(net->parameters()).clone();
  Adam adam(net->parameters());
  ASSERT_EQ(adam.impl()->chunks().size(), 1u);
  const auto& chunk = adam.impl()->chunks()[0];
  ASSERT_TRUE(chunk.params.defined());
  for (const auto& p : net->parameters()) {
    EXPECT_TRUE(p.is_alias_of(chunk.params.flat()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(p.const_data_ptr()) % 64, 0u);
    EXPECT_TRUE(p.requires_grad() && p.is_leaf());
  }
  EXPECT_TRUE(at::equal(torch::nn::utils::parameters_to_vector(net->parameters()), before));
}

TEST(Optimizer, BoundGradientsTakeTheFlatCall) {
  torch::nn::Linear net(3, 5);
  SGD sgd(net->parameters(), {.lr = 0.1, .momentum = 0.9});
  sgd.bind_gradients();
  for (int i = 0; i < 3; ++i) {
    sgd.zero_grad();
    net->forward(at::ones({2, 3})).sum().backward();
    sgd.step();
    for (const auto& p : net->parameters()) {
      EXPECT_TRUE(p.grad().is_alias_of(sgd.impl()->chunks()[0].grads.flat())) << "backward replaced the bound gradient";
    }
  }
  EXPECT_FALSE(sgd.impl()->chunks()[0].flat.params.empty());  // made on the first flat call
}

TEST(Optimizer, SecondOptimizerSharesTheArena) {
  torch::nn::Linear net(3, 5);
  Adam first(net->parameters());
  const auto* memory = net->weight.const_data_ptr();
  AdamW second(net->parameters());
  EXPECT_EQ(net->weight.const_data_ptr(), memory);
  ASSERT_TRUE(second.impl()->chunks()[0].params.defined());
  // A part of it that is not one piece stays where it is, without an arena.
  torch::nn::Sequential deep(torch::nn::Linear(2, 2), torch::nn::Linear(2, 2));
  SGD all(deep->parameters());
  const auto p = deep->parameters();
  SGD weights(std::vector<at::Tensor>{p[0], p[2]}, {.lr = 0.5});
  EXPECT_FALSE(weights.impl()->chunks()[0].params.defined());
  const auto before = p[2].detach().clone();
  p[2].mutable_grad() = at::ones_like(p[2]);
  weights.step();
  EXPECT_TRUE(at::allclose(p[2].detach(), before - 0.5));
  EXPECT_TRUE(p[2].is_alias_of(all.impl()->chunks()[0].params.flat()));
}

TEST(Optimizer, TiedMemoryStaysTied) {
  auto whole = at::ones({6});
  auto a = whole.slice(0, 0, 4).requires_grad_(), b = whole.slice(0, 2, 6).requires_grad_();
  SGD sgd({a, b}, {.lr = 1});
  a.mutable_grad() = at::ones({4});
  sgd.step();
  EXPECT_TRUE(at::equal(whole, at::tensor({0., 0., 0., 0., 1., 1.}, at::kFloat)));
  EXPECT_TRUE(at::equal(b.detach(), at::tensor({0., 0., 1., 1.}, at::kFloat)));
}

TEST(Optimizer, MemoryOfOthersIsUpdatedInPlace) {
  std::vector<float> mine(4, 1);
  auto p = torch::from_blob(mine.data(), {4}).requires_grad_();
  SGD sgd({p}, {.lr = 1});
  p.mutable_grad() = at::ones({4});
  sgd.step();
  EXPECT_EQ(mine, std::vector<float>(4, 0));
}

TEST(Optimizer, FrozenParametersKeepTheirMemoryAndValue) {
  auto frozen = at::ones({3}), live = param({3});
  const auto* memory = frozen.const_data_ptr();
  AdamW adamw({frozen, live}, {.lr = 0.1, .weight_decay = 0.5});
  for (const bool bound : {false, true}) {
    if (bound) adamw.bind_gradients();
    adamw.zero_grad();
    live.square().sum().backward();
    adamw.step();
    EXPECT_EQ(frozen.const_data_ptr(), memory);
    EXPECT_TRUE(at::equal(frozen, at::ones({3})));
    EXPECT_EQ(adamw.state_dict().state.size(), 1u);
  }
}

// Two layers, of which one takes part every second time: its state must not move in between.
TEST(Optimizer, BoundGradientsOfIdleParametersDoNotCount) {
  auto run = [](bool bound) {
    torch::manual_seed(3);
    auto a = at::ones({5}).requires_grad_(), b = at::full({7}, 2.).requires_grad_();
    AdamW adamw({a, b}, {.lr = 0.1, .weight_decay = 0.1});
    if (bound) adamw.bind_gradients();
    for (int i = 0; i < 6; ++i) {
      adamw.zero_grad();
      (i % 2 ? a.square().sum() : (a.sum() * b.sum())).backward();
      adamw.step();
    }
    return std::vector<at::Tensor>{a.detach(), b.detach(), adamw.state_dict().find(0, "step"),
                                   adamw.state_dict().find(1, "step")};
  };
  const auto x = run(false), y = run(true);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_TRUE(at::allclose(x[i], y[i], 1e-6)) << i;
  EXPECT_EQ(x[2].item<float>(), 6);
  EXPECT_EQ(x[3].item<float>(), 3);
}

TEST(Optimizer, ZeroGradKeepsPyTorchsMeanings) {
  for (const bool bound : {false, true}) {
    SCOPED_TRACE(bound);
    auto p = param({2});
    SGD sgd({p}, {.lr = 1, .momentum = 0.5});
    if (bound) sgd.bind_gradients();
    p.sum().backward();
    sgd.step();  // momentum 1, p 0
    EXPECT_TRUE(at::equal(p.detach(), at::zeros({2})));

    sgd.zero_grad();
    sgd.step();  // no gradient: nothing moves
    EXPECT_TRUE(at::equal(p.detach(), at::zeros({2})));
    EXPECT_EQ(p.grad().defined(), bound);

    p.sum().backward();
    sgd.step();  // momentum 1.5
    EXPECT_TRUE(at::equal(p.detach(), at::full({2}, -1.5)));

    sgd.zero_grad(/*set_to_none=*/false);
    EXPECT_TRUE(at::equal(p.grad(), at::zeros({2})));
    sgd.step();  // a gradient of zeros: the momentum goes on
    EXPECT_TRUE(at::equal(p.detach(), at::full({2}, -2.25)));
  }
}

TEST(Optimizer, GradientsAccumulateOverBackwards) {
  for (const bool bound : {false, true}) {
    auto p = param({2});
    SGD sgd({p}, {.lr = 1});
    if (bound) sgd.bind_gradients();
    for (int i = 0; i < 3; ++i) (p * (i + 1)).sum().backward();
    sgd.step();
    EXPECT_TRUE(at::equal(p.detach(), at::full({2}, -5.)));
  }
}

TEST(Optimizer, BindingKeepsGradients) {
  auto p = param({2}), q = param({3});
  SGD sgd({p, q}, {.lr = 1});
  p.sum().backward();
  sgd.bind_gradients();
  EXPECT_TRUE(at::equal(p.grad(), at::ones({2})));
  sgd.step();
  EXPECT_TRUE(at::equal(p.detach(), at::zeros({2})));
  EXPECT_TRUE(at::equal(q.detach(), at::ones({3})));
  sgd.unbind_gradients();
  EXPECT_TRUE(at::equal(p.grad(), at::ones({2})));
  EXPECT_FALSE(q.grad().defined());
  EXPECT_FALSE(p.grad().is_alias_of(q));
}

TEST(Optimizer, BackwardNoticesParametersChangedByAStep) {
  for (const bool bound : {false, true}) {
    auto p = param({2});
    SGD sgd({p}, {.lr = 1});
    if (bound) sgd.bind_gradients();
    auto stale = p.square().sum();
    p.sum().backward();
    sgd.step();
    EXPECT_THROW(stale.backward(), c10::Error) << bound;
  }
}

TEST(Optimizer, FollowsAModelConvertedBeforeTheFirstStep) {
  torch::nn::Linear net(2, 2);
  Adam adam(net->parameters(), {.lr = 0.1});
  adam.bind_gradients();
  net->to(at::kDouble);
  const auto before = net->weight.detach().clone();
  adam.zero_grad();
  net->forward(at::ones({1, 2}, at::kDouble)).sum().backward();
  adam.step();
  // Adam's first step is lr in the direction of the sign.
  EXPECT_TRUE(at::allclose(net->weight.detach(), before - 0.1, 1e-6));
  EXPECT_EQ(adam.state_dict().find(0, "exp_avg").scalar_type(), at::kDouble);
  net->to(at::kFloat);
  EXPECT_NE(message([&] {
              adam.unbind_gradients();
              net->forward(at::ones({1, 2})).sum().backward();
              adam.step();
            }).find("before the first step"),
            std::string::npos);
}

TEST(Optimizer, MixedDtypesGoApart) {
  auto a = param({2}), b = at::ones({3}, at::kDouble).requires_grad_();
  Adam adam({a, b}, {.lr = 0.5});
  (a.sum() + b.sum()).backward();
  adam.step();
  EXPECT_TRUE(at::allclose(a.detach(), at::full({2}, 0.5)));
  EXPECT_TRUE(at::allclose(b.detach(), at::full({3}, 0.5, at::kDouble)));
}

TEST(Optimizer, LearningRateIsReadAtEachStep) {
  auto p = param({1}, 0);
  SGD sgd({p}, {.lr = 1});
  for (const double lr : {1.0, 0.25, 0.0, 2.0}) {
    sgd.param_groups()[0].lr = lr;
    p.mutable_grad() = at::ones({1});
    sgd.step();
  }
  EXPECT_EQ(p.item<double>(), -3.25);
}

TEST(Optimizer, SparseGradients) {
  auto table = param({4, 2});
  auto sparse = [&] { return at::sparse_coo_tensor(torch::tensor({{1, 3}}), at::ones({2, 2}), {4, 2}); };
  SGD sgd({table}, {.lr = 0.5});
  table.mutable_grad() = sparse();
  sgd.step();
  EXPECT_TRUE(at::equal(table.detach().select(1, 0), at::tensor({1., 0.5, 1., 0.5}, at::kFloat)));
  SGD with_momentum({table}, {.lr = 0.5, .momentum = 0.9});
  EXPECT_NE(message([&] { with_momentum.step(); }).find("sparse"), std::string::npos);
  Adam adam({table});
  EXPECT_NE(message([&] { adam.step(); }).find("Adam does not support sparse gradients"), std::string::npos);
}

TEST(Optimizer, CopiesShareOneOptimizer) {
  auto p = param({1});
  Adam adam({p});
  Optimizer other = adam;
  other.param_groups()[0].lr = 0.5;
  EXPECT_EQ(adam.param_groups()[0].lr, 0.5);
  EXPECT_TRUE(adam == other);
  EXPECT_EQ(adam.name(), "Adam");
}

TEST(Optimizer, ErrorsNameTheMistake) {
  auto p = param({2});
  const auto ps = std::vector<at::Tensor>{p};
  EXPECT_NE(message([&] { Adam(std::vector<at::Tensor>{}); }).find("empty parameter list"), std::string::npos);
  EXPECT_NE(message([&] { Adam(std::vector<ParamGroup>{}); }).find("empty parameter list"), std::string::npos);
  EXPECT_NE(message([&] { SGD({p * 2}); }).find("computed from others"), std::string::npos);
  EXPECT_NE(message([&] { SGD({p, p}); }).find("given twice"), std::string::npos);
  EXPECT_NE(message([&] { SGD({{.params = {p}}, {.params = {p}}}); }).find("given twice"), std::string::npos);
  EXPECT_NE(message([&] { SGD({at::ones({2}, at::kLong)}); }).find("floating"), std::string::npos);
  EXPECT_NE(message([&] { SGD({at::Tensor()}); }).find("undefined"), std::string::npos);
  EXPECT_NE(message([&] { SGD({at::ones({1}).expand({3})}); }).find("expanded"), std::string::npos);
  EXPECT_NE(message([&] { SGD(ps, {.lr = -1}); }).find("lr must be at least 0"), std::string::npos);
  EXPECT_NE(message([&] { SGD(ps, {.lr = std::nan("")}); }).find("lr"), std::string::npos);
  EXPECT_NE(message([&] { SGD(ps, {.momentum = -0.1}); }).find("momentum"), std::string::npos);
  EXPECT_NE(message([&] { SGD(ps, {.weight_decay = -0.1}); }).find("weight_decay"), std::string::npos);
  EXPECT_NE(message([&] { SGD(ps, {.nesterov = true}); }).find("momentum"), std::string::npos);
  EXPECT_NE(message([&] { SGD(ps, {.momentum = 0.9, .dampening = 0.1, .nesterov = true}); }).find("dampening"),
            std::string::npos);
  EXPECT_NE(message([&] { Adam(ps, {.betas = {0.9, 1.0}}); }).find("betas[1] must be in [0, 1)"), std::string::npos);
  EXPECT_NE(message([&] { Adam(ps, {.eps = -1}); }).find("eps"), std::string::npos);
  EXPECT_NE(message([&] { Adam({{.params = {p}, .momentum = 0.9}}); }).find("no setting \"momentum\""),
            std::string::npos);
  EXPECT_NE(message([&] { SGD({{.params = {p}, .lr = -2}}); }).find("lr"), std::string::npos);
  EXPECT_NE(message([&] { Optimizer().step(); }).find("empty optimizer"), std::string::npos);
}

TEST(OptimizerState, HasEveryKeyOfPyTorch) {
  auto keys = [](const Optimizer& optimizer) {
    std::string text;
    const auto state = optimizer.state_dict();
    for (const auto& [key, value] : state.param_groups[0]) text += key + " ";
    return text;
  };
  // torch 2.13: list(torch.optim.X([p]).state_dict()["param_groups"][0])
  EXPECT_EQ(keys(SGD({param({1})})),
            "lr momentum dampening weight_decay nesterov maximize foreach differentiable fused params ");
  const std::string adam =
      "lr betas eps weight_decay amsgrad maximize foreach capturable differentiable fused decoupled_weight_decay "
      "params ";
  EXPECT_EQ(keys(Adam({param({1})})), adam);
  EXPECT_EQ(keys(AdamW({param({1})})), adam);
  EXPECT_EQ(AdamW({param({1})}).state_dict().param_groups[0].at("decoupled_weight_decay"), Value(true));
  EXPECT_TRUE(Adam({param({1})}).state_dict().state.empty());
}

TEST(OptimizerState, UnknownSettingsComeBackUnchanged) {
  Adam adam({param({1})});
  auto state = adam.state_dict();
  state.param_groups[0]["max_lr"] = 0.7;
  adam.load_state_dict(state);
  EXPECT_EQ(adam.state_dict().param_groups[0].at("max_lr"), Value(0.7));
}

TEST(OptimizerState, StepsAreCopiesAndClonesAreSnapshots) {
  auto p = param({2}), q = param({2});
  Adam adam({p, q});
  (p.sum() + q.sum()).backward();
  adam.step();
  const auto alias = adam.state_dict();
  const auto snapshot = alias.clone();
  EXPECT_FALSE(alias.find(0, "step").is_alias_of(alias.find(1, "step")));
  adam.step();
  EXPECT_EQ(alias.find(0, "step").item<float>(), 1);
  EXPECT_FALSE(at::equal(alias.find(0, "exp_avg"), snapshot.find(0, "exp_avg")));
}

TEST(OptimizerState, RefusesWhatDoesNotFitAndStaysAsItWas) {
  auto p = param({2});
  Adam adam({p}, {.lr = 0.3});
  p.sum().backward();
  adam.step();
  const auto good = adam.state_dict().clone();
  auto refuse = [&](const std::function<void(OptimizerState&)>& spoil, const std::string& part) {
    auto bad = good.clone();
    bad.param_groups[0]["lr"] = 0.9;
    spoil(bad);
    EXPECT_NE(message([&] { adam.load_state_dict(bad); }).find(part), std::string::npos) << part;
    EXPECT_EQ(adam.param_groups()[0].lr, 0.3);
    EXPECT_TRUE(at::equal(adam.state_dict().find(0, "exp_avg"), good.find(0, "exp_avg")));
  };
  refuse([](auto& s) { s.param_groups.push_back(s.param_groups[0]); }, "number of parameter groups");
  refuse([](auto& s) { s.param_groups[0]["params"] = List{0, 1}; }, "number of parameters");
  refuse([](auto& s) { s.param_groups[0]["params"] = List{3}; }, "no group has");
  refuse([](auto& s) { s.param_groups[0].erase("params"); }, "params");
  refuse([](auto& s) { s.param_groups[0].erase("lr"); }, "no lr");
  refuse([](auto& s) { s.param_groups[0]["betas"] = List{0.9}; }, "betas");
  refuse([](auto& s) { s.param_groups[0]["eps"] = -1; }, "eps");
  refuse([](auto& s) { s.param_groups[0]["amsgrad"] = true; }, "max_exp_avg_sq");
  refuse([](auto& s) { s.param_groups[0]["lr"] = "fast"; }, "lr");
  refuse([](auto& s) { s.state[0][1].second = at::zeros({3}); }, "shape");
  refuse([](auto& s) { s.state[0][1].first = "exp_avgs"; }, "did you mean");
  refuse([](auto& s) { s.state[0].erase(s.state[0].begin()); }, "lacks \"step\"");
  refuse([](auto& s) { s.state[0].pop_back(); }, "exp_avg_sq");
  adam.load_state_dict(good);
}

TEST(ClipGrad, ScalesOnlyWhatIsTooLong) {
  auto a = param({3}), b = param({4}), idle = param({2});
  auto give = [&](double value) {
    a.mutable_grad() = at::full({3}, value);
    b.mutable_grad() = at::full({4}, value);
  };
  give(2);
  auto norm = clip_grad_norm_({a, b, idle}, 100);
  EXPECT_NEAR(norm.item<double>(), 2 * std::sqrt(7.0), 1e-5);
  EXPECT_TRUE(at::equal(a.grad(), at::full({3}, 2.)));
  clip_grad_norm_({a, b, idle}, 1);
  EXPECT_NEAR(at::cat({a.grad(), b.grad()}).norm().item<double>(), 1, 1e-5);
  EXPECT_FALSE(idle.grad().defined());
  give(-3);
  clip_grad_value_({a, b, idle}, 0.5);
  EXPECT_TRUE(at::equal(b.grad(), at::full({4}, -0.5)));
  EXPECT_EQ(clip_grad_norm_({idle}, 1).item<double>(), 0);
}

TEST(ClipGrad, NormsThatAreNotFinite) {
  auto p = param({2});
  p.mutable_grad() = at::full({2}, std::numeric_limits<double>::infinity());
  EXPECT_NE(message([&] { clip_grad_norm_({p}, 1, {.error_if_nonfinite = true}); }).find("not finite"),
            std::string::npos);
  EXPECT_TRUE(std::isinf(clip_grad_norm_({p}, 1).item<double>()));
  EXPECT_NE(message([&] { clip_grad_norm_({p}, -1); }).find("max_norm"), std::string::npos);
}

TEST(ClipGrad, BoundAndFreeGradientsAgree) {
  for (const double type : {0.5, 1.0, 2.0, 3.0, std::numeric_limits<double>::infinity(), -1.0, 0.0}) {
    std::vector<at::Tensor> norms, grads;
    for (const bool bound : {false, true}) {
      auto a = at::arange(1, 6, at::kFloat).requires_grad_(), b = param({3}), idle = param({2});
      SGD sgd({a, b, idle});
      if (bound) sgd.bind_gradients();
      sgd.zero_grad();
      (a.square().sum() + b.sum()).backward();
      norms.push_back(clip_grad_norm_(sgd, 0.7, {.norm_type = type}));
      grads.push_back(at::cat({a.grad(), b.grad()}));
      sgd.step();
      EXPECT_TRUE(at::equal(idle.detach(), at::ones({2})));
    }
    EXPECT_TRUE(at::allclose(norms[0], norms[1], 1e-5)) << type;
    EXPECT_TRUE(at::allclose(grads[0], grads[1], 1e-5)) << type;
  }
}

}  // namespace
}  // namespace levin::optim
