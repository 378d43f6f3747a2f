// What no program can stand for runs eagerly, with one warning that names the cause; what changes between steps is
// noticed. Never a wrong number.
#include "compile/agreement.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/autocast_mode.h>

#include <cstdlib>

namespace compile_test {
namespace {

using levin::Batch;
using Cases = std::vector<Case>;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// --- steps that cannot be captured

/** A two-layer net whose output `f` may spoil. */
Case step_with(std::string name, std::function<Tensor(const Tensor& out, const Batch&)> f, std::string eager_because) {
  return {.name = std::move(name),
          .make =
              [f = std::move(f)] {
                nn::Sequential net(nn::Linear(4, 6), nn::Tanh(), nn::Linear(6, 3));
                return Subject{net.ptr(),
                               [net, f](const Batch& batch) mutable { return f(net->forward(batch[0]), batch); }};
              },
          .batch =
              [](std::int64_t rows) {
                return std::vector<Tensor>{torch::randn({rows, 4}), torch::randn({rows, 3})};
              },
          .eager_because = std::move(eager_because)};
}

/** Clamps forward, passes gradients as they are. */
struct StraightThrough : torch::autograd::Function<StraightThrough> {
  static Tensor forward(torch::autograd::AutogradContext*, const Tensor& x) { return x.round(); }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext*,
                                                 torch::autograd::variable_list grads) {
    return {grads[0] * 0.5};
  }
};

Cases refused() {
  const std::string host = "read by the host", shape = "depends on the data", filled = "filled by the host",
                    unknown = "neither in the batch nor";
  Cases all;
  const auto add = [&](std::string name, std::function<Tensor(const Tensor&, const Batch&)> f,
                       const std::string& because) {
    all.push_back(step_with(std::move(name), std::move(f), because));
  };
  const auto mse = [](const Tensor& out, const Batch& batch) { return torch::mse_loss(out, batch[1]); };
  add(
      "item",
      [=](const Tensor& out, const Batch& batch) { return mse(out, batch) * (out.sum().item<float>() > 0 ? 1 : 2); },
      host);
  add(
      "if on a tensor",
      [=](const Tensor& out, const Batch& batch) {
        if ((out.sum() > 0).is_nonzero()) return mse(out, batch) * 3;
        return mse(out, batch);
      },
      host);
  add(
      "equal",
      [=](const Tensor& out, const Batch& batch) { return torch::equal(out, batch[1]) ? out.sum() : mse(out, batch); },
      "equal hands a value to the host");
  add(
      "allclose",
      [=](const Tensor& out, const Batch& batch) {
        return torch::allclose(out, batch[1]) ? out.sum() : mse(out, batch);
      },
      "allclose hands a value to the host");
  add(
      "nonzero",
      [=](const Tensor& out, const Batch& batch) {
        return mse(out, batch) + out.index_select(0, (out.select(1, 0) > -9).nonzero().flatten()).sum();
      },
      shape);
  add(
      "masked_select",
      [](const Tensor& out, const Batch& batch) {
        return out.masked_select(batch[1] > 0).square().mean() + out.square().mean();
      },
      shape);
  add(
      "index by a mask",
      [](const Tensor& out, const Batch& batch) { return out.index({batch[1].select(1, 0) > -9}).square().mean(); },
      shape);
  add(
      "unique",
      [=](const Tensor& out, const Batch& batch) {
        return mse(out, batch) / std::get<0>(torch::_unique(batch[1])).size(0);
      },
      shape);
  add(
      "hook on a tensor",
      [=](const Tensor& out, const Batch& batch) {
        const Tensor h = out * 2;
        h.register_hook([](const Tensor& grad) { return grad * 0.5; });
        return mse(h, batch);
      },
      "hook");
  add(
      "retain_grad",
      [=](const Tensor& out, const Batch& batch) {
        const Tensor h = out * 2;
        h.retain_grad();
        return mse(h, batch);
      },
      "hook");
  add(
      "tensor made of a vector",
      [=](const Tensor& out, const Batch& batch) {
        return mse(out * torch::tensor(std::vector<float>{0.5F, 1, 2}), batch);
      },
      filled);
  add(
      "from_blob",
      [=](const Tensor& out, const Batch& batch) {
        static float numbers[] = {0.5F, 1, 2};
        return mse(out * torch::from_blob(numbers, {3}), batch);
      },
      unknown);
  add(
      "zeros filled by the host",
      [=](const Tensor& out, const Batch& batch) {
        const Tensor weights = torch::zeros({3}, torch::kFloat);
        for (int i = 0; i < 3; ++i) weights.data_ptr<float>()[i] = static_cast<float>(i + 1);
        return mse(out * weights, batch);
      },
      filled);
  const Tensor outside = torch::rand({3});
  add(
      "tensor from outside", [=](const Tensor& out, const Batch& batch) { return mse(out * outside, batch); }, unknown);
  add(
      "batch written in place",
      [=](const Tensor& out, const Batch& batch) {
        const torch::NoGradGuard no_grad_for_the_batch;
        Tensor(batch[1]).mul_(1);
        const torch::AutoGradMode on(true);
        return mse(out, batch);
      },
      "changes the batch in place");
  add(
      "batch that requires grad", [=](const Tensor& out, const Batch& batch) { return mse(out, batch); },
      "requires a gradient");
  all.back().batch = [](std::int64_t rows) {
    return std::vector<Tensor>{torch::randn({rows, 4}, torch::requires_grad()), torch::randn({rows, 3})};
  };
  add(
      "sparse tensor",
      [=](const Tensor& out, const Batch& batch) { return mse(out, batch) + torch::_sparse_sum(out.to_sparse()); },
      "works on a sparse tensor");
  add(
      "own generator",
      [=](const Tensor& out, const Batch& batch) {
        auto generator = at::detail::createCPUGenerator(7);
        return mse(out * torch::rand({3}, generator), batch);
      },
      "a generator of its own");
  add(
      "autocast within",
      [=](const Tensor& out, const Batch& batch) {
        struct Autocast {
          Autocast() { at::autocast::set_autocast_enabled(at::kCPU, true); }
          ~Autocast() {
            at::autocast::set_autocast_enabled(at::kCPU, false);
            at::autocast::clear_cache();
          }
        };
        const Tensor product = [&] {
          const Autocast on;
          return out.matmul(out.t());
        }();
        return mse(out, batch) + product.to(torch::kFloat).mean();
      },
      "autocast");
  add(
      "seed within",
      [=](const Tensor& out, const Batch& batch) {
        torch::manual_seed(99);
        return mse(out * torch::rand_like(out), batch);
      },
      "seeded within the step");
  return all;
}

class FallsBack : public testing::TestWithParam<Case> {};

TEST_P(FallsBack, WithOneWarningThatNamesTheCause) {
  testing::internal::CaptureStderr();
  expect_agreement(GetParam(), Mode::fused);
  const std::string seen = testing::internal::GetCapturedStderr();
  EXPECT_EQ(count(seen, "runs eagerly"), 1U) << seen;
  EXPECT_NE(seen.find(GetParam().eager_because), std::string::npos) << seen;
}

INSTANTIATE_TEST_SUITE_P(All, FallsBack, testing::ValuesIn(refused()),
                         [](const auto& row) { return test_name(row.param.name); });

// The other way round: what looks as if it were not captured, and is.
Cases captured() {
  Cases all;
  all.push_back(step_with(
      "custom function",
      [](const Tensor& out, const Batch& batch) { return torch::mse_loss(StraightThrough::apply(out * 3), batch[1]); },
      ""));
  all.push_back(step_with(
      "shapes asked for by the host",
      [](const Tensor& out, const Batch& batch) {
        return torch::mse_loss(out * (1.0 / static_cast<double>(out.size(0))), batch[1]) * (out.numel() > 6 ? 2 : 3);
      },
      ""));
  all.push_back(step_with(
      "gradients asked for within",
      [](const Tensor& out, const Batch& batch) {
        const Tensor loss = torch::mse_loss(out, batch[1]);
        return loss + torch::autograd::grad({loss}, {out}, {}, true, true)[0].square().sum();
      },
      ""));
  all.push_back(step_with(
      "numbers in braces",
      [](const Tensor& out, const Batch& batch) {
        return torch::mse_loss(out * torch::tensor({0.5, 1.0, 2.0}).to(out.scalar_type()), batch[1]);
      },
      ""));
  all.push_back(step_with(
      "an index tensor",
      [](const Tensor& out, const Batch& batch) {
        return torch::mse_loss(out.index({torch::arange(out.size(0) - 1, -1, -1)}), batch[1]);
      },
      ""));
  return all;
}

class IsCompiled : public testing::TestWithParam<Case> {};

TEST_P(IsCompiled, WithoutAWarning) {
  testing::internal::CaptureStderr();
  for (const Mode mode : {Mode::fused, Mode::exact, Mode::double_}) expect_agreement(GetParam(), mode);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

INSTANTIATE_TEST_SUITE_P(All, IsCompiled, testing::ValuesIn(captured()),
                         [](const auto& row) { return test_name(row.param.name); });

TEST(Fallback, NamesTheParameterNearby) {
  levin::seed_everything(1);
  nn::Sequential net(nn::Linear(4, 6), nn::Tanh(), nn::Linear(6, 3));
  levin::optim::SGD optimizer(net->parameters(), {.lr = 0.1});
  auto step = levin::compile_step(net, optimizer, [&](const Batch& batch) {
    Tensor h = net[0]->as<nn::Linear>()->forward(batch[0]);
    if (h.max().item<float>() > 100) h = h / 2;
    return net[2]->as<nn::Linear>()->forward(h.tanh()).square().mean();
  });
  step({torch::randn({5, 4})});
  EXPECT_NE(step.explain().find("soon after the use of 0."), std::string::npos) << step.explain();
}

/** What explain() says of where a step that cannot be captured goes wrong. */
std::string place_of(const levin::CompiledStep::Function& function) {
  levin::seed_everything(1);
  nn::Linear net(4, 3);
  levin::optim::SGD optimizer(net->parameters(), {.lr = 0.1});
  auto step = levin::compile_step(net, optimizer, [&](const Batch& batch) { return function({net->forward(batch[0])}); });
  testing::internal::CaptureStderr();
  step({torch::randn({5, 4})});
  testing::internal::GetCapturedStderr();
  return step.explain();
}

// The line where the program has debug information, else the function.
[[gnu::noinline]] Tensor halved_by_its_size(const Tensor& h) { return h.max().item<float>() > 100 ? h / 2 : h; }

TEST(Fallback, NamesTheUsersCode) {
  const std::string text = place_of([](const Batch& batch) { return halved_by_its_size(batch[0]).square().mean(); });
  EXPECT_TRUE(text.find("(fallback_test.cpp:") != std::string::npos ||
              text.find("/fallback_test.cpp:") != std::string::npos ||
              text.find("halved_by_its_size, soon") != std::string::npos)
      << text;
}

[[gnu::noinline]] Tensor times_a_stranger(const Tensor& h, const Tensor& stranger) { return h * stranger; }

TEST(Fallback, NamesTheUsersCodeOfWhatIsFoundLater) {
  const Tensor stranger = torch::rand({3});
  const std::string text =
      place_of([&](const Batch& batch) { return times_a_stranger(batch[0], stranger).square().mean(); });
  EXPECT_NE(text.find("neither in the batch"), std::string::npos) << text;
  EXPECT_TRUE(text.find("/fallback_test.cpp:") != std::string::npos ||
              text.find("times_a_stranger, soon") != std::string::npos)
      << text;
}

// --- what changes between steps

template <class Optimizer>
struct OptionsOf;
template <>
struct OptionsOf<levin::optim::Adam> {
  using Type = levin::optim::AdamOptions;
};
template <>
struct OptionsOf<levin::optim::SGD> {
  using Type = levin::optim::SGDOptions;
};

/** Two copies of a model with an optimizer each: one is stepped by hand, the other compiled. */
template <class Optimizer = levin::optim::Adam>
struct Twins {
  using Make = std::function<std::shared_ptr<nn::Module>()>;
  using Loss = std::function<Tensor(nn::Module&, const Batch&)>;

  Twins(const Make& make, Loss loss_of, typename OptionsOf<Optimizer>::Type options,
        levin::CompileStepOptions step_options = {})
      : loss(std::move(loss_of)), clip(step_options.clip_grad_norm) {
    torch::manual_seed(1);
    eager = make();
    torch::manual_seed(1);
    compiled = make();
    a = Optimizer(trained(*eager), options);
    b = Optimizer(trained(*compiled), options);
    step.emplace(levin::compile_step(
        *compiled, b, [this](const Batch& batch) { return loss(*compiled, batch); }, step_options));
  }

  /** A step of both on one batch, and what has to be equal afterwards. */
  void run(const Batch& batch, const std::string& what) {
    SCOPED_TRACE(what);
    const auto seed = static_cast<std::uint64_t>(++calls) + 50;
    torch::manual_seed(seed);
    a.zero_grad();
    const Tensor expected = loss(*eager, batch);
    expected.backward();
    if (clip) levin::optim::clip_grad_norm_(a, *clip);
    a.step();
    torch::manual_seed(seed);
    const Tensor seen = (*step)(batch);
    expect_close(expected.detach(), seen, 1e-6, "loss");
    expect_same_outcome(*eager, *compiled, {.loss = 1e-6, .gradients = 2e-5});
    copy_state(*eager, *compiled);
  }
  /** Something done to both. */
  template <class F>
  void both(F f) {
    f(*eager, a);
    f(*compiled, b);
  }

  Loss loss;
  std::optional<double> clip;
  std::shared_ptr<nn::Module> eager, compiled;
  levin::optim::Optimizer a, b;
  std::optional<levin::CompiledStep> step;
  int calls = 0;
};

struct Net : nn::Module {
  Net() {
    first = register_module("first", nn::Linear(nn::LinearOptions(4, 8).bias(false)));
    norm = register_module("norm", nn::BatchNorm1d(8));
    dropout = register_module("dropout", nn::Dropout(0.3));
    head = register_module("head", nn::Linear(8, 3));
  }
  Tensor forward(const Tensor& x) { return head(dropout(torch::relu(norm(first(x))))); }
  nn::Linear first{nullptr}, head{nullptr};
  nn::BatchNorm1d norm{nullptr};
  nn::Dropout dropout{nullptr};
};

std::shared_ptr<nn::Module> make_net() { return std::make_shared<Net>(); }
Net& as_net(nn::Module& module) { return dynamic_cast<Net&>(module); }
Tensor net_loss(nn::Module& module, const Batch& batch) {
  return torch::mse_loss(as_net(module).forward(batch[0]), batch[1]);
}
Batch batch_of(std::int64_t rows) { return {torch::randn({rows, 4}), torch::randn({rows, 3})}; }

std::unique_ptr<Twins<>> net_twins() {
  return std::make_unique<Twins<>>(make_net, net_loss, levin::optim::AdamOptions{.lr = 0.01});
}

TEST(Fallback, FollowsTrainAndEval) {
  auto twins = net_twins();
  for (const bool train : {true, false, true, true, false}) {
    twins->both([&](nn::Module& module, auto&) { module.train(train); });
    twins->run(batch_of(6), train ? "train" : "eval");
  }
  // One submodule alone.
  twins->both([](nn::Module& module, auto&) {
    module.train();
    as_net(module).dropout->eval();
  });
  twins->run(batch_of(6), "dropout in eval mode");
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsRequiresGrad) {
  auto twins = net_twins();
  twins->run(batch_of(6), "all");
  for (const bool wanted : {false, true}) {
    twins->both([&](nn::Module& module, auto&) {
      for (Tensor& parameter : as_net(module).first->parameters()) parameter.requires_grad_(wanted);
    });
    for (int i = 0; i < 3; ++i) twins->run(batch_of(6), wanted ? "thawed" : "frozen");
  }
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsMovedParameters) {
  auto twins = net_twins();
  twins->run(batch_of(6), "at first");
  twins->both([](nn::Module& module, auto&) {
    Tensor weight = as_net(module).head->weight;
    weight.set_data(weight.detach() * 2);
  });
  for (int i = 0; i < 2; ++i) twins->run(batch_of(6), "after set_data");
  twins->both([](nn::Module& module, auto&) { as_net(module).norm->running_mean.set_data(torch::ones({8})); });
  twins->run(batch_of(6), "after set_data of a buffer");
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsAnotherType) {
  Twins<levin::optim::SGD> twins(make_net, net_loss, {.lr = 0.1});
  twins.run(batch_of(6), "float");
  twins.both([](nn::Module& module, auto&) { module.to(torch::kDouble); });
  // The type of the batch is wrong now: the step's own error, and nothing has changed.
  const Tensor before = as_net(*twins.compiled).head->weight.detach().clone();
  EXPECT_ANY_THROW((*twins.step)(batch_of(6)));
  EXPECT_TRUE(torch::equal(before, as_net(*twins.compiled).head->weight));
  for (int i = 0; i < 2; ++i) {
    const Batch batch = batch_of(6);
    twins.run({batch[0].to(torch::kDouble), batch[1].to(torch::kDouble)}, "double");
  }
  EXPECT_TRUE(twins.step->compiled()) << twins.step->explain();
}

TEST(Fallback, FollowsAReplacedModule) {
  auto twins = net_twins();
  twins->run(batch_of(6), "old head");
  twins->both([](nn::Module& module, levin::optim::Optimizer& optimizer) {
    torch::manual_seed(5);
    Net& net = as_net(module);
    net.head = net.replace_module("head", nn::Linear(8, 3));
    optimizer.add_param_group({.params = net.head->parameters()});
  });
  for (int i = 0; i < 3; ++i) twins->run(batch_of(6), "new head");
  // Held elsewhere, the old one lives on; it has left the model all the same.
  std::vector<nn::Linear> kept;
  twins->both([&](nn::Module& module, levin::optim::Optimizer&) {
    kept.push_back(as_net(module).first);
    torch::manual_seed(6);
    as_net(module).first = as_net(module).replace_module("first", nn::Linear(nn::LinearOptions(4, 8).bias(false)));
    for (Tensor& parameter : as_net(module).first->parameters()) parameter.requires_grad_(false);
  });
  for (int i = 0; i < 2; ++i) twins->run(batch_of(6), "new first layer, not trained");
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsAddedParameters) {
  const auto make = [] {
    auto net = std::make_shared<Net>();
    for (Tensor& parameter : net->head->parameters()) parameter.requires_grad_(false);
    return std::static_pointer_cast<nn::Module>(net);
  };
  auto twins = std::make_unique<Twins<>>(make, net_loss, levin::optim::AdamOptions{.lr = 0.01});
  twins->run(batch_of(6), "without the head");
  twins->both([](nn::Module& module, levin::optim::Optimizer& optimizer) {
    auto parameters = as_net(module).head->parameters();
    for (Tensor& parameter : parameters) parameter.requires_grad_(true);
    optimizer.add_param_group({.params = parameters, .lr = 0.1});
  });
  for (int i = 0; i < 3; ++i) twins->run(batch_of(6), "with the head");
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsUnboundGradients) {
  auto twins = net_twins();
  for (int i = 0; i < 4; ++i) {
    twins->run(batch_of(6), "step " + std::to_string(i));
    twins->b.unbind_gradients();
  }
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsSettingsAndSavedStatesOfTheOptimizer) {
  auto twins = net_twins();
  twins->run(batch_of(6), "1");
  const auto saved_a = twins->a.state_dict(), saved_b = twins->b.state_dict();
  twins->both([](nn::Module&, levin::optim::Optimizer& optimizer) {
    optimizer.param_groups()[0].lr = 0.2;
    optimizer.param_groups()[0].weight_decay = 0.1;
    optimizer.param_groups()[0].betas = {0.5, 0.7};
  });
  for (int i = 0; i < 3; ++i) twins->run(batch_of(6), "other settings");
  twins->a.load_state_dict(saved_a);
  twins->b.load_state_dict(saved_b);
  EXPECT_EQ(twins->b.param_groups()[0].lr, 0.01);
  for (int i = 0; i < 3; ++i) twins->run(batch_of(6), "loaded");
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, AllowsStepsByHandInBetween) {
  auto twins = net_twins();
  twins->run(batch_of(6), "first");
  twins->both([](nn::Module&, levin::optim::Optimizer& optimizer) { optimizer.step(); });
  expect_same_outcome(*twins->eager, *twins->compiled, {.loss = 1e-6, .gradients = 1e-5});
  twins->both([](nn::Module&, levin::optim::Optimizer& optimizer) {
    optimizer.zero_grad();
    optimizer.step();
  });
  expect_same_outcome(*twins->eager, *twins->compiled, {.loss = 1e-6, .gradients = 1e-5});
  twins->run(batch_of(6), "second");
  // A whole step by hand, its gradients added to what a further backward gives.
  const Batch batch = batch_of(6);
  twins->both([&](nn::Module& module, levin::optim::Optimizer& optimizer) {
    torch::manual_seed(3);
    optimizer.zero_grad();
    net_loss(module, batch).backward();
    net_loss(module, batch).backward();
    optimizer.step();
  });
  expect_same_outcome(*twins->eager, *twins->compiled, {.loss = 1e-6, .gradients = 1e-5});
  twins->run(batch_of(6), "third");
  EXPECT_TRUE(twins->step->compiled()) << twins->step->explain();
}

TEST(Fallback, FollowsHooksOfParameters) {
  auto twins = net_twins();
  twins->run(batch_of(6), "without");
  ASSERT_TRUE(twins->step->compiled());
  twins->both([](nn::Module& module, auto&) {
    as_net(module).head->weight.register_hook([](const Tensor& grad) { return grad * 3; });
  });
  testing::internal::CaptureStderr();
  for (int i = 0; i < 2; ++i) twins->run(batch_of(6), "with a hook");
  EXPECT_NE(testing::internal::GetCapturedStderr().find("head.weight has a hook"), std::string::npos);
  EXPECT_FALSE(twins->step->compiled());
}

TEST(Fallback, ClipsAsEagerDoes) {
  for (const double bound : {0.01, 1e6}) {
    Twins<> twins(make_net, net_loss, {.lr = 0.01}, {.clip_grad_norm = bound});
    for (int i = 0; i < 4; ++i) twins.run(batch_of(6), "norm " + std::to_string(bound));
  }
}

TEST(Fallback, KeepsTheStateWhenTheStepThrows) {
  bool fails = true;
  const auto loss = [&](nn::Module& module, const Batch& batch) {
    const Tensor out = as_net(module).forward(batch[0]);
    if (fails) throw std::runtime_error("on purpose");
    return torch::mse_loss(out, batch[1]);
  };
  Twins<> twins(make_net, loss, {.lr = 0.01});
  const Tensor random = random_state(), mean = as_net(*twins.compiled).norm->running_mean.clone(),
               weight = as_net(*twins.compiled).head->weight.detach().clone();
  EXPECT_THROW((*twins.step)(batch_of(6)), std::runtime_error);
  EXPECT_TRUE(torch::equal(mean, as_net(*twins.compiled).norm->running_mean));
  EXPECT_TRUE(torch::equal(weight, as_net(*twins.compiled).head->weight));
  fails = false;
  for (int i = 0; i < 2; ++i) twins.run(batch_of(6), "afterwards");
  // A batch that does not fit the model, met between others.
  EXPECT_ANY_THROW((*twins.step)({torch::randn({6, 5}), torch::randn({6, 3})}));
  twins.run(batch_of(6), "after a batch that does not fit");
  EXPECT_TRUE(twins.step->compiled()) << twins.step->explain();
}

TEST(Fallback, TakesBatchesOfEveryKind) {
  const auto loss = [](nn::Module& module, const Batch& batch) {
    const Tensor out = as_net(module).forward(batch[0]);
    const Tensor target = batch[1].defined() ? batch[1] : torch::zeros_like(out);
    return torch::mse_loss(out, target);
  };
  Twins<> twins(make_net, loss, {.lr = 0.01});
  twins.both([](nn::Module& module, auto&) { module.eval(); });
  twins.run(batch_of(6), "6 rows");
  twins.run(batch_of(1), "1 row");
  twins.run({torch::randn({6, 4}), Tensor()}, "undefined target");
  twins.run(batch_of(6), "6 rows again");
  twins.run({torch::randn({4, 6}).t(), torch::randn({6, 3})}, "transposed");
  twins.run({torch::randn({6, 4}), torch::randn({6, 3}, torch::kDouble).to(torch::kFloat)}, "converted");
  EXPECT_TRUE(twins.step->compiled()) << twins.step->explain();
  const Batch shared = batch_of(6);
  twins.run({shared[0], shared[0].slice(1, 0, 3)}, "target inside of the input");
  EXPECT_TRUE(twins.step->compiled()) << twins.step->explain();
}

TEST(Fallback, GivesNaNWhereEagerDoes) {
  Twins<levin::optim::SGD> twins(make_net, net_loss, {.lr = 0.1});
  twins.both([](nn::Module& module, auto&) { module.eval(); });
  twins.run(batch_of(6), "finite");
  const Tensor x = torch::randn({6, 4}), y = torch::randn({6, 3});
  y[2][1] = NAN;
  const Tensor seen = (*twins.step)({x, y});
  EXPECT_TRUE(seen.isnan().item<bool>());
  EXPECT_TRUE(as_net(*twins.compiled).head->weight.isnan().any().item<bool>());
  copy_state(*twins.eager, *twins.compiled);
  const Tensor bad = torch::randn({6, 4});
  bad[0][0] = INFINITY;
  twins.run({bad, y.nan_to_num()}, "an infinity in the input");
}

TEST(Fallback, GivesWhatEagerGivesForNoRows) {
  const auto make = [] { return nn::Sequential(nn::Linear(nn::LinearOptions(4, 8).bias(false)), nn::ReLU(), nn::Linear(8, 3)).ptr(); };
  const auto loss = [](nn::Module& module, const Batch& batch) {
    return torch::mse_loss(module.as<nn::Sequential>()->forward(batch[0]), batch[1], torch::Reduction::Sum);
  };
  Twins<levin::optim::SGD> twins(make, loss, {.lr = 0.1});
  twins.run(batch_of(0), "no rows first");
  twins.run(batch_of(5), "5 rows");
  twins.run(batch_of(0), "no rows");
}

TEST(Fallback, RunsFurtherShapesEagerly) {
  Twins<> twins(make_net, net_loss, {.lr = 0.01}, {.compile = {.max_programs = 2}});
  testing::internal::CaptureStderr();
  for (const std::int64_t rows : {4, 5, 6, 7, 4, 6, 5}) twins.run(batch_of(rows), std::to_string(rows) + " rows");
  EXPECT_EQ(count(testing::internal::GetCapturedStderr(), "max_programs"), 1U);
  EXPECT_TRUE(twins.step->compiled()) << twins.step->explain();
}

TEST(Fallback, WantsTheModelOfAStepThatDrawsRandomNumbers) {
  levin::seed_everything(1);
  nn::Sequential net(nn::Linear(nn::LinearOptions(4, 8).bias(false)), nn::Dropout(0.5), nn::Linear(8, 3));
  levin::optim::SGD optimizer(net->parameters(), {.lr = 0.1});
  const auto function = [&](const Batch& batch) { return torch::mse_loss(net->forward(batch[0]), batch[1]); };
  auto step = levin::compile_step(optimizer, function);
  step(batch_of(6));
  EXPECT_FALSE(step.compiled());
  EXPECT_NE(step.explain().find("compile_step(model, optimizer, step)"), std::string::npos) << step.explain();
  auto with_model = levin::compile_step(net, optimizer, function);
  with_model(batch_of(6));
  EXPECT_TRUE(with_model.compiled()) << with_model.explain();
}

// --- LEVIN_COMPILE_DEBUG=check

class Debug {
 public:
  explicit Debug(const char* value) { setenv("LEVIN_COMPILE_DEBUG", value, 1); }
  ~Debug() { unsetenv("LEVIN_COMPILE_DEBUG"); }
};

struct CheckedStep {
  explicit CheckedStep(std::function<Tensor(const Tensor& out, const Batch&)> f) {
    levin::seed_everything(1);
    const Debug debug("check");
    step.emplace(levin::compile_step(
        net, optimizer(), [this, f = std::move(f)](const Batch& batch) { return f(net->forward(batch[0]), batch); }));
  }
  levin::optim::Optimizer optimizer() { return levin::optim::SGD(net->parameters(), {.lr = 0.01}); }
  std::string run(int calls) {
    const Debug debug("check");
    testing::internal::CaptureStderr();
    for (int i = 0; i < calls; ++i) (*step)(batch_of(6));
    return testing::internal::GetCapturedStderr();
  }
  nn::Sequential net{nn::Linear(nn::LinearOptions(4, 8).bias(false)), nn::Dropout(0.2), nn::Linear(8, 3)};
  std::optional<levin::CompiledStep> step;
};

TEST(CompileCheck, FindsNothingInAStepThatIsAlwaysTheSame) {
  CheckedStep checked([](const Tensor& out, const Batch& batch) { return torch::mse_loss(out * 0.5, batch[1]); });
  EXPECT_EQ(checked.run(20), "");
  EXPECT_TRUE(checked.step->compiled());
}

TEST(CompileCheck, FindsACounterAtTheCapture) {
  int calls = 0;
  CheckedStep checked([&](const Tensor& out, const Batch& batch) { return torch::mse_loss(out, batch[1]) * ++calls; });
  const std::string seen = checked.run(1);
  EXPECT_EQ(count(seen, "not the same at each call"), 1U) << seen;
  EXPECT_NE(seen.find("aten::mul."), std::string::npos) << seen;
  EXPECT_NE(seen.find("was given 1 and is now given 2"), std::string::npos) << seen;
  EXPECT_FALSE(checked.step->compiled());
}

TEST(CompileCheck, FindsAnAnnealedWeightLater) {
  double weight = 1;
  CheckedStep checked([&](const Tensor& out, const Batch& batch) {
    return torch::mse_loss(out, batch[1]) + weight * out.abs().mean();
  });
  EXPECT_EQ(checked.run(5), "");
  weight = 0.5;
  // The next power of two is call 8 of the program; whichever it is, the step is eager by then.
  const std::string seen = checked.run(8);
  EXPECT_EQ(count(seen, "not the same at each call"), 1U) << seen;
  EXPECT_NE(seen.find("was given 1. and is now given 0.5"), std::string::npos) << seen;
  EXPECT_FALSE(checked.step->compiled());
}

TEST(CompileCheck, FindsABranchOfTheHost) {
  bool extra = false;
  CheckedStep checked([&](const Tensor& out, const Batch& batch) {
    return extra ? torch::l1_loss(out, batch[1]) : torch::mse_loss(out, batch[1]);
  });
  EXPECT_EQ(checked.run(3), "");
  extra = true;
  const std::string seen = checked.run(4);
  EXPECT_NE(seen.find("aten::mse_loss, is now aten::"), std::string::npos) << seen;
}

TEST(CompileCheck, LeavesStateAlone) {
  torch::manual_seed(1);
  auto plain = std::make_shared<Net>();
  torch::manual_seed(1);
  auto checked = std::make_shared<Net>();
  levin::optim::Adam a(plain->parameters(), {.lr = 0.01}), b(checked->parameters(), {.lr = 0.01});
  auto first = levin::compile_step(*plain, a, [&](const Batch& batch) { return net_loss(*plain, batch); });
  const Debug debug("check");
  auto second = levin::compile_step(*checked, b, [&](const Batch& batch) { return net_loss(*checked, batch); });
  for (int i = 0; i < 9; ++i) {
    torch::manual_seed(static_cast<std::uint64_t>(i));
    const Batch batch = batch_of(6);
    first(batch);
    const Tensor state = random_state();
    torch::manual_seed(static_cast<std::uint64_t>(i));
    batch_of(6);
    second(batch);
    EXPECT_TRUE(torch::equal(state, random_state()));
    expect_same_outcome(*plain, *checked, {0, 0});
  }
  EXPECT_TRUE(second.compiled()) << second.explain();
}

TEST(CompileCheck, KnowsItsWords) {
  testing::internal::CaptureStderr();
  const Debug debug("graf");
  nn::Linear net(4, 3);
  levin::optim::SGD optimizer(net->parameters(), {.lr = 0.1});
  levin::compile_step(net, optimizer, [&](const Batch& batch) { return net(batch[0]).sum(); })(batch_of(2));
  EXPECT_NE(testing::internal::GetCapturedStderr().find("LEVIN_COMPILE_DEBUG has no \"graf\""), std::string::npos);
}

}  // namespace
}  // namespace compile_test
