// Lightning's callbacks and its learning rate finder: their numbers, and that a resumed fit ends with the same bits.
#include "train/lightning_runs.h"
#include "train/toy.h"

#include <levin/train/summary.h>

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <new>
#include <sstream>

namespace levin {
namespace {

using nlohmann::json;
using testing::lightning_golden;
using testing::TempDir;

// The network and data of tests/golden/scripts/lightning_callbacks.py.
struct NetOptions {
  bool batch_norm = false, head_only = false;
  double lr = 0.05;
  bool scheduler = false;
};

struct Net : Module {
  explicit Net(NetOptions options = {}) : o(options) {
    first = torch::nn::Linear(3, 4);
    backbone = torch::nn::Sequential(first);
    if (o.batch_norm) {
      backbone->push_back(torch::nn::BatchNorm1d(4));
    } else {
      backbone->push_back(torch::nn::Identity());
    }
    backbone->push_back(torch::nn::Tanh());
    register_module("backbone", backbone);
    head = register_module("head", torch::nn::Linear(4, 1));
    const torch::NoGradGuard no_grad;
    double i = 0;
    for (const torch::Tensor& p : {first->weight, first->bias, head->weight, head->bias})
      p.copy_((torch::arange(p.numel(), torch::kDouble) * 1.7 + i++).sin().mul(0.5).reshape(p.sizes()));
  }
  torch::Tensor loss(const Batch& batch) {
    return torch::mse_loss(head->forward(backbone->forward(batch[0])), batch[1]);
  }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    auto value = loss(batch);
    log("train_loss", value);
    return value;
  }
  void validation_step(const Batch& batch, std::int64_t) override {
    const auto value = loss(batch);
    val_losses.push_back(value.item<double>());
    log("val_loss", value);
  }
  void on_train_epoch_end() override {
    auto& rates = lrs.emplace_back();
    for (const optim::Group& group : trainer().optimizer().param_groups()) rates.push_back(group.lr);
  }
  Optimizers configure_optimizers() override {
    std::vector<torch::Tensor> trained;
    for (const torch::Tensor& p : parameters()) {
      if (!o.head_only || p.requires_grad()) trained.push_back(p);
    }
    optim::SGD sgd(trained, {.lr = o.lr, .momentum = 0.9});
    if (!o.scheduler) return sgd;
    return {sgd, {.scheduler = optim::StepLR(sgd, {.step_size = 2, .gamma = 0.5})}};
  }

  NetOptions o;
  torch::nn::Linear first{nullptr}, head{nullptr};
  torch::nn::Sequential backbone;
  std::vector<std::vector<double>> lrs;
  std::vector<double> val_losses;
};

DataLoader samples(std::int64_t batch_size) {
  const auto x = torch::arange(72, torch::kDouble).sin().reshape({24, 3}).to(torch::kFloat);
  return {TensorDataset({x, x.sum(1, true)}), {.batch_size = batch_size}};
}

TrainerOptions with(std::vector<Callback> callbacks, std::int64_t epochs) {
  TrainerOptions options = testing::quiet(epochs);
  options.callbacks = std::move(callbacks);
  options.num_sanity_val_steps = 0;
  return options;
}

struct Quiet {
  Quiet() { console::set_level(console::Level::error); }
  ~Quiet() { console::set_level(console::Level::info); }
};

void expect_near(const std::vector<double>& ours, const json& golden, double tolerance, const std::string& what) {
  ASSERT_EQ(ours.size(), golden.size()) << what;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double expected = golden[i];
    EXPECT_NEAR(ours[i], expected, tolerance * std::max(1.0, std::abs(expected))) << what << i;
  }
}

void expect_lightnings(const Net& net, const std::string& name, std::size_t epochs) {
  const json golden = lightning_golden("lightning_callbacks.json")["cases"][name];
  std::size_t compared = 0;
  for (const auto& [key, value] : state_dict(net)) {
    const auto numbers = value.as_tensor().to(torch::kDouble).flatten().contiguous();
    expect_near({numbers.data_ptr<double>(), numbers.data_ptr<double>() + numbers.numel()},
                golden["state"][key.as_string()], 1e-4, name + " " + key.as_string());
    ++compared;
  }
  EXPECT_EQ(compared, golden["state"].size());
  ASSERT_EQ(net.lrs.size(), epochs);
  for (std::size_t epoch = 0; epoch < epochs; ++epoch)
    expect_near(net.lrs[epoch], golden["lrs"][epoch], 1e-9, name + " lr of epoch " + std::to_string(epoch) + " ");
  expect_near(net.val_losses, golden["val_losses"], 1e-5, name + " val_loss ");
}

void expect_case(const std::string& name, NetOptions options, const Callback& callback, std::int64_t epochs, bool val) {
  const Quiet quiet;
  Net net(options);
  Trainer trainer(with({callback}, epochs));
  trainer.fit(net, samples(4), val ? samples(24) : DataLoader());
  expect_lightnings(net, name, static_cast<std::size_t>(epochs));
}

TEST(LightningCallbacks, AverageWeights) {
  expect_case("ema", {}, EMAWeightAveraging({.decay = 0.9}), 3, true);
  expect_case("ema_settings", {},
              EMAWeightAveraging({.decay = 0.7,
                                  .update_every_n_steps = 2,
                                  .update_starting_at_step = 3,
                                  .update_starting_at_epoch = 1}),
              3, true);
  expect_case("mean", {}, WeightAveraging(), 2, true);
  expect_case("ema_buffers", {.batch_norm = true}, EMAWeightAveraging({.decay = 0.8}), 2, true);
  expect_case("ema_no_buffers", {.batch_norm = true}, EMAWeightAveraging({.use_buffers = false, .decay = 0.8}), 2,
              true);
}

TEST(LightningCallbacks, AverageWeightsStochastically) {
  expect_case("swa", {}, StochasticWeightAveraging({.swa_lrs = 0.01, .swa_epoch_start = 0.5, .annealing_epochs = 3}), 8,
              false);
  expect_case("swa_linear", {.scheduler = true},
              StochasticWeightAveraging({.swa_lrs = 0.02,
                                         .swa_epoch_start = 3,
                                         .annealing_epochs = 2,
                                         .annealing_strategy = optim::AnnealStrategy::linear}),
              7, false);
  expect_case("swa_batch_norm", {.batch_norm = true},
              StochasticWeightAveraging({.swa_lrs = 0.01, .swa_epoch_start = 2, .annealing_epochs = 2}), 5, false);
}

TEST(LightningCallbacks, ScheduleAccumulation) {
  expect_case("accumulation", {}, GradientAccumulationScheduler({.scheduling = {{1, 3}, {3, 2}}}), 4, false);
}

TEST(LightningCallbacks, Finetune) {
  expect_case("backbone", {.head_only = true}, BackboneFinetuning({.unfreeze_backbone_at_epoch = 1}), 6, false);
  expect_case("backbone_settings", {.batch_norm = true, .head_only = true},
              BackboneFinetuning({.unfreeze_backbone_at_epoch = 2,
                                  .lambda_func = [](std::int64_t) { return 1.5; },
                                  .backbone_initial_lr = 0.01,
                                  .should_align = false}),
              5, false);
}

// --- resumed at any moment, the callbacks go on as if nothing had been ---

struct SaverImpl : CallbackImpl {
  SaverImpl(std::string where, std::int64_t at) : path(std::move(where)), batch(at) {}
  void on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    if (trainer.total_batches() == batch) trainer.save_checkpoint(path);
  }
  std::string path;
  std::int64_t batch;
};

void expect_same_bits(const Net& a, const Net& b, const std::string& what) {
  const auto ours = state_dict(a), theirs = state_dict(b);
  for (const auto& [key, value] : ours)
    EXPECT_TRUE(value.as_tensor().equal(theirs.at(key.as_string()).as_tensor())) << what << key.as_string();
}

void expect_resumes(NetOptions options, const std::function<Callback()>& make) {
  const Quiet quiet;
  const TempDir dir;
  constexpr std::int64_t kEpochs = 4, kBatches = 6;
  Net whole(options);
  Trainer(with({make()}, kEpochs)).fit(whole, samples(4), samples(24));
  for (std::int64_t batch = 1; batch < kEpochs * kBatches; batch += 3) {
    const std::string path = dir / "saved.ckpt";
    {
      Net net(options);
      Trainer(with({make(), CallbackHolder<SaverImpl>(path, batch)}, kEpochs)).fit(net, samples(4), samples(24));
      expect_same_bits(net, whole, "saving changed ");
    }
    Net resumed(options);
    Trainer(with({make()}, kEpochs)).fit(resumed, samples(4), samples(24), {.ckpt_path = path});
    expect_same_bits(resumed, whole, "resumed after batch " + std::to_string(batch) + ": ");
  }
}

TEST(ResumedCallbacks, AverageOn) {
  expect_resumes({.batch_norm = true}, [] { return EMAWeightAveraging({.decay = 0.9}); });
  expect_resumes({}, [] { return EMAWeightAveraging({.decay = 0.9, .update_every_n_steps = 0,
                                                     .update_starting_at_epoch = 1}); });
}
TEST(ResumedCallbacks, AverageStochasticallyOn) {
  expect_resumes({.batch_norm = true, .scheduler = true}, [] {
    return StochasticWeightAveraging({.swa_lrs = 0.01, .swa_epoch_start = 2, .annealing_epochs = 2});
  });
}
TEST(ResumedCallbacks, AccumulateOn) {
  expect_resumes({}, [] { return GradientAccumulationScheduler({.scheduling = {{0, 2}, {2, 3}}}); });
}
TEST(ResumedCallbacks, FinetuneOn) {
  expect_resumes({.head_only = true, .scheduler = true}, [] {
    return BackboneFinetuning({.unfreeze_backbone_at_epoch = 1});
  });
}

TEST(WeightAveraging, CheckpointsHoldTheAverage) {
  const Quiet quiet;
  const TempDir dir;
  Net net;
  EMAWeightAveraging average({.decay = 0.5});
  ModelCheckpoint checkpoint({.dirpath = dir.path(), .filename = "last", .save_on_train_epoch_end = true});
  TrainerOptions options = with({average, checkpoint}, 1);
  options.enable_checkpointing = true;
  Trainer(std::move(options)).fit(net, samples(4), samples(24));
  const auto saved = load_checkpoint(dir / "last.ckpt");
  EXPECT_EQ(saved.at("averaging_state").as_dict().at("n_averaged").as_tensor().item<std::int64_t>(), 6);
  EXPECT_EQ(average->n_averaged(), 6);
  // The fit ended with the average in the module.
  const auto key = "backbone.0.weight";
  EXPECT_TRUE(saved.at("state_dict").as_dict().at(key).as_tensor().equal(net.first->weight));
  EXPECT_FALSE(saved.at("current_model_state").as_dict().at(key).as_tensor().equal(net.first->weight));
}

// --- the others ---

TEST(Timer, StopsAndGoesOnCounting) {
  const Quiet quiet;
  Net net;
  Timer timer({.duration = std::chrono::milliseconds(1)});
  Trainer trainer(with({timer}, 1000000));
  trainer.fit(net, samples(4), samples(24));
  EXPECT_LT(trainer.current_epoch(), 1000000);
  EXPECT_GE(timer->time_elapsed().count(), 1e-3);
  EXPECT_LE(timer->time_remaining()->count(), 0);
  EXPECT_GT(timer->time_elapsed(Stage::validate).count(), 0);
  Timer later({.duration = std::chrono::hours(1)});
  later->load_state_dict(timer->state_dict());
  EXPECT_EQ(later->time_elapsed(), timer->time_elapsed());
  EXPECT_EQ(timer->state_dict().at("time_elapsed").as_map().size(), 3u);
  EXPECT_THROW(Timer({.duration = std::chrono::milliseconds(0)}), Error);
  // min_epochs come first.
  Trainer waits([&] {
    TrainerOptions options = with({Timer({.duration = std::chrono::milliseconds(1), .interval = Interval::epoch})}, 50);
    options.min_epochs = 3;
    return options;
  }());
  Net other;
  waits.fit(other, samples(4));
  EXPECT_GE(waits.current_epoch(), 3);
}

TEST(LambdaCallback, CallsWhatItWasGivenAndNothingElse) {
  const Quiet quiet;
  std::vector<std::string> calls;
  LambdaCallback callback({.on_train_start = [&](Trainer&, Module&) { calls.emplace_back("start"); },
                           .on_train_batch_end = [&](Trainer&, Module&, const Batch& batch,
                                                     std::int64_t i) {
                             calls.push_back("batch " + std::to_string(i) + " of " +
                                             std::to_string(batch.batch_size()));
                           }});
  EXPECT_TRUE(callback.hooks().has(Hook::on_train_start));
  EXPECT_FALSE(callback.hooks().has(Hook::on_train_end));
  Net net;
  Trainer(with({callback}, 1)).fit(net, samples(12));
  EXPECT_EQ(calls, (std::vector<std::string>{"start", "batch 0 of 12", "batch 1 of 12"}));
}

TEST(GradientAccumulationScheduler, RefusesWhatContradicts) {
  const Quiet quiet;
  EXPECT_THROW(GradientAccumulationScheduler({.scheduling = {}}), Error);
  EXPECT_THROW(GradientAccumulationScheduler({.scheduling = {{-1, 2}}}), Error);
  EXPECT_THROW(GradientAccumulationScheduler({.scheduling = {{0, 0}}}), Error);
  TrainerOptions options = with({GradientAccumulationScheduler({.scheduling = {{0, 2}}})}, 1);
  options.accumulate_grad_batches = 3;
  Net net;
  EXPECT_THROW(Trainer(options).fit(net, samples(4)), Error);
  Net manual;
  manual.set_automatic_optimization(false);
  EXPECT_THROW(Trainer(with({GradientAccumulationScheduler({.scheduling = {{0, 2}}})}, 1)).fit(manual, samples(4)), Error);
}

TEST(BackboneFinetuning, NamesTheSubmodulesThatAreThere) {
  const Quiet quiet;
  Net net;
  try {
    Trainer(with({BackboneFinetuning({.backbone = "body"})}, 1)).fit(net, samples(4));
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("backbone"), std::string::npos) << error.what();
  }
}

std::string read_text(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(Monitors, ReportToTheLoggers) {
  const Quiet quiet;
  const TempDir dir;
  Net net;
  TrainerOptions options = with({ThroughputMonitor({.length_fn = [](const Batch& batch) { return batch[0].numel(); },
                                                    .window_size = 2,
                                                    .flops_per_batch = 1e6,
                                                    .available_flops = 1e12}),
                                 DeviceStatsMonitor()},
                                1);
  options.logger = CSVLogger({.save_dir = dir.path()});
  options.log_every_n_steps = 2;
  Trainer trainer(std::move(options));
  trainer.fit(net, samples(4), samples(8));
  const std::string text = read_text(trainer.log_dir() + "/metrics.csv");
  for (const char* name :
       {"train/time", "train/batches", "train/samples", "train/lengths", "train/device/batches_per_sec",
        "train/device/samples_per_sec", "train/device/items_per_sec", "train/device/flops_per_sec", "train/device/mfu",
        "validate/samples", "DeviceStatsMonitor.on_train_batch_start/cpu_vm_percent",
        "DeviceStatsMonitor.on_train_batch_end/cpu_percent", "DeviceStatsMonitor.on_validation_batch_end/cpu_percent",
        "DeviceStatsMonitor.on_train_batch_end/process_resident_bytes"}) {
    EXPECT_NE(text.find(name), std::string::npos) << name;
  }
  EXPECT_THROW(ThroughputMonitor({.window_size = 1}), Error);
  EXPECT_THROW(ThroughputMonitor({.available_flops = 1.0}), Error);
  Net other;
  EXPECT_THROW(Trainer(with({DeviceStatsMonitor()}, 1)).fit(other, samples(4)), Error);
}

TEST(ModelSummary, ShowsTheLevelsAskedFor) {
  const Net net;
  const std::string one = summarize(net), all = summarize(net, -1);
  EXPECT_EQ(one.find("backbone.0"), std::string::npos);
  EXPECT_NE(all.find("backbone.0"), std::string::npos);
  EXPECT_NE(all.find("Linear"), std::string::npos);
  EXPECT_NE(all.find("21 parameters"), std::string::npos) << all;
  EXPECT_THROW(ModelSummary({.max_depth = -2}), Error);
  TrainerOptions options = with({ModelSummary()}, 1);
  options.enable_model_summary = false;
  EXPECT_THROW(Trainer{options}, Error);
}

// --- lr_find and scale_batch_size ---

TEST(LRFind, FollowsLightning) {
  const Quiet quiet;
  const json golden = lightning_golden("lightning_callbacks.json")["lr_find"];
  const auto compare = [&](const char* name, const LRFindOptions& options) {
    Net net;
    const LRFindResult found = lr_find(net, samples(4), options);
    expect_near(found.lr, golden[name]["lr"], 1e-9, name);
    ASSERT_EQ(found.loss.size(), golden[name]["loss"].size());
    for (std::size_t i = 0; i < found.loss.size(); ++i) {
      const double expected = golden[name]["loss"][i];
      EXPECT_NEAR(found.loss[i], expected, 1e-3 * std::abs(expected)) << name << " " << i;
    }
    ASSERT_TRUE(found.suggestion());
    EXPECT_NEAR(*found.suggestion(), golden[name]["suggestion"].get<double>(), 1e-9);
  };
  compare("exponential", {.min_lr = 1e-4, .max_lr = 10, .num_training = 60});
  compare("linear", {.min_lr = 1e-3, .max_lr = 0.5, .num_training = 40, .mode = LRFindMode::linear,
                     .early_stop_threshold = std::nullopt});
}

TEST(LRFind, LeavesNoTrace) {
  const Quiet quiet;
  Net plain({.batch_norm = true}), tried({.batch_norm = true});
  torch::manual_seed(3);
  const auto state = torch::globalContext().defaultGenerator(torch::kCPU).get_state();
  DataLoader loader(samples(4).dataset(), {.batch_size = 4, .shuffle = true, .seed = 1});
  lr_find(tried, loader, {.num_training = 15});
  EXPECT_TRUE(torch::globalContext().defaultGenerator(torch::kCPU).get_state().equal(state));
  EXPECT_FALSE(tried.has_trainer());
  expect_same_bits(tried, plain, "");
  Trainer(with({}, 2)).fit(plain, DataLoader(samples(4).dataset(), {.batch_size = 4, .shuffle = true, .seed = 1}));
  Trainer(with({}, 2)).fit(tried, loader);
  expect_same_bits(tried, plain, "trained ");
  EXPECT_FALSE(LRFindResult({.lr = {1, 2}, .loss = {1, 2}}).suggestion());
  EXPECT_THROW(lr_find(tried, loader, {.min_lr = 1, .max_lr = 0.1}), Error);
  EXPECT_THROW(lr_find(tried, DataLoader()), Error);
}

TEST(ScaleBatchSize, FindsWhatFits) {
  const Quiet quiet;
  std::vector<std::int64_t> tried;
  const auto size_of = [&](std::int64_t fits, ScaleBatchSizeOptions options) {
    tried.clear();
    struct Bounded : Net {
      explicit Bounded(std::int64_t n) : most(n) {}
      torch::Tensor training_step(const Batch& batch, std::int64_t i) override {
        if (batch.batch_size() > most) throw std::bad_alloc();
        return Net::training_step(batch, i);
      }
      std::int64_t most;
    } net(fits);
    const Net before;
    const auto x = torch::zeros({1000, 3});
    const auto found = scale_batch_size(
        net,
        [&](std::int64_t size) -> DataLoader {
          tried.push_back(size);
          return {TensorDataset({x, x.sum(1, true)}), {.batch_size = size}};
        },
        std::move(options));
    expect_same_bits(net, before, "");
    return found;
  };
  EXPECT_EQ(size_of(100, {}), 64);
  EXPECT_EQ(tried, (std::vector<std::int64_t>{2, 4, 8, 16, 32, 64, 128}));
  EXPECT_EQ(size_of(100, {.mode = BatchSizeMode::binsearch, .margin = 0}), 100);
  EXPECT_EQ(size_of(100, {.mode = BatchSizeMode::binsearch}), 95);
  EXPECT_EQ(size_of(5000, {}), 1000);  // no more samples than there are
  EXPECT_EQ(size_of(5000, {.max_val = 256}), 256);
  EXPECT_EQ(size_of(5000, {.max_trials = 3}), 8);
  EXPECT_EQ(size_of(3, {.init_val = 64}), 2);
  EXPECT_THROW(size_of(0, {}), Error);
  EXPECT_THROW(size_of(1, {.init_val = 0}), Error);
  // What is no want of memory comes out.
  Net net;
  EXPECT_THROW(scale_batch_size(net, [](std::int64_t) { return DataLoader(); }), Error);
}

}  // namespace
}  // namespace levin
