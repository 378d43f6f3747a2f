// Many trainings at once: steps of one structure share code and never numbers.
#include "compile/agreement.h"

#include <levin/compile/code_cache.h>

#include <thread>

namespace compile_test {
namespace {

using levin::compile::CodeCache;

CodeCache::Counts counts() { return CodeCache::instance().counts(); }

class CodeCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    CodeCache::instance().clear();
    levin::seed_everything(1);
  }
};

nn::Sequential net(double dropout = 0) {
  return nn::Sequential(nn::Linear(3, 8), nn::Tanh(), nn::Dropout(dropout), nn::Linear(8, 2));
}

levin::Batch some_batch(std::int64_t rows = 5) { return {torch::randn({rows, 3}), torch::randn({rows, 2})}; }

template <class Loss>
levin::CompiledStep step_of(nn::Sequential model, Loss loss, levin::CompileStepOptions options = {}, double lr = 0.1) {
  levin::optim::SGD optimizer(model->parameters(), {.lr = lr});
  return levin::compile_step(
      model, optimizer, [=](const levin::Batch& b) mutable { return loss(model, b); }, options);
}

Tensor squares(nn::Sequential& model, const levin::Batch& b) { return torch::mse_loss(model->forward(b[0]), b[1]); }

/** The loss and the parameters after a step of it are those of eager. */
template <class Loss>
void expect_as_eager(nn::Sequential model, Loss loss, const levin::Batch& batch) {
  auto twin = std::dynamic_pointer_cast<nn::SequentialImpl>(model->clone());
  nn::Sequential eager(twin);
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    eager->parameters()[i].set_requires_grad(model->parameters()[i].requires_grad());  // clone() forgets it
  }
  levin::optim::SGD optimizer(eager->parameters(), {.lr = 0.1});
  auto step = step_of(model, loss);
  const Tensor seen = step(batch);
  const Tensor expected = loss(eager, batch);
  expected.backward();
  optimizer.step();
  ASSERT_TRUE(step.compiled()) << step.explain();
  EXPECT_LE(apart(expected, seen), 1e-6);
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    EXPECT_LE(apart(eager->parameters()[i], model->parameters()[i]), 1e-5) << i;
  }
}

TEST_F(CodeCacheTest, AProgramThatDiffersFromEagerIsRefusedOnceForAllTrials) {
  // Sums in another order than ATen's, of which not a bit may differ.
  const auto loss = [](nn::Sequential& model, const levin::Batch& b) {
    return (model->forward(b[0]).exp() * b[1].tanh()).sum();
  };
  const auto batch = some_batch(501);
  std::vector<levin::CompiledStep> trials;
  testing::internal::CaptureStderr();
  for (int trial = 0; trial < 4; ++trial) {
    trials.push_back(step_of(net(), loss, {.compile = {.tolerance = 0}}));
    trials.back()(batch);
    EXPECT_EQ(counts().hits, static_cast<std::size_t>(trial));
    EXPECT_FALSE(trials.back().compiled());
    EXPECT_NE(trials.back().explain().find("differs from the eager step's"), std::string::npos) << trials.back().explain();
  }
  const std::string warnings = testing::internal::GetCapturedStderr();
  const auto first = warnings.find("runs eagerly");
  ASSERT_NE(first, std::string::npos) << warnings;
  EXPECT_EQ(warnings.find("runs eagerly", first + 1), std::string::npos) << warnings;
  EXPECT_EQ(counts().entries, 1U);
  // A structure that was refused says nothing about another one.
  auto other = step_of(net(), loss);
  other(batch);
  EXPECT_TRUE(other.compiled()) << other.explain();
}

TEST_F(CodeCacheTest, TrialsOfOneStructureShareTheCode) {
  const auto batch = some_batch();
  for (int trial = 0; trial < 4; ++trial) expect_as_eager(net(), squares, batch);
  EXPECT_EQ(counts().entries, 1U);
  EXPECT_EQ(counts().hits, 3U);
}

TEST_F(CodeCacheTest, NearMissesDoNotShare) {
  const auto batch = some_batch();
  std::size_t expected = 0;
  const auto expect_miss = [&](const char* what, nn::Sequential model, auto loss, const levin::Batch& b) {
    SCOPED_TRACE(what);
    expect_as_eager(std::move(model), loss, b);
    EXPECT_EQ(counts().entries, ++expected);
    EXPECT_EQ(counts().hits, 0U);
  };
  expect_miss("first", net(), squares, batch);
  const auto weighted = [](double weight) {
    return [weight](nn::Sequential& model, const levin::Batch& b) { return squares(model, b) * weight; };
  };
  expect_miss("a factor", net(), weighted(0.5), batch);
  expect_miss("another factor", net(), weighted(std::nextafter(0.5, 1)), batch);
  expect_miss("rows", net(), squares, some_batch(6));
  expect_miss("strides", net(), squares, {torch::randn({3, 5}).t(), torch::randn({5, 2})});
  expect_miss("another input", net(), squares, {batch[0].clone(), batch[1].clone(), torch::ones({1})});
  expect_miss("an operator", net(), [](nn::Sequential& model, const levin::Batch& b) {
    return torch::l1_loss(model->forward(b[0]), b[1]);
  }, batch);
  expect_miss("a detached part", net(), [](nn::Sequential& model, const levin::Batch& b) {
    return torch::mse_loss(model->forward(b[0]).detach() * 0.5 + model->forward(b[0]), b[1]);
  }, batch);
  expect_miss("the same without detach", net(), [](nn::Sequential& model, const levin::Batch& b) {
    return torch::mse_loss(model->forward(b[0]) * 0.5 + model->forward(b[0]), b[1]);
  }, batch);
  expect_miss("the batch read in another order", net(), [](nn::Sequential& model, const levin::Batch& b) {
    return torch::mse_loss(b[1], model->forward(b[0]));
  }, batch);

  auto frozen = net();
  frozen[0]->as<nn::Linear>()->bias.set_requires_grad(false);
  expect_miss("a frozen parameter", frozen, squares, batch);

  auto eval = net();
  eval->eval();
  auto train = net();
  expect_as_eager(eval, squares, batch);  // a dropout of 0 does nothing in both modes
  EXPECT_GE(counts().entries, expected);
  expected = counts().entries;
  const std::size_t hits = counts().hits;

  const DefaultType doubles(torch::kDouble);
  expect_as_eager(net(), squares, some_batch());
  EXPECT_EQ(counts().entries, expected + 1);
  EXPECT_EQ(counts().hits, hits);
}

TEST_F(CodeCacheTest, SharedWeightsAreAnotherStructure) {
  struct Two : nn::Module {
    explicit Two(bool shared) : a(register_module("a", nn::Linear(4, 4))) {
      b = shared ? a : register_module("b", nn::Linear(4, 4));
    }
    Tensor loss(const levin::Batch& batch) {
      return torch::mse_loss(b->forward(torch::tanh(a->forward(batch[0]))), batch[1]);
    }
    nn::Linear a{nullptr}, b{nullptr};
  };
  const levin::Batch batch{torch::randn({5, 4}), torch::randn({5, 4})};
  for (const bool shared : {false, true, false, true}) {
    Two compiled(shared), eager(shared);
    copy_state(compiled, eager);
    levin::optim::SGD a(compiled.parameters(), {.lr = 0.1}), b(eager.parameters(), {.lr = 0.1});
    auto step = levin::compile_step(compiled, a, [&](const levin::Batch& given) { return compiled.loss(given); });
    step(batch);
    eager.loss(batch).backward();
    b.step();
    for (std::size_t i = 0; i < a.parameters().size(); ++i) {
      EXPECT_LE(apart(eager.parameters()[i], compiled.parameters()[i]), 1e-5) << shared << ' ' << i;
    }
  }
  EXPECT_EQ(counts().entries, 2U);
  EXPECT_EQ(counts().hits, 2U);
}

TEST_F(CodeCacheTest, ModesDoNotShare) {
  const auto batch = some_batch();
  auto model = net(0.5);
  auto step = step_of(model, squares, {.seed = 1}, 0);
  step(batch);
  model->eval();
  const Tensor without = step(batch);
  EXPECT_LE(apart(squares(model, batch), without), 1e-6);
  EXPECT_EQ(counts().entries, 2U);
  EXPECT_EQ(counts().hits, 0U);
}

/** The losses and the parameters of four steps of a net with `rate` of dropout and a loss with `weight`. */
std::vector<Tensor> trained(double rate, double weight, const levin::CompileOptions& options,
                            std::string* explained = nullptr) {
  torch::manual_seed(3);
  auto model = net(rate);
  const auto batch = some_batch();
  auto step = step_of(model, [weight](nn::Sequential& m, const levin::Batch& b) {
    return squares(m, b) * weight + m->parameters()[0].abs().sum() * (weight / 100);
  }, {.seed = 7, .compile = options});
  std::vector<Tensor> all;
  for (int i = 0; i < 4; ++i) all.push_back(step(batch).clone());
  EXPECT_TRUE(step.compiled()) << step.explain();
  if (explained != nullptr) *explained = step.explain();
  for (const Tensor& parameter : model->parameters()) all.push_back(parameter.detach());
  return all;
}

TEST_F(CodeCacheTest, RatesOfDropoutAndWeightsOfLossesShareFromTheSecondOn) {
  const std::vector<std::pair<double, double>> trials = {{0.5, 0.3}, {0.25, 0.7}, {0.6, 0.1}, {0.1, 2}, {0.25, 0.1}};
  const std::vector<levin::CompileOptions> all = {{}, {.fuse = false}, {.fast_dropout = true}};
  for (const levin::CompileOptions& options : all) {
    CodeCache::instance().clear();
    std::vector<std::vector<Tensor>> shared;
    std::string explained;
    for (const auto& [rate, weight] : trials) shared.push_back(trained(rate, weight, options, &explained));
    EXPECT_EQ(counts().entries, 2U);
    EXPECT_EQ(counts().hits, 3U);
    EXPECT_NE(explained.find("numbers in memory, as they differ between steps: "), std::string::npos) << explained;
    for (std::size_t t = 0; t < trials.size(); ++t) {
      CodeCache::instance().clear();
      const auto alone = trained(trials[t].first, trials[t].second, options);
      for (std::size_t i = 0; i < alone.size(); ++i) EXPECT_TRUE(same_bits(alone[i], shared[t][i])) << t << ' ' << i;
      EXPECT_FALSE(same_bits(alone[0], shared[(t + 1) % trials.size()][0])) << t;
    }
  }
}

TEST_F(CodeCacheTest, NumbersThatPassesLookAtAreNotShared) {
  // As constants the factors are one operand of one group; in memory they would be too many for one.
  const auto batch = some_batch();
  std::size_t expected = 0;
  for (const double factor : {0.5, 0.6, 0.7, 0.8}) {
    expect_as_eager(net(), [factor](nn::Sequential& model, const levin::Batch& b) {
      Tensor x = model->forward(b[0]);
      for (int i = 0; i < 8; ++i) x = (x * factor).tanh();
      return torch::mse_loss(x, b[1]);
    }, batch);
    EXPECT_EQ(counts().entries, ++expected) << factor;
  }
  EXPECT_EQ(counts().hits, 0U);
  EXPECT_EQ(counts().misses, 4U);
}

TEST_F(CodeCacheTest, ConcurrentFirstCapturesAgree) {
  constexpr int kThreads = 4, kTrials = 12;
  const auto batch = some_batch();
  std::vector<nn::Sequential> models;
  for (int i = 0; i < kTrials; ++i) models.push_back(net());
  std::vector<nn::Sequential> twins;
  for (auto& model : models) twins.emplace_back(std::dynamic_pointer_cast<nn::SequentialImpl>(model->clone()));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = t; i < kTrials; i += kThreads) {
          auto step = step_of(models[static_cast<std::size_t>(i)], squares);
          for (int s = 0; s < 5; ++s) step(batch);
        }
      });
    }
  }
  for (int i = 0; i < kTrials; ++i) {
    const auto n = static_cast<std::size_t>(i);
    auto step = step_of(twins[n], squares);
    for (int s = 0; s < 5; ++s) step(batch);
    for (std::size_t p = 0; p < models[n]->parameters().size(); ++p) {
      EXPECT_TRUE(same_bits(models[n]->parameters()[p], twins[n]->parameters()[p])) << i << ' ' << p;
    }
  }
  EXPECT_EQ(counts().entries, 1U);
}

TEST_F(CodeCacheTest, IsBounded) {
  for (int rows = 1; rows <= 140; ++rows) step_of(net(), squares)(some_batch(rows));
  EXPECT_EQ(counts().entries, 128U);
}

TEST_F(CodeCacheTest, KeepsNoTrialAlive) {
  const auto batch = some_batch();
  std::weak_ptr<nn::SequentialImpl> model;
  std::optional<c10::weak_intrusive_ptr<c10::StorageImpl>> memory;
  {
    auto own = net();
    model = own.ptr();
    auto step = step_of(own, squares);
    step(batch);
    memory = own->parameters()[0].storage().getWeakStorageImpl();
  }
  EXPECT_EQ(counts().entries, 1U);
  EXPECT_TRUE(model.expired());
  EXPECT_TRUE(memory->expired());
}

struct Line : levin::Module {
  explicit Line(double rate) : lr(rate) {
    torch::manual_seed(0);
    net = register_module("net", nn::Sequential(nn::Linear(1, 6), nn::Tanh(), nn::Linear(6, 1)));
  }
  Tensor training_step(const levin::Batch& batch, int64_t) override {
    const Tensor loss = torch::mse_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.on_step = false, .on_epoch = true});
    return loss;
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::Adam(parameters(), {.lr = lr}); }
  double lr;
  nn::Sequential net{nullptr};
};

struct Polite : levin::tune::Scheduler {
  levin::tune::Decision on_trial_result(levin::tune::TunerControl&, levin::tune::Run&, const levin::tune::Metrics&) override {
    return levin::tune::Decision::pause;
  }
};

TEST_F(CodeCacheTest, ServesTunersAcrossPausesAndMutations) {
  namespace tune = levin::tune;
  const Tensor x = torch::linspace(-1, 1, 40).unsqueeze(1);
  const levin::TensorDataset data({x, 2 * x + 1});
  const auto run = [&](const tune::SchedulerRef& scheduler) {
    return tune::Tuner(
               tune::module_trainable(
                   {.model = [](const tune::Config& config) { return std::make_shared<Line>(config.get<double>("lr")); },
                    .train = [&](const tune::Config&) { return levin::DataLoader(data, {.batch_size = 10}); },
                    .trainer = [](const tune::Config&) {
                      return levin::TrainerOptions{.logger = false, .compile = true};
                    }}),
               {{"lr", tune::grid_search({0.001, 0.01, 0.05, 0.1})}},
               {.metric = "train_loss", .mode = levin::Mode::min, .scheduler = scheduler,
                .stop = {{"training_iteration", 4}}, .seed = 0})
        .fit();
  };
  const auto straight = run({}), paused = run(Polite());
  ASSERT_EQ(straight.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(straight[i].history, paused[i].history) << straight[i].error;
  const auto mutated = run(std::make_shared<tune::PopulationBasedTraining>(tune::PopulationBasedTrainingOptions{
      .perturbation_interval = 1, .mutations = {{"lr", tune::loguniform(1e-3, 1e-1)}}}));
  EXPECT_EQ(mutated.num_errors(), 0U);
  EXPECT_EQ(counts().entries, 1U);  // three searches of four trials, four steps each
  EXPECT_GE(counts().hits, 47U);
}

// Trainings with dropout whose numbers must not depend on how many of them run at a time.
std::vector<double> together(std::int64_t threads, std::vector<Tensor>* weights = nullptr) {
  levin::seed_everything(3);
  const std::vector<levin::Batch> batches = {some_batch(), some_batch(), some_batch(4)};
  std::vector<levin::CompiledStep> trials;
  std::vector<nn::Sequential> models;
  for (int i = 0; i < 6; ++i) {
    models.push_back(net(0.3));
    trials.push_back(step_of(models.back(), squares, {.seed = 10 + i}, 0.01 * (1 + i)));
  }
  auto losses = levin::run_together(trials, batches, 50, threads);
  if (weights != nullptr) {
    for (auto& model : models) weights->push_back(torch::nn::utils::parameters_to_vector(model->parameters()).detach());
  }
  return losses;
}

TEST(RunTogether, DoesNotDependOnThreads) {
  std::vector<Tensor> one, three;
  EXPECT_EQ(together(1, &one), together(3, &three));
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(same_bits(one[i], three[i])) << i;
  EXPECT_FALSE(same_bits(one[0], one[1]));
}

TEST(RunTogether, MakesTheStepsOfALoop) {
  levin::seed_everything(4);
  const std::vector<levin::Batch> batches = {some_batch(), some_batch(), some_batch(4)};
  auto model = net();
  nn::Sequential twin(std::dynamic_pointer_cast<nn::SequentialImpl>(model->clone()));
  auto a = step_of(model, squares), b = step_of(twin, squares);
  Tensor last;
  for (std::size_t s = 0; s < 20; ++s) last = a(batches[s % 3]);
  EXPECT_EQ(b.run(batches, 20), last.item<double>());
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(same_bits(model->parameters()[i], twin->parameters()[i])) << i;
}

TEST(RunTogether, RefusesWhatMakesNoSense) {
  const std::vector<levin::Batch> batches = {some_batch()};
  auto step = step_of(net(), squares);
  std::vector<levin::CompiledStep> twice = {step, step};
  EXPECT_THROW(levin::run_together(twice, batches, 1), levin::Error);
  EXPECT_THROW(step.run({}, 1), levin::Error);
  EXPECT_THROW(step.run(batches, 0), levin::Error);
  EXPECT_THROW(levin::run_together(std::span(&step, 1), batches, 1, -1), levin::Error);
}

TEST(RunTogether, ThrowsTheFirstTrialsError) {
  const std::vector<levin::Batch> batches = {some_batch()};
  std::vector<levin::CompiledStep> trials;
  for (const char* text : {"", "first", "second"}) {
    trials.push_back(step_of(net(), [text](nn::Sequential& model, const levin::Batch& b) {
      if (*text != 0) throw std::runtime_error(text);
      return squares(model, b);
    }));
  }
  try {
    levin::run_together(trials, batches, 3, 2);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "first");
  }
}

TEST(Seeds, OfAnotherThreadAreNoFaultOfTheStep) {
  const auto batch = some_batch();
  auto model = net();
  int calls = 0;
  auto step = step_of(model, [&calls](nn::Sequential& m, const levin::Batch& b) {
    if (calls++ == 0) std::jthread([] { torch::manual_seed(77); }).join();
    return squares(m, b);
  });
  step(batch);
  EXPECT_TRUE(step.compiled()) << step.explain();
  auto own = step_of(net(), [](nn::Sequential& m, const levin::Batch& b) {
    torch::manual_seed(77);
    return squares(m, b);
  });
  own(batch);
  EXPECT_FALSE(own.compiled());
}

}  // namespace
}  // namespace compile_test
