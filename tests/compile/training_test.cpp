// Whole trainings compiled: every optimizer with its settings and clipping against eager, and runs that stop and go on
// bit for bit.
#include "compile/agreement.h"

#include <levin/compile/flush_denormals.h>
#include <levin/compile/team.h>

#include <ATen/CPUGeneratorImpl.h>

#include <atomic>
#include <bit>

namespace compile_test {
namespace {

namespace optim = levin::optim;
using levin::Batch;

struct Net : nn::Module {
  explicit Net(std::int64_t width = 9) {
    // Without a bias: BatchNorm takes its gradient away but for rounding, which Adam would blow up.
    first = register_module("first", nn::Linear(nn::LinearOptions(4, width).bias(false)));
    norm = register_module("norm", nn::BatchNorm1d(width));
    dropout = register_module("dropout", nn::Dropout(0.25));
    head = register_module("head", nn::Linear(width, 3));
    unused = register_module("unused", nn::Linear(2, 2));
  }
  Tensor forward(const Tensor& x) { return head(dropout(torch::relu(norm(first(x))))); }
  nn::Linear first{nullptr}, head{nullptr}, unused{nullptr};
  nn::BatchNorm1d norm{nullptr};
  nn::Dropout dropout{nullptr};
};

std::vector<Batch> batches(int count, unsigned seed) {
  torch::manual_seed(seed);
  std::vector<Batch> all;
  // Every fourth batch is short, as the last of an epoch.
  for (int i = 0; i < count; ++i) {
    const std::int64_t rows = i % 4 == 3 ? 5 : 8;
    all.push_back({torch::randn({rows, 4}), torch::randint(3, {rows}, torch::kLong)});
  }
  return all;
}

Tensor loss_of(Net& net, const Batch& batch) { return torch::cross_entropy_loss(net.forward(batch[0]), batch[1]); }

struct Setting {
  std::string name;
  std::function<optim::Optimizer(Net&)> make;
};
void PrintTo(const Setting& setting, std::ostream* out) { *out << setting.name; }

enum class Clipping { none, norm, value };
std::string suffix(Clipping clipping) {
  return clipping == Clipping::none ? "" : clipping == Clipping::norm ? " clip norm" : " clip value";
}

template <class Optimizer, class Options>
Setting setting(std::string name, Options options) {
  return {std::move(name), [options](Net& net) -> optim::Optimizer { return Optimizer(net.parameters(), options); }};
}

std::vector<Setting> settings() {
  using optim::Adam, optim::AdamOptions, optim::AdamW, optim::AdamWOptions, optim::SGD, optim::SGDOptions;
  return {
      setting<SGD>("SGD", SGDOptions{.lr = 0.1}),
      setting<SGD>("SGD weight decay maximize", SGDOptions{.lr = 0.05, .weight_decay = 0.1, .maximize = true}),
      setting<SGD>("SGD momentum", SGDOptions{.lr = 0.1, .momentum = 0.9}),
      setting<SGD>("SGD dampening", SGDOptions{.lr = 0.1, .momentum = 0.8, .dampening = 0.3, .weight_decay = 0.01}),
      setting<SGD>("SGD nesterov", SGDOptions{.lr = 0.1, .momentum = 0.9, .nesterov = true}),
      setting<Adam>("Adam", AdamOptions{.lr = 0.01}),
      setting<Adam>("Adam weight decay",
                    AdamOptions{.lr = 0.01, .betas = {0.8, 0.95}, .eps = 1e-3, .weight_decay = 0.1}),
      setting<Adam>("Adam amsgrad maximize", AdamOptions{.lr = 0.01, .amsgrad = true, .maximize = true}),
      setting<Adam>("Adam decoupled", AdamOptions{.lr = 0.01, .weight_decay = 0.1, .decoupled_weight_decay = true}),
      setting<AdamW>("AdamW", AdamWOptions{.lr = 0.01}),
      setting<AdamW>("AdamW amsgrad", AdamWOptions{.lr = 0.01, .weight_decay = 0.2, .amsgrad = true}),
      setting<optim::RMSprop>("RMSprop", optim::RMSpropOptions{.lr = 0.01, .weight_decay = 0.1}),
      setting<optim::RMSprop>("RMSprop momentum", optim::RMSpropOptions{.lr = 0.01, .momentum = 0.9, .maximize = true}),
      setting<optim::RMSprop>("RMSprop centered", optim::RMSpropOptions{.lr = 0.01, .eps = 1e-3, .centered = true}),
      setting<optim::RMSprop>("RMSprop centered with momentum",
                              optim::RMSpropOptions{.lr = 0.01, .eps = 1e-3, .momentum = 0.5, .centered = true}),
      setting<optim::Adagrad>("Adagrad", optim::AdagradOptions{.lr = 0.05}),
      setting<optim::Adagrad>("Adagrad from an accumulator",
                              optim::AdagradOptions{.lr = 0.05, .lr_decay = 0.1, .weight_decay = 0.1,
                                                    .initial_accumulator_value = 0.3}),
      setting<optim::Adadelta>("Adadelta", optim::AdadeltaOptions{.lr = 1, .rho = 0.8, .weight_decay = 0.1}),
      setting<optim::Adamax>("Adamax", optim::AdamaxOptions{.lr = 0.01, .eps = 1e-3, .weight_decay = 0.1}),
      setting<optim::NAdam>("NAdam", optim::NAdamOptions{.lr = 0.01, .eps = 1e-4, .weight_decay = 0.1}),
      setting<optim::NAdam>("NAdam decoupled",
                            optim::NAdamOptions{.lr = 0.01, .weight_decay = 0.1, .momentum_decay = 0.01,
                                                .decoupled_weight_decay = true}),
      setting<optim::RAdam>("RAdam", optim::RAdamOptions{.lr = 0.01, .betas = {0.9, 0.9}, .weight_decay = 0.1}),
      setting<optim::RAdam>("RAdam decoupled",
                            optim::RAdamOptions{.lr = 0.01, .weight_decay = 0.1, .decoupled_weight_decay = true}),
      setting<optim::Rprop>("Rprop", optim::RpropOptions{.lr = 0.01}),
      {"Adam in two groups",
       [](Net& net) -> optim::Optimizer {
         auto rest = net.head->parameters();
         for (const Tensor& parameter : net.norm->parameters()) rest.push_back(parameter);
         for (const Tensor& parameter : net.unused->parameters()) rest.push_back(parameter);
         return Adam(
             std::vector<optim::ParamGroup>{{.params = net.first->parameters(), .lr = 0.05, .weight_decay = 0.1},
                                            {.params = rest, .betas = std::array{0.7, 0.9}}},
             AdamOptions{.lr = 0.01});
       }},
      {"SGD in two groups, one frozen later",
       [](Net& net) -> optim::Optimizer {
         std::vector<Tensor> rest = net.norm->parameters();
         for (const Tensor& parameter : net.first->parameters()) rest.push_back(parameter);
         return SGD(std::vector<optim::ParamGroup>{{.params = net.head->parameters(), .lr = 0.2},
                                                   {.params = rest, .momentum = 0.5}},
                    SGDOptions{.lr = 0.1});
       }},
  };
}

// --- fast dropout ---

/** A parameter of ones, and dropout's mask over it as its gradient. */
struct Masks {
  explicit Masks(levin::CompileStepOptions options = {.compile = {.fast_dropout = true}}, std::int64_t elements = 40000)
      : ones(torch::ones({elements}, torch::requires_grad())), optimizer({ones}, {.lr = 0}),
        module(std::make_shared<nn::Module>("Ones")), step([&] {
          module->register_parameter("ones", ones);
          return levin::compile_step(
              *module, optimizer, [this](const Batch& batch) { return (torch::dropout(ones, 0.3, true) * batch[0]).sum(); }, options);
        }()) {}
  Tensor next() {
    step({torch::ones({})});
    EXPECT_TRUE(step.compiled()) << step.explain();
    return ones.grad().clone();
  }
  Tensor ones;
  optim::SGD optimizer;
  std::shared_ptr<nn::Module> module;
  levin::CompiledStep step;
};

TEST(FastDropout, HasTheStatisticsOfDropout) {
  torch::manual_seed(4);
  Masks masks;
  const double n = 40000, keep = 0.7, deviation = std::sqrt(keep * (1 - keep) / n);
  Tensor before;
  for (int i = 0; i < 5; ++i) {
    const Tensor mask = masks.next();
    const Tensor kept = mask.ne(0).to(torch::kDouble);
    EXPECT_EQ(mask.masked_select(mask.ne(0)).sub(1 / 0.7).abs().max().item<double>() < 1e-6, true);
    EXPECT_NEAR(kept.mean().item<double>(), keep, 5 * deviation);
    // Neighbours, and the masks of two steps, know nothing of each other.
    const auto together = [&](const Tensor& a, const Tensor& b) { return (a * b).mean().item<double>(); };
    EXPECT_NEAR(together(kept.slice(0, 0, -1), kept.slice(0, 1)), keep * keep, 5 * 0.5 / std::sqrt(n));
    if (before.defined()) EXPECT_NEAR(together(kept, before), keep * keep, 5 * 0.5 / std::sqrt(n));
    before = kept;
  }
  EXPECT_NE(masks.step.explain().find("random masks from a generator of our own: 1"), std::string::npos) << masks.step.explain();
}

TEST(FastDropout, FollowsTheSeedAndItsOwnStream) {
  torch::manual_seed(4);
  Masks one, another;
  const Tensor first = one.next(), second = another.next();
  EXPECT_FALSE(torch::equal(first, second));
  torch::manual_seed(4);
  EXPECT_TRUE(torch::equal(one.next(), first));
  EXPECT_TRUE(torch::equal(another.next(), second));
  // The state of torch's generator is all there is to keep.
  const Tensor state = random_state();
  const Tensor third = one.next();
  EXPECT_FALSE(torch::equal(first, third));
  auto generator = at::detail::getDefaultCPUGenerator();
  generator.set_state(state);
  EXPECT_TRUE(torch::equal(one.next(), third));
  // With a stream of its own a step leaves torch's generator alone.
  Masks own({.seed = 5, .compile = {.fast_dropout = true}}), twin({.seed = 5, .compile = {.fast_dropout = true}});
  const Tensor untouched = random_state();
  EXPECT_TRUE(torch::equal(own.next(), twin.next()));
  EXPECT_TRUE(torch::equal(own.next(), twin.next()));
  EXPECT_TRUE(torch::equal(random_state(), untouched));
}

TEST(FastDropout, IsNotTheExactOne) {
  torch::manual_seed(4);
  Masks exact({.compile = {}});
  const Tensor expected = torch::dropout(torch::ones({40000}), 0.3, true);
  torch::manual_seed(4);
  EXPECT_TRUE(torch::equal(exact.next(), expected));
  torch::manual_seed(4);
  Masks fast;
  EXPECT_FALSE(torch::equal(fast.next(), expected));
  try {
    Masks both({.compile = {.fuse = false, .fast_dropout = true}});
    FAIL() << "fuse = false asks for eager's bits";
  } catch (const levin::Error& error) {
    EXPECT_NE(std::string(error.what()).find("fast_dropout"), std::string::npos) << error.what();
  }
}

// --- threads ---

/** So many threads for LibTorch, and programs that share all they can. */
class Sharing {
 public:
  explicit Sharing(int threads) { torch::set_num_threads(threads), setenv("LEVIN_COMPILE_DEBUG", "split", 1); }
  ~Sharing() { torch::set_num_threads(before_), unsetenv("LEVIN_COMPILE_DEBUG"); }

 private:
  int before_ = torch::get_num_threads();
};

TEST(Team, DoesEachPartOnce) {
  using levin::compile::run_parts;
  const Sharing sharing(2);
  for (const int parts : {1, 2, 7}) {
    std::vector<std::atomic<int>> done(static_cast<std::size_t>(parts));
    run_parts(parts, [&](int part) {
      // A part has no further threads to share with.
      run_parts(2, [&](int) { ++done[static_cast<std::size_t>(part)]; });
    });
    for (const auto& times : done) EXPECT_EQ(times, 2) << parts;
  }
}

TEST(Team, ThrowsTheFirstPartsErrorWhenAllHaveEnded) {
  const Sharing sharing(2);
  std::atomic<int> ended = 0;
  try {
    levin::compile::run_parts(2, [&](int part) {
      ++ended;
      throw std::runtime_error(std::to_string(part));
    });
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "0");
  }
  EXPECT_EQ(ended, 2);
}

TEST(Team, KeepsDenormalsInThreadsThatBegin) {
  const Sharing sharing(3);
  const levin::compile::FlushDenormals flush;
  std::vector<float> products(3);
  levin::compile::run_parts(3, [&](int part) {
    volatile float small = 1e-30F;
    products[static_cast<std::size_t>(part)] = small * 1e-10F;
  });
  for (const float product : products) EXPECT_NE(std::bit_cast<std::uint32_t>(product), 0U);
}

TEST(CompiledThreads, AreAtMostWhatTheOptionSays) {
  const Sharing sharing(2);
  const auto explained = [](std::int64_t threads) {
    torch::manual_seed(1);
    Net net;
    optim::SGD optimizer(net.parameters(), {.lr = 0.1});
    auto step = levin::compile_step(
        net, optimizer, [&](const Batch& batch) { return loss_of(net, batch); }, {.compile = {.threads = threads}});
    step(batches(1, 2)[0]);
    return step.explain();
  };
  EXPECT_NE(explained(0).find("instructions on 2 threads"), std::string::npos) << explained(0);
  EXPECT_NE(explained(5).find("instructions on 2 threads"), std::string::npos) << explained(5);
  EXPECT_EQ(explained(1).find(" threads"), std::string::npos) << explained(1);
  try {
    explained(-2);
    FAIL();
  } catch (const levin::Error& error) {
    EXPECT_NE(std::string(error.what()).find("-2"), std::string::npos) << error.what();
  }
}

TEST(CompiledThreads, UpdateTheBitsOfOne) {
  const Sharing sharing(2);
  for (const Setting& chosen : settings()) {
    std::vector<Tensor> ends[2];
    for (const std::int64_t threads : {1, 2}) {
      torch::manual_seed(1);
      Net net(40000);  // parameters enough to be worth it
      auto optimizer = chosen.make(net);
      // All have a gradient: the optimizer's kernels run over the whole of its memory.
      const auto loss = [&](const Batch& batch) {
        return loss_of(net, batch) + net.unused->weight.square().sum() + net.unused->bias.square().sum();
      };
      auto step = levin::compile_step(net, optimizer, loss, {.compile = {.threads = threads}});
      for (const Batch& batch : batches(3, 3)) step(batch);
      EXPECT_TRUE(step.compiled()) << step.explain();
      ends[threads - 1] = net.parameters();
    }
    for (std::size_t i = 0; i < ends[0].size(); ++i) {
      expect_close(ends[0][i].detach(), ends[1][i].detach(), 0, chosen.name + ", parameter " + std::to_string(i));
    }
  }
}

class CompiledOptimizers : public testing::TestWithParam<std::tuple<Setting, Clipping>> {};

TEST_P(CompiledOptimizers, TrainAsEagerOnes) {
  const auto& [chosen, clipping] = GetParam();
  const OneThread thread;
  torch::manual_seed(1);
  Net eager;
  torch::manual_seed(1);
  Net compiled;
  optim::Optimizer a = chosen.make(eager), b = chosen.make(compiled);
  optim::StepLR schedule_a(a, {.step_size = 3, .gamma = 0.5}), schedule_b(b, {.step_size = 3, .gamma = 0.5});
  const double bound = 0.05;
  levin::CompileStepOptions options;
  if (clipping == Clipping::norm) options.clip_grad_norm = bound;
  if (clipping == Clipping::value) options.clip_grad_value = bound;
  auto step = levin::compile_step(
      compiled, b, [&](const Batch& batch) { return loss_of(compiled, batch); }, options);
  int call = 0;
  for (const Batch& batch : batches(10, 3)) {
    SCOPED_TRACE("step " + std::to_string(call));
    torch::manual_seed(static_cast<std::uint64_t>(100 + call));
    a.zero_grad();
    const Tensor loss = loss_of(eager, batch);
    loss.backward();
    if (clipping == Clipping::norm) optim::clip_grad_norm_(a, bound);
    if (clipping == Clipping::value) optim::clip_grad_value_(a, bound);
    a.step();
    schedule_a.step();
    torch::manual_seed(static_cast<std::uint64_t>(100 + call));
    const Tensor seen = step(batch);
    schedule_b.step();
    // Rounding grows from step to step; one wrong factor is thousands of times this.
    expect_close(loss.detach(), seen, 2e-4, "loss");
    const auto x = eager.named_parameters(), y = compiled.named_parameters();
    for (std::size_t i = 0; i < x.size(); ++i) expect_close(x[i].value(), y[i].value(), 2e-4, x[i].key());
    if (HasFailure()) {
      ADD_FAILURE() << step.explain();
      return;
    }
    ++call;
  }
  EXPECT_TRUE(step.compiled()) << step.explain();
  EXPECT_EQ(a.param_groups()[0].lr, b.param_groups()[0].lr);
  // The states go over to the other one, and eager goes on with what the program left.
  const auto saved_a = a.state_dict(), saved_b = b.state_dict();
  ASSERT_EQ(saved_a.state.size(), saved_b.state.size());
  for (const auto& [index, entry] : saved_a.state) {
    const auto& other = saved_b.state.at(index);
    ASSERT_EQ(entry.size(), other.size());
    for (std::size_t i = 0; i < entry.size(); ++i) {
      EXPECT_EQ(entry[i].first, other[i].first);
      expect_close(entry[i].second, other[i].second, 1e-2, "state " + entry[i].first);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CompiledOptimizers,
                         testing::Combine(testing::ValuesIn(settings()),
                                          testing::Values(Clipping::none, Clipping::norm, Clipping::value)),
                         [](const auto& row) {
                           return test_name(std::get<0>(row.param).name + suffix(std::get<1>(row.param)));
                         });

/** A compiled training that can be written down and made anew. */
struct Training {
  struct Saved {
    std::vector<Tensor> parameters, buffers;
    optim::OptimizerState optimizer;
    levin::Map schedule;
    Tensor random;
  };

  Training(const Setting& setting, levin::CompileOptions compile)
      : optimizer(setting.make(net)),
        schedule(optimizer, {.T_max = 20}),
        step(levin::compile_step(net, optimizer, [this](const Batch& batch) { return loss_of(net, batch); },
                                 {.clip_grad_norm = 0.5, .compile = compile})) {}

  std::vector<Tensor> train(std::span<const Batch> all) {
    std::vector<Tensor> losses;
    for (const Batch& batch : all) {
      losses.push_back(step(batch).clone());
      schedule.step();
    }
    return losses;
  }

  Saved save() const {
    const torch::NoGradGuard no_grad;
    Saved saved;
    for (const Tensor& parameter : net.parameters()) saved.parameters.push_back(parameter.clone());
    for (const Tensor& buffer : net.buffers()) saved.buffers.push_back(buffer.clone());
    saved.optimizer = optimizer.state_dict();
    for (auto& [index, entry] : saved.optimizer.state) {
      for (auto& [key, tensor] : entry) tensor = tensor.clone();
    }
    saved.schedule = schedule.state_dict();
    saved.random = random_state().clone();
    return saved;
  }

  void load(const Saved& saved) {
    const torch::NoGradGuard no_grad;
    auto parameters = net.parameters(), buffers = net.buffers();
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(saved.parameters[i]);
    for (std::size_t i = 0; i < buffers.size(); ++i) buffers[i].copy_(saved.buffers[i]);
    optimizer.load_state_dict(saved.optimizer);
    schedule.load_state_dict(saved.schedule);
    auto generator = at::detail::getDefaultCPUGenerator();
    generator.set_state(saved.random);
  }

  Net net;
  optim::Optimizer optimizer;
  optim::CosineAnnealingLR schedule;
  levin::CompiledStep step;
};

class CompiledResume : public testing::TestWithParam<std::tuple<Setting, levin::CompileOptions>> {};

TEST_P(CompiledResume, GivesTheBitsOfARunThatWasNotStopped) {
  const auto& [chosen, compile] = GetParam();
  const OneThread thread;
  const auto data = batches(14, 5);
  const std::span<const Batch> all(data);
  torch::manual_seed(2);
  Training whole(chosen, compile);
  const auto expected = whole.train(all);
  ASSERT_TRUE(whole.step.compiled()) << whole.step.explain();
  const auto end = whole.save();
  // Before the first step, after it, with a short batch next, in the middle.
  for (const std::size_t stop : {0U, 1U, 3U, 8U}) {
    SCOPED_TRACE("stopped after " + std::to_string(stop) + " steps");
    torch::manual_seed(2);
    auto begun = std::make_unique<Training>(chosen, compile);
    auto losses = begun->train(all.first(stop));
    const auto saved = begun->save();
    begun.reset();
    torch::manual_seed(77);
    Training resumed(chosen, compile);
    resumed.train(all.first(2));  // whatever it did before, it is what was loaded
    resumed.load(saved);
    for (const Tensor& loss : resumed.train(all.subspan(stop))) losses.push_back(loss);
    ASSERT_EQ(losses.size(), expected.size());
    for (std::size_t i = 0; i < losses.size(); ++i) EXPECT_TRUE(same_bits(expected[i], losses[i])) << "loss " << i;
    const auto now = resumed.save();
    for (std::size_t i = 0; i < now.parameters.size(); ++i)
      EXPECT_TRUE(same_bits(end.parameters[i], now.parameters[i])) << i;
    for (std::size_t i = 0; i < now.buffers.size(); ++i) EXPECT_TRUE(same_bits(end.buffers[i], now.buffers[i])) << i;
    for (const auto& [index, entry] : end.optimizer.state) {
      const auto& other = now.optimizer.state.at(index);
      for (std::size_t i = 0; i < entry.size(); ++i)
        EXPECT_TRUE(same_bits(entry[i].second, other[i].second)) << index << ' ' << entry[i].first;
    }
    EXPECT_TRUE(torch::equal(end.random, now.random));
  }
}

INSTANTIATE_TEST_SUITE_P(All, CompiledResume, testing::Combine(testing::ValuesIn(settings()),
                                                               testing::Values(levin::CompileOptions{}, levin::CompileOptions{.fuse = false},
                                                                               levin::CompileOptions{.fast_dropout = true})),
                         [](const auto& row) {
                           const auto& options = std::get<1>(row.param);
                           return test_name(std::get<0>(row.param).name +
                                            (!options.fuse ? " exact" : options.fast_dropout ? " fast dropout" : " fused"));
                         });

}  // namespace
}  // namespace compile_test
