// The Trainer's loops beyond the plain fit: intervals, loaders, several and manual optimizers, signals.
#include "train/toy.h"

#include <levin/core/interrupt.h>
#include <levin/train/slurm.h>

#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace levin {
namespace {

using testing::quiet;
using testing::TempDir;
using namespace std::chrono_literals;

DataLoader batches(std::int64_t n, std::int64_t offset = 0) {
  return {TensorDataset({torch::arange(offset, offset + n, torch::kFloat).unsqueeze(1)}), {.batch_size = 1}};
}

/** Hands out a dataset's batches without knowing how many there will be. */
struct EndlessLookingImpl : LoaderImpl {
  explicit EndlessLookingImpl(std::int64_t count) : n(count) {}
  std::optional<std::int64_t> size() const override { return std::nullopt; }
  bool at_end() override { return batches_given() >= n; }
  Map state() const override { return position(); }
  void load_state(const Map& state) override { load_position(state); }
  std::shared_ptr<LoaderImpl> sequential_copy() const override { return std::make_shared<EndlessLookingImpl>(n); }
  void start_epoch() override {}
  bool fetch(Batch& batch) override {
    if (batches_given() >= n) return false;
    batch = {torch::full({1, 1}, static_cast<double>(batches_given()))};
    return true;
  }
  std::int64_t n;
};

DataLoader unknown_length(std::int64_t n) { return DataLoader(std::make_shared<EndlessLookingImpl>(n)); }

/** The gradient of its parameter is 1 a batch: with SGD at rate 1 the parameter counts the updates' size. */
struct Counter : Module {
  Counter() { w = register_parameter("w", torch::zeros({1})); }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    seen.push_back(batch[0].flatten()[0].item<double>());
    if (on_batch) on_batch(*this);
    return w.sum();
  }
  void validation_step(const Batch&, std::int64_t batch_idx, std::int64_t dataloader_idx) override {
    if (batch_idx == 0 && dataloader_idx == 0) validated_after.push_back(trainer().total_batches());
    evaluated.emplace_back(dataloader_idx, batch_idx);
  }
  Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 1.0}); }

  torch::Tensor w;
  std::function<void(Counter&)> on_batch;
  std::vector<double> seen;
  std::vector<std::int64_t> validated_after;  // training batches done before each validation
  std::vector<std::pair<std::int64_t, std::int64_t>> evaluated;
};

std::vector<std::int64_t> validations(TrainerOptions options, std::int64_t batches_an_epoch, bool known = true) {
  Counter net;
  options.num_sanity_val_steps = 0;
  Trainer(options).fit(net, known ? batches(batches_an_epoch) : unknown_length(batches_an_epoch), batches(1));
  return net.validated_after;
}

using Counts = std::vector<std::int64_t>;

TEST(Intervals, ValidateInEveryUnit) {
  auto options = quiet(3);
  EXPECT_EQ(validations(options, 5), (Counts{5, 10, 15}));
  options.val_check_interval = count(2);
  EXPECT_EQ(validations(options, 5), (Counts{2, 4, 7, 9, 12, 14}));
  options.val_check_interval = every(4, Unit::batches);
  EXPECT_EQ(validations(options, 5), (Counts{4, 8, 12}));
  options.val_check_interval = every(2, Unit::epochs);
  EXPECT_EQ(validations(options, 5), (Counts{10}));
  options.val_check_interval = every(3, Unit::steps);
  options.accumulate_grad_batches = 2;  // 3 steps an epoch of 5 batches
  EXPECT_EQ(validations(options, 5), (Counts{5, 10, 15}));
  options.accumulate_grad_batches = 1;
  options.val_check_interval = count(4);
  options.check_val_every_n_epoch = std::nullopt;
  EXPECT_EQ(validations(options, 5), (Counts{4, 8, 12}));
}

TEST(Intervals, ValidateByTheClock) {
  Counter net;
  net.on_batch = [](Counter&) { usleep(3000); };
  auto options = quiet(1);
  options.num_sanity_val_steps = 0;
  options.val_check_interval = every(10ms);
  Trainer(options).fit(net, batches(40), batches(1));
  EXPECT_GE(net.validated_after.size(), 4u);
  EXPECT_LE(net.validated_after.size(), 20u);
}

TEST(Intervals, UnknownLengthEndsWithTheLoader) {
  auto options = quiet(2);
  EXPECT_EQ(validations(options, 5, /*known=*/false), (Counts{5, 10}));
  options.val_check_interval = count(2);
  EXPECT_EQ(validations(options, 5, false), (Counts{2, 4, 7, 9}));
  options.val_check_interval = fraction(1.0);
  options.limit_train_batches = count(3);
  EXPECT_EQ(validations(options, 5, false), (Counts{3, 6}));
  options.limit_train_batches = fraction(0.5);
  EXPECT_THROW(validations(options, 5, false), Error);
}

TEST(Intervals, ATrailingWindowOfUnknownLengthIsDividedByItsRealSize) {
  for (const bool compat : {false, true}) {
    Counter net;
    auto options = quiet(1);
    options.accumulate_grad_batches = 2;
    options.lightning_compat = compat;
    Trainer trainer(options);
    trainer.fit(net, unknown_length(5));
    EXPECT_EQ(trainer.global_step(), 3);
    EXPECT_DOUBLE_EQ(net.w.item<double>(), compat ? -2.5 : -3.0);
  }
}

TEST(Options, ReadFromTheEnvironmentWhereTheyStandAtTheirDefault) {
  ::setenv("LEVIN_TRAINER_MAX_EPOCHS", "3", 1);
  ::setenv("LEVIN_TRAINER_LIMIT_VAL_BATCHES", "0.25", 1);
  ::setenv("LEVIN_TRAINER_VAL_CHECK_INTERVAL", "every(100, steps)", 1);
  ::setenv("LEVIN_TRAINER_DETERMINISTIC", "warn", 1);
  ::setenv("LEVIN_TRAINER_MAX_TIME", "00:01:30:00", 1);
  TrainerOptions options{.max_steps = 7};
  apply_environment(options);
  EXPECT_EQ(options.max_epochs, 3);
  EXPECT_EQ(options.max_steps, 7);
  EXPECT_EQ(options.limit_val_batches, fraction(0.25));
  EXPECT_EQ(options.val_check_interval, ValCheckInterval(every(100, Unit::steps)));
  EXPECT_TRUE(options.deterministic.warn_only());
  EXPECT_EQ(options.max_time, std::chrono::milliseconds(90min));
  TrainerOptions set{.max_epochs = 9};
  apply_environment(set);
  EXPECT_EQ(set.max_epochs, 9);

  ::setenv("LEVIN_TRAINER_MAX_EPOCH", "3", 1);
  try {
    apply_environment(options);
    ADD_FAILURE() << "an unknown name was accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean \"LEVIN_TRAINER_MAX_EPOCHS\""), std::string::npos);
  }
  for (const char* name :
       {"MAX_EPOCH", "MAX_EPOCHS", "LIMIT_VAL_BATCHES", "VAL_CHECK_INTERVAL", "DETERMINISTIC", "MAX_TIME"})
    ::unsetenv((std::string("LEVIN_TRAINER_") + name).c_str());
}

TEST(Options, ContradictionsAreErrorsAtConstruction) {
  const auto refuses = [](TrainerOptions options, const char* text) {
    options.max_epochs = options.max_epochs.value_or(1);
    try {
      Trainer trainer(options);
      ADD_FAILURE() << "accepted, should say: " << text;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  };
  refuses({.overfit_batches = count(0)}, "overfit_batches must keep a batch");
  refuses({.limit_train_batches = count(3), .overfit_batches = count(2)}, "both limit the training batches");
  refuses({.val_check_interval = fraction(0.5), .check_val_every_n_epoch = std::nullopt}, "must count batches");
  refuses({.val_check_interval = every(0, Unit::steps)}, "must be above 0");
  refuses({.val_check_interval = every(9, Unit::steps), .check_val_every_n_epoch = 2}, "counts across epochs");
  refuses({.enable_progress_bar = true, .barebones = true}, "barebones leaves out");
  refuses({.callbacks = {ModelCheckpoint()}, .barebones = true}, "barebones leaves out");
  refuses({.max_epochs = 2, .min_epochs = 3}, "min_epochs is larger");
}

TEST(Loaders, SeveralValidationLoadersAreLimitedOneByOne) {
  Counter net;
  auto options = quiet(1);
  options.limit_val_batches = count(2);
  options.num_sanity_val_steps = 0;
  Trainer trainer(options);
  trainer.fit(net, batches(2), CombinedLoader({batches(3), batches(1)}, {.mode = CombineMode::sequential}));
  EXPECT_EQ(net.evaluated, (std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 0}, {0, 1}, {1, 0}}));
  EXPECT_EQ(trainer.num_val_batches(), 3);
}

TEST(Loaders, InterleavedOnesTrainAndResumeWhereTheyStopped) {
  const auto both = [] {
    return CombinedLoader({DataLoader(TensorDataset({torch::arange(0, 4, torch::kFloat).unsqueeze(1)}),
                                      {.batch_size = 1, .shuffle = true, .seed = 1}),
                           DataLoader(TensorDataset({torch::arange(10, 17, torch::kFloat).unsqueeze(1)}),
                                      {.batch_size = 1, .shuffle = true, .seed = 2})},
                          {.mode = CombineMode::interleaved});
  };
  struct Net : Counter {
    torch::Tensor training_step(const Batch& batch, std::int64_t i) override {
      from.push_back(trainer().dataloader_idx());
      return Counter::training_step(batch, i);
    }
    std::vector<std::int64_t> from;
  };
  Net whole;
  Trainer(quiet(2)).fit(whole, both());
  ASSERT_EQ(whole.seen.size(), 22u);
  EXPECT_EQ((Counts{whole.from.begin(), whole.from.begin() + 11}), (Counts{0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1}));

  TempDir dir;
  Net first, second;
  first.on_batch = [&](Counter& net) {
    if (net.seen.size() == 6) net.trainer().save_checkpoint(dir / "mid.ckpt");
  };
  auto options = quiet(2);
  options.limit_train_batches = fraction(1.0);
  Trainer(options).fit(first, both());
  Trainer(options).fit(second, both(), {.ckpt_path = dir / "mid.ckpt"});
  EXPECT_EQ(second.seen, (std::vector<double>{whole.seen.begin() + 6, whole.seen.end()}));
}

TEST(Loaders, OverfitTakesTheFirstBatchesInOrder) {
  struct Data : DataModule {
    DataLoader train_dataloader() override {
      return {TensorDataset({torch::arange(8, torch::kFloat).unsqueeze(1)}), {.batch_size = 1, .shuffle = true}};
    }
    DataLoader val_dataloader() override { return batches(8); }
  } data;
  Counter net;
  auto options = quiet(2);
  options.overfit_batches = count(3);
  options.num_sanity_val_steps = 0;
  Trainer(options).fit(net, data);
  EXPECT_EQ(net.seen, (std::vector<double>{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(net.evaluated.size(), 6u);
}

TEST(Loaders, AreMadeAnewEveryFewEpochs) {
  struct Data : DataModule {
    DataLoader train_dataloader() override { return batches(2, 100 * trains++); }
    DataLoader val_dataloader() override {
      ++vals;
      return batches(1);
    }
    int trains = 0, vals = 0;
  } data;
  Counter net;
  auto options = quiet(5);
  options.reload_dataloaders_every_n_epochs = 2;
  options.num_sanity_val_steps = 0;
  Trainer(options).fit(net, data);
  EXPECT_EQ(net.seen, (std::vector<double>{0, 1, 0, 1, 100, 101, 100, 101, 200, 201}));
  EXPECT_EQ(data.vals, 3);
}

TEST(Loaders, AModuleMayBringItsOwn) {
  struct Own : Counter {
    DataLoader train_dataloader() override { return batches(3); }
    DataLoader val_dataloader() override { return batches(2); }
  } net;
  Trainer trainer(quiet(1));
  trainer.fit(net);
  EXPECT_EQ(net.seen.size(), 3u);
  EXPECT_EQ(net.validated_after.back(), 3);
}

TEST(Errors, ARunWithinARunIsRefused) {
  struct Nested : Counter {
    void on_train_epoch_end() override { trainer().validate(*this, batches(1)); }
  } net;
  Trainer trainer(quiet(1));
  try {
    trainer.fit(net, batches(2));
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("in the middle of a run"), std::string::npos);
  }
  EXPECT_FALSE(net.has_trainer());
}

TEST(Loaders, ABatchHookPutsAnEndToTheEpoch) {
  struct Leaver : Counter {
    void on_train_batch_start(const Batch&, std::int64_t batch_idx) override {
      if (batch_idx == 2) trainer().skip_epoch();
    }
  } net;
  Trainer trainer(quiet(2));
  trainer.fit(net, batches(5));
  EXPECT_EQ(net.seen, (std::vector<double>{0, 1, 0, 1}));
  EXPECT_EQ(trainer.current_epoch(), 2);
}

TEST(Loaders, TransferHooksSeeEveryBatch) {
  struct Scaling : Counter {
    Batch on_after_batch_transfer(Batch batch, std::int64_t) override { return {batch[0] * 10}; }
  } net;
  Trainer(quiet(1)).fit(net, batches(3));
  EXPECT_EQ(net.seen, (std::vector<double>{0, 10, 20}));
}

// --- optimization ---

/** Two parameters, each with an optimizer and a loss of its own. */
struct Gan : Module {
  Gan() {
    g = register_parameter("g", torch::zeros({1}));
    d = register_parameter("d", torch::zeros({1}));
  }
  torch::Tensor training_step(const Batch&, std::int64_t batch_idx, std::int64_t optimizer_idx) override {
    calls.emplace_back(batch_idx, optimizer_idx);
    EXPECT_EQ(g.requires_grad(), optimizer_idx == 0);
    EXPECT_EQ(d.requires_grad(), optimizer_idx == 1);
    return (g + 10 * d).sum();
  }
  Optimizers configure_optimizers() override {
    optim::SGD generator(std::vector<torch::Tensor>{g}, {.lr = 1}), critic(std::vector<torch::Tensor>{d}, {.lr = 1});
    return {
        {.optimizer = generator, .frequency = 3},
        {.optimizer = critic, .schedulers = {{.scheduler = optim::StepLR(critic, {.step_size = 1, .gamma = 0.5})}}}};
  }
  torch::Tensor g, d;
  std::vector<std::pair<std::int64_t, std::int64_t>> calls;
};

TEST(SeveralOptimizers, HaveTheirOwnLossFrequencyAndScheduler) {
  Gan net;
  Trainer trainer(quiet(2));
  trainer.fit(net, batches(4));
  EXPECT_DOUBLE_EQ(net.g.item<double>(), -2);                 // batch 2 of both epochs
  EXPECT_DOUBLE_EQ(net.d.item<double>(), -(4 * 10 + 4 * 5));  // every batch, at half the rate in the second epoch
  EXPECT_EQ(trainer.global_step(), 10);
  EXPECT_TRUE(net.g.requires_grad());
  EXPECT_TRUE(net.d.requires_grad());
  const std::vector<std::pair<std::int64_t, std::int64_t>> an_epoch{{0, 1}, {1, 1}, {2, 0}, {2, 1}, {3, 1}};
  EXPECT_TRUE(std::equal(an_epoch.begin(), an_epoch.end(), net.calls.begin()));
}

TEST(SeveralOptimizers, ResumeFromACheckpoint) {
  TempDir dir;
  Gan whole, first, second;
  Trainer(quiet(4)).fit(whole, batches(4));
  Trainer trainer(quiet(2));
  trainer.fit(first, batches(4));
  trainer.save_checkpoint(dir / "gan.ckpt");
  Trainer resumed(quiet(4));
  resumed.fit(second, batches(4), {.ckpt_path = dir / "gan.ckpt"});
  EXPECT_EQ(resumed.global_step(), 20);
  EXPECT_TRUE(torch::equal(second.g, whole.g));
  EXPECT_TRUE(torch::equal(second.d, whole.d));
}

struct Manual : Gan {
  Manual() { set_automatic_optimization(false); }
  torch::Tensor training_step(const Batch&, std::int64_t) override {
    for (TrainerOptimizer& optimizer : optimizers()) {
      ToggledOptimizer toggled(optimizer);
      auto loss = (g + 10 * d).sum();
      optimizer.zero_grad();
      manual_backward(loss);
      clip_gradients(optimizer.optimizer(), 2.0, ClipAlgorithm::value);
      optimizer.step();
    }
    log("g", g.detach());
    return {};
  }
  torch::Tensor training_step(const Batch& batch, std::int64_t i, std::int64_t) override {
    return training_step(batch, i);
  }
  void on_before_backward(const torch::Tensor&) override { ++backwards; }
  void on_before_optimizer_step(optim::Optimizer&) override { ++steps; }
  int backwards = 0, steps = 0;
};

TEST(TrainState, IsAValueThatAFitResumesFromInMemory) {
  Gan whole, first, second, third;
  Trainer(quiet(4)).fit(whole, batches(4));
  Trainer trainer(quiet(2));
  EXPECT_THROW(trainer.state(), Error);
  trainer.fit(first, batches(4));
  const TrainState state = trainer.state();
  Trainer(quiet(4)).fit(second, batches(4), {.state = state});
  EXPECT_TRUE(torch::equal(second.g, whole.g));
  EXPECT_TRUE(torch::equal(second.d, whole.d));
  // Neither the run that it is from nor one that resumed from it has changed it.
  first.d.data().fill_(7);
  Trainer again(quiet(4));
  again.fit(third, batches(4), {.state = state});
  EXPECT_TRUE(torch::equal(third.d, whole.d));
  EXPECT_EQ(again.global_step(), 20);
  EXPECT_THROW(again.fit(third, batches(4), {.ckpt_path = "x.ckpt", .state = state}), Error);
}

TEST(ManualOptimization, StepsAreCountedAndHaveHooks) {
  Manual net;
  Trainer trainer(quiet(1));
  trainer.fit(net, batches(3));
  EXPECT_DOUBLE_EQ(net.g.item<double>(), -3);
  EXPECT_DOUBLE_EQ(net.d.item<double>(), -6);  // clipped to 2
  EXPECT_EQ(trainer.global_step(), 6);
  EXPECT_EQ(net.backwards, 6);
  EXPECT_EQ(net.steps, 6);

  auto options = quiet(1);
  options.accumulate_grad_batches = 2;
  EXPECT_THROW(Trainer(options).fit(net, batches(3)), Error);
  Counter automatic;
  EXPECT_THROW(automatic.manual_backward(automatic.w), Error);
}

TEST(Hooks, OptimizerStepMayRefuseAnUpdate) {
  struct Refusing : Counter {
    void optimizer_step(std::int64_t epoch, std::int64_t batch_idx, TrainerOptimizer& optimizer,
                        const std::function<void()>& closure) override {
      if (batch_idx % 2 == 0) return Counter::optimizer_step(epoch, batch_idx, optimizer, closure);
      closure();
    }
  } net;
  Trainer trainer(quiet(1));
  trainer.fit(net, batches(4));
  EXPECT_EQ(trainer.global_step(), 2);
  EXPECT_DOUBLE_EQ(net.w.item<double>(), -2);
}

TEST(Hooks, ConfiguredCallbacksReplaceOnesOfTheirType) {
  struct Named : CallbackImpl {
    explicit Named(std::string n, std::vector<std::string>& list) : name(std::move(n)), calls(list) {}
    void on_fit_start(Trainer&, Module&) override { calls.push_back(name); }
    std::string name;
    std::vector<std::string>& calls;
  };
  struct Net : Counter {
    std::vector<Callback> configure_callbacks() override { return {CallbackHolder<Named>("module's", calls)}; }
    std::vector<std::string> calls;
  } net;
  auto options = quiet(1);
  options.callbacks = {CallbackHolder<Named>("trainer's", net.calls)};
  Trainer(options).fit(net, batches(1));
  EXPECT_EQ(net.calls, std::vector<std::string>{"module's"});
}

TEST(Hooks, EstimatedSteppingBatchesServeSchedules) {
  struct Net : Counter {
    Optimizers configure_optimizers() override {
      steps = trainer().estimated_stepping_batches();
      return Counter::configure_optimizers();
    }
    std::int64_t steps = 0;
  } net;
  auto options = quiet(3);
  options.accumulate_grad_batches = 2;
  Trainer(options).fit(net, batches(5));
  EXPECT_EQ(net.steps, 9);
}

// --- errors ---

/** Throws in one hook, or nowhere. */
struct Thrower : Counter {
  explicit Thrower(Hook where) : bad(where) {}
  void maybe(Hook hook) {
    if (hook == bad) throw std::runtime_error(hook_name(hook));
  }
  void setup(Stage) override { maybe(Hook::setup); }
  void teardown(Stage) override { maybe(Hook::teardown); }
#define LEVIN_HOOK(name) \
  void name() override { maybe(Hook::name); }
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name) \
  void name(const Batch&, std::int64_t) override { maybe(Hook::name); }
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  void on_before_zero_grad(optim::Optimizer&) override { maybe(Hook::on_before_zero_grad); }
  void on_before_backward(const torch::Tensor&) override { maybe(Hook::on_before_backward); }
  void on_before_optimizer_step(optim::Optimizer&) override { maybe(Hook::on_before_optimizer_step); }
  Batch on_after_batch_transfer(Batch batch, std::int64_t) override {
    maybe(Hook::on_after_batch_transfer);
    return batch;
  }
  void configure_model() override { maybe(Hook::configure_model); }
  Optimizers configure_optimizers() override {
    maybe(Hook::configure_optimizers);
    return Counter::configure_optimizers();
  }
  void on_validation_model_eval() override {
    maybe(Hook::on_validation_model_eval);
    Counter::on_validation_model_eval();
  }
  Hook bad;
};

struct StatusLoggerImpl : LoggerImpl {
  void log_metrics(const MetricValues&, const LogPoint&) override {}
  void log_hyperparams(const Map&) override {}
  void finalize(std::string_view s) override { status = s; }
  std::string status;
};

TEST(Errors, InAnyHookLeaveLoggersFinalisedFilesWholeAndTheModelUsable) {
  const std::vector<Hook> hooks{Hook::setup,
                                Hook::configure_model,
                                Hook::configure_optimizers,
                                Hook::on_fit_start,
                                Hook::on_train_start,
                                Hook::on_train_epoch_start,
                                Hook::on_after_batch_transfer,
                                Hook::on_train_batch_start,
                                Hook::on_before_zero_grad,
                                Hook::on_before_backward,
                                Hook::on_after_backward,
                                Hook::on_before_optimizer_step,
                                Hook::on_train_batch_end,
                                Hook::on_validation_model_eval,
                                Hook::on_validation_start,
                                Hook::on_validation_epoch_start,
                                Hook::on_validation_batch_start,
                                Hook::on_validation_batch_end,
                                Hook::on_validation_epoch_end,
                                Hook::on_validation_end,
                                Hook::on_train_epoch_end,
                                Hook::on_train_end,
                                Hook::on_fit_end,
                                Hook::teardown};
  for (const Hook hook : hooks) {
    SCOPED_TRACE(hook_name(hook));
    TempDir dir;
    Thrower net(hook);
    auto logger = std::make_shared<StatusLoggerImpl>();
    TrainerOptions options{.logger = Logger(logger),
                           .callbacks = {ModelCheckpoint({.dirpath = dir.path(), .every_n_train_steps = 1})},
                           .max_epochs = 2,
                           .enable_progress_bar = false};
    Trainer trainer(options);
    try {
      trainer.fit(net, batches(3), batches(2));
      ADD_FAILURE() << "no exception";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), hook_name(hook));
    }
    EXPECT_EQ(logger->status, "failed");
    EXPECT_FALSE(net.has_trainer());
    EXPECT_TRUE(net.is_training());
    for (const auto& file : std::filesystem::directory_iterator(dir.path()))
      EXPECT_NO_THROW(load_checkpoint(file.path().string()));
    // The same trainer and model go on.
    net.bad = Hook::none;
    Trainer again(quiet(1));
    again.fit(net, batches(3), batches(2));
    EXPECT_EQ(again.global_step(), 3);
  }
}

// --- signals ---

// What `action` leaves behind as a process of its own.
template <class F>
int status_of(const F& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(STDERR_FILENO);
    at::set_num_threads(1);
    action();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST(Signals, EndARunAtABatchWithACheckpointAndTheSignalsStatus) {
  for (const int signal : {SIGINT, SIGTERM}) {
    TempDir dir;
    const int status = status_of([&] {
      Counter net;
      net.on_batch = [&](Counter& c) {
        if (c.seen.size() == 7) ::raise(signal);
      };
      Trainer({.logger = false, .max_epochs = 4, .enable_progress_bar = false, .default_root_dir = dir.path()})
          .fit(net, batches(5));
    });
    ASSERT_TRUE(WIFSIGNALED(status));
    EXPECT_EQ(WTERMSIG(status), signal);

    // In a process of its own, too: torch refuses to go on in a fork of one that has run backward.
    const int resumed = status_of([&] {
      Counter net;
      Trainer trainer(quiet(4));
      trainer.fit(net, batches(5), {.ckpt_path = dir / "checkpoints/interrupted.ckpt"});
      const bool right = net.seen.size() == 13 && net.seen.front() == 2 && net.w.item<double>() == -20;
      ::_exit(right ? 42 : 1);
    });
    ASSERT_TRUE(WIFEXITED(resumed));
    EXPECT_EQ(WEXITSTATUS(resumed), 42);
  }
}

TEST(Interruption, WithinAValidationAreAnsweredBeforeItsEnd) {
  TempDir dir;
  struct Slow : Counter {
    void validation_step(const Batch&, std::int64_t batch_idx) override {
      if (batch_idx == 1) request_interrupt();
      ++steps;
      log("val", 1.0);
    }
    void validation_step(const Batch& batch, std::int64_t i, std::int64_t) override { validation_step(batch, i); }
    void on_validation_epoch_end() override { ++ends; }
    int steps = 0, ends = 0;
  } net;
  {
    Trainer trainer({.logger = false,
                     .max_epochs = 1,
                     .num_sanity_val_steps = 0,
                     .enable_progress_bar = false,
                     .default_root_dir = dir.path()});
    trainer.fit(net, batches(2), batches(5));
    request_interrupt(false);
    EXPECT_TRUE(trainer.interrupted());
    EXPECT_EQ(net.steps, 2);
    EXPECT_EQ(net.ends, 0);
    EXPECT_FALSE(trainer.find_metric("val"));
    EXPECT_EQ(trainer.interrupted_checkpoint(), dir / "checkpoints/interrupted.ckpt");
  }
  // The validation that was broken off is done first.
  Counter second;
  Trainer trainer(quiet(2));
  trainer.fit(second, batches(2), batches(3), {.ckpt_path = dir / "checkpoints/interrupted.ckpt"});
  EXPECT_EQ(second.validated_after, (Counts{2, 4}));
  EXPECT_EQ(second.seen.size(), 2u);
}

TEST(Signals, AHandlerOfTheProgramsOwnIsLeftAlone) {
  const int status = status_of([] {
    ::signal(SIGTERM, SIG_IGN);
    Counter net;
    net.on_batch = [](Counter&) { ::raise(SIGTERM); };
    Trainer trainer(quiet(1));
    trainer.fit(net, batches(3));
    ::_exit(trainer.interrupted() || net.seen.size() != 3 ? 1 : 42);
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
}

TEST(Signals, ASlurmJobIsSavedRequeuedAndGoesOn) {
  TempDir dir;
  {
    std::ofstream out(dir / "scontrol");
    out << "#!/bin/sh\necho \"$@\" > " << dir / "requeued\n";
  }
  ::chmod((dir / "scontrol").c_str(), 0755);
  const auto options = [&] {
    auto o = quiet(4);
    o.default_root_dir = dir.path();
    return o;
  };
  const auto in_job = [&] {
    ::setenv("SLURM_JOB_ID", "77", 1);
    ::setenv("SLURM_JOB_NAME", "train", 1);
    ::setenv("PATH", (dir.path() + ":" + std::getenv("PATH")).c_str(), 1);
  };
  const int status = status_of([&] {
    in_job();
    Counter net;
    net.on_batch = [](Counter& c) {
      if (c.seen.size() == 7) ::raise(SIGUSR1);
    };
    Trainer(options()).fit(net, batches(5));
  });
  EXPECT_TRUE(WIFSIGNALED(status));
  std::ifstream in(dir / "requeued");
  std::string line;
  std::getline(in, line);
  EXPECT_EQ(line, "requeue 77");
  EXPECT_EQ(last_hpc_checkpoint(dir.path()), dir / "hpc_ckpt_0.ckpt");

  const int second = status_of([&] {
    in_job();
    Counter net;
    Trainer trainer(options());
    trainer.fit(net, batches(5));
    ::_exit(net.seen.size() == 13 && trainer.current_epoch() == 4 ? 42 : 1);
  });
  ASSERT_TRUE(WIFEXITED(second));
  EXPECT_EQ(WEXITSTATUS(second), 42);
}

}  // namespace
}  // namespace levin
