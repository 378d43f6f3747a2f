// The training loop against numbers from PyTorch Lightning, and its rules one by one.
#include "train/toy.h"

#include <levin/core/csv.h>

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <functional>
#include <iterator>

namespace levin {
namespace {

using testing::golden_data;
using testing::GoldenNet;
using testing::quiet;
using testing::TempDir;

const std::string kGolden = std::string(LEVIN_SOURCE_DIR) + "/tests/golden/train/";

nlohmann::json lightning() {
  std::ifstream in(kGolden + "lightning_fit.json");
  return nlohmann::json::parse(in);
}

TEST(Fit, WeightsAndMetricsEqualLightnings) {
  TempDir dir;
  GoldenNet net;
  auto options = quiet(3);
  options.logger = CSVLogger({.save_dir = dir.path(), .name = "run", .version = "version_0"});
  options.callbacks = {LearningRateMonitor()};
  options.log_every_n_steps = 2;
  Trainer trainer(options);
  trainer.fit(net, DataLoader(golden_data(), {.batch_size = 2}), DataLoader(golden_data(), {.batch_size = 3}));

  const auto final = lightning()["final"];
  for (int i = 0; i < 2; ++i)
    EXPECT_NEAR(net.layer->weight[0][i].item<double>(), final["weight"][i].get<double>(), 1e-6);
  EXPECT_NEAR(net.layer->bias.item<double>(), final["bias"][0].get<double>(), 1e-6);
  for (const auto& [name, value] : final["callback_metrics"].items()) {
    if (name == "lr-SGD") continue;  // not a logged metric here
    EXPECT_NEAR(trainer.metric(name), value.get<double>(), 1e-6) << name;
  }

  // The same rows in the same order, cell by cell.
  const auto ours = csv::read(dir / "run/version_0/metrics.csv"), theirs = csv::read(kGolden + "lightning_metrics.csv");
  ASSERT_EQ(ours.rows, theirs.rows);
  ASSERT_EQ(ours.columns.size(), theirs.columns.size());
  for (const auto& column : theirs.columns) {
    const csv::Column& mine = ours.column(column.name);
    for (std::size_t row = 0; row < theirs.rows; ++row) {
      const double expected = column.numbers[row], actual = mine.numbers[row];
      if (column.name == "epoch" && std::isnan(expected)) continue;  // Lightning leaves it out of learning-rate rows
      if (std::isnan(expected)) {
        EXPECT_TRUE(std::isnan(actual)) << column.name << " row " << row;
      } else {
        EXPECT_NEAR(actual, expected, 1e-6) << column.name << " row " << row;
      }
    }
  }
}

// --- hooks ---

TEST(Hooks, OnlyOverriddenOnesAreKnown) {
  struct One : CallbackImpl {
    void on_train_end(Trainer&, Module&) override {}
  };
  struct Two : One {
    void on_fit_end(Trainer&, Module&) override {}
  };
  const auto set = overridden_hooks<Two, CallbackImpl>();
  EXPECT_TRUE(set.has(Hook::on_train_end));
  EXPECT_TRUE(set.has(Hook::on_fit_end));
  EXPECT_FALSE(set.has(Hook::on_train_batch_end));
  EXPECT_FALSE(set.has(Hook::setup));
}

// --- what a trainer keeps of a run ---

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

struct GoldenData : DataModule {
  explicit GoldenData(const Map& hparams) : batch_size(hparams.get<std::int64_t>("batch_size")) {
    save_hyperparameters(hparams);
  }
  DataLoader train_dataloader() override { return {golden_data(), {.batch_size = batch_size}}; }
  Map state_dict() const override { return {{"seen", seen}}; }
  void load_state_dict(const Map& state) override { seen = state.get<std::int64_t>("seen"); }
  std::int64_t batch_size, seen = 7;
};

TEST(Lifetimes, AModuleThatIsGoneIsAnError) {
  Trainer trainer(quiet(1));
  EXPECT_NE(message_of([&] { trainer.state(); }).find("has not run a module"), std::string::npos);
  {
    GoldenNet net;
    trainer.fit(net, DataLoader(golden_data(), {.batch_size = 2}));
    EXPECT_TRUE(trainer.state().defined());
    const GoldenNet copy(net);  // lives and ends on its own
  }
  EXPECT_NE(message_of([&] { trainer.state(); }).find("module of the last run is gone"), std::string::npos);
  EXPECT_NE(message_of([&] { trainer.save_checkpoint("nowhere.ckpt"); }).find("is gone"), std::string::npos);
  EXPECT_FALSE(trainer.callback_metrics().empty());
  GoldenNet next;
  {
    GoldenData data({{"batch_size", 2}});
    trainer.validate(next, DataLoader(golden_data(), {.batch_size = 5}), {.verbose = false});
    EXPECT_TRUE(trainer.state().defined());
    trainer.fit(next, data);
  }
  EXPECT_NE(message_of([&] { trainer.state(); }).find("data module of the last run is gone"), std::string::npos);
}

TEST(DataModules, HyperparametersAreSavedLoggedAndBuiltFrom) {
  const TempDir dir;
  GoldenNet net;
  net.save_hyperparameters({{"width", 3}});
  GoldenData data({{"batch_size", 2}});
  data.seen = 11;
  auto options = quiet(1);
  options.logger = CSVLogger({.save_dir = dir.path()});
  Trainer trainer(options);
  trainer.fit(net, data);
  std::ifstream file(trainer.log_dir() + "/hparams.yaml");
  const std::string logged((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_NE(logged.find("batch_size: 2"), std::string::npos) << logged;
  EXPECT_NE(logged.find("width: 3"), std::string::npos) << logged;

  const std::string path = dir / "saved.ckpt";
  trainer.save_checkpoint(path);
  const auto saved = load_checkpoint(path);
  EXPECT_EQ(saved.at("datamodule_hparams_name").as_string(), "kwargs");
  EXPECT_EQ(checkpoint_datamodule_hyperparameters(saved), (Map{{"batch_size", 2}}));
  const auto built = load_from_checkpoint<GoldenData>(path);
  EXPECT_EQ(built->batch_size, 2);
  EXPECT_EQ(built->seen, 11);
  EXPECT_EQ(load_from_checkpoint<GoldenData>(path, {{"batch_size", 4}})->batch_size, 4);
  trainer.validate(net, DataLoader(golden_data(), {.batch_size = 5}), {.verbose = false});
  trainer.save_checkpoint(path);
  EXPECT_NE(message_of([&] { load_from_checkpoint<GoldenData>(path); }).find("holds no hyperparameters"),
            std::string::npos);

  net.save_hyperparameters({{"batch_size", 5}});
  EXPECT_NE(message_of([&] { trainer.fit(net, data); }).find("different values"), std::string::npos);
}

// --- rules ---

// A parameter whose gradient is 1 in every batch: with SGD at rate 1, its value counts the update's size.
struct CountingNet : Module {
  CountingNet() { w = register_parameter("w", torch::zeros({1})); }
  torch::Tensor training_step(const Batch&, std::int64_t) override {
    ++train_batches;
    if (stop_at > 0 && train_batches == stop_at) trainer().stop();
    values.push_back(w.item<double>());
    return w.sum();
  }
  void validation_step(const Batch&, std::int64_t) override { ++val_batches; }
  Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 1.0}); }

  torch::Tensor w;
  int train_batches = 0, val_batches = 0, stop_at = 0;
  std::vector<double> values;
};

DataLoader five_batches() { return {TensorDataset({torch::zeros({5, 1})}), {.batch_size = 1}}; }

TEST(Fit, TheLastAccumulationWindowIsDividedByItsRealSize) {
  CountingNet net;
  auto options = quiet(1);
  options.accumulate_grad_batches = 2;
  Trainer trainer(options);
  trainer.fit(net, five_batches());
  EXPECT_EQ(net.values, (std::vector<double>{0, 0, -1, -1, -2}));
  EXPECT_DOUBLE_EQ(net.w.item<double>(), -3);
  EXPECT_EQ(trainer.global_step(), 3);
}

TEST(Fit, StopWaitsForTheMinima) {
  CountingNet net;
  net.stop_at = 2;
  auto options = quiet(10);
  options.min_steps = 4;
  Trainer trainer(options);
  trainer.fit(net, five_batches());
  EXPECT_EQ(trainer.global_step(), 4);

  CountingNet second;
  second.stop_at = 2;
  options = quiet(10);
  options.min_epochs = 2;
  Trainer epochs(options);
  epochs.fit(second, five_batches());
  EXPECT_EQ(epochs.current_epoch(), 2);
}

TEST(Fit, LimitsCountOrShare) {
  CountingNet net;
  auto options = quiet(2);
  options.limit_train_batches = fraction(0.5);
  options.limit_val_batches = count(3);
  options.num_sanity_val_steps = 0;
  Trainer trainer(options);
  trainer.fit(net, five_batches(), five_batches());
  EXPECT_EQ(net.train_batches, 4);
  EXPECT_EQ(net.val_batches, 6);
}

TEST(Fit, MaxTimeEndsARun) {
  CountingNet net;
  auto options = quiet(-1);
  options.max_time = std::chrono::milliseconds(30);
  Trainer trainer(options);
  trainer.fit(net, five_batches());
  EXPECT_GT(net.train_batches, 0);
  EXPECT_GE(trainer.training_time().count(), 0.03);
}

TEST(Fit, ClippingScalesTheGradient) {
  CountingNet net;
  auto options = quiet(1);
  options.gradient_clip_val = 0.25;
  Trainer trainer(options);
  trainer.fit(net, five_batches());
  EXPECT_NEAR(net.w.item<double>(), -5 * 0.25, 1e-5);
}

TEST(Fit, FastDevRunTouchesEverythingOnceAndSavesNothing) {
  TempDir dir;
  CountingNet net;
  Trainer trainer(
      {.fast_dev_run = 2, .enable_progress_bar = false, .enable_model_summary = false, .default_root_dir = dir.path()});
  trainer.fit(net, five_batches(), five_batches());
  EXPECT_EQ(net.train_batches, 2);
  EXPECT_EQ(net.val_batches, 2);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

// --- modes ---

struct ModeNet : Module {
  ModeNet() {
    frozen = register_module("frozen", torch::nn::BatchNorm1d(1));
    dropout = register_module("dropout", torch::nn::Dropout(0.5));
    w = register_parameter("w", torch::ones({1}));
    frozen->eval();
  }
  torch::Tensor training_step(const Batch&, std::int64_t) override {
    EXPECT_TRUE(is_training());
    EXPECT_TRUE(dropout->is_training());
    EXPECT_FALSE(frozen->is_training());
    EXPECT_TRUE(torch::GradMode::is_enabled());
    return w.sum();
  }
  void validation_step(const Batch&, std::int64_t) override { eval_step(); }
  void test_step(const Batch&, std::int64_t) override { eval_step(); }
  Batch predict_step(const Batch& batch, std::int64_t) override {
    eval_step();
    return batch;
  }
  void eval_step() {
    ++evals;
    EXPECT_FALSE(is_training());
    EXPECT_FALSE(dropout->is_training());
    EXPECT_FALSE(torch::GradMode::is_enabled());
  }
  Optimizers configure_optimizers() override { return optim::SGD(std::vector<torch::Tensor>{w}, {.lr = 0.1}); }

  torch::nn::BatchNorm1d frozen{nullptr};
  torch::nn::Dropout dropout{nullptr};
  torch::Tensor w;
  int evals = 0;
};

TEST(Modes, AreSetForEachStageAndPutBack) {
  ModeNet net;
  const torch::NoGradGuard callers_guard;  // fit records gradients all the same
  Trainer trainer(quiet(2));
  trainer.fit(net, five_batches(), five_batches());
  EXPECT_TRUE(net.is_training());
  EXPECT_FALSE(net.frozen->is_training());
  EXPECT_FALSE(torch::GradMode::is_enabled());
  trainer.test(net, five_batches());
  trainer.validate(net, five_batches());
  EXPECT_EQ(trainer.predict(net, five_batches()).size(), 5u);
  EXPECT_TRUE(net.is_training());
  EXPECT_FALSE(net.frozen->is_training());
  EXPECT_EQ(net.evals, 2 + 2 * 5 + 3 * 5);
}

TEST(Modes, InferenceModeIsTheDefaultOfEvaluation) {
  struct Net : Module {
    void test_step(const Batch&, std::int64_t) override { inference = torch::InferenceMode::is_enabled(); }
    bool inference = false;
  } net;
  Trainer(quiet(1)).test(net, five_batches());
  EXPECT_TRUE(net.inference);
  auto options = quiet(1);
  options.inference_mode = false;
  Trainer(options).test(net, five_batches());
  EXPECT_FALSE(net.inference);
}

TEST(Modes, TheSanityCheckDrawsNoRandomNumbers) {
  struct Net : CountingNet {
    void validation_step(const Batch&, std::int64_t) override { torch::rand({10}); }
    torch::Tensor training_step(const Batch& batch, std::int64_t i) override {
      if (train_batches == 0) first = torch::rand({1}).item<double>();
      return CountingNet::training_step(batch, i);
    }
    double first = 0;
  };
  double with = 0, without = 0;
  for (const bool sanity : {true, false}) {
    Net net;
    auto options = quiet(1);
    options.num_sanity_val_steps = sanity ? 2 : 0;
    seed_everything(5);
    Trainer(options).fit(net, five_batches(), five_batches());
    (sanity ? with : without) = net.first;
  }
  EXPECT_EQ(with, without);
}

// --- mistakes ---

template <class F>
std::string message_of(const F& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Mistakes, AreExplained) {
  EXPECT_EQ(message_of([] { Trainer({.accelerator = "gpuu", .max_epochs = 1}); }),
            "unknown accelerator: got \"gpuu\" (TrainerOptions); did you mean \"gpu\"?");
  EXPECT_EQ(message_of([] { Trainer({.max_epochs = 1, .accumulate_grad_batches = 0}); }),
            "accumulate_grad_batches must be at least 1: got 0 (TrainerOptions)");
  EXPECT_EQ(
      message_of([] { Trainer({.max_epochs = 1, .limit_train_batches = fraction(1.5)}); }),
      "limit_train_batches must be count(n) with n >= 0 or fraction(f) with f in [0, 1]: got 1.5 (TrainerOptions); "
      "for instance count(10) or fraction(0.1)");
  EXPECT_NE(message_of([] {
              Trainer({.callbacks = {ModelCheckpoint()}, .max_epochs = 1, .enable_checkpointing = false});
            }).find("contradicts"),
            std::string::npos);

  GoldenNet net;
  Trainer trainer(quiet(1));
  trainer.fit(net, DataLoader(golden_data(), {.batch_size = 2}));
  EXPECT_EQ(message_of([&] { trainer.metric("trainloss"); }),
            "no metric was logged under this name: got \"trainloss\"; did you mean \"train_loss\"?");
  EXPECT_NE(message_of([&] { trainer.test(net, five_batches()); }).find("does not override test_step"),
            std::string::npos);
  EXPECT_NE(message_of([&] { trainer.fit(net, DataLoader()); }).find("fit needs a training loader"), std::string::npos);
}

TEST(Mistakes, LoggingInTheWrongPlaceIsAnError) {
  struct Net : CountingNet {
    Optimizers configure_optimizers() override {
      log("x", 1.0);
      return CountingNet::configure_optimizers();
    }
  } net;
  EXPECT_NE(message_of([&] {
              Trainer(quiet(1)).fit(net, five_batches());
            }).find("log(\"x\") cannot be called from configure_optimizers"),
            std::string::npos);
}

TEST(Mistakes, AnExceptionReachesTheHooksTheLoggersAndTheCaller) {
  struct Net : CountingNet {
    torch::Tensor training_step(const Batch&, std::int64_t) override { throw std::runtime_error("boom"); }
    void on_exception(std::exception_ptr error) override {
      try {
        std::rethrow_exception(error);
      } catch (const std::runtime_error& e) {
        seen = e.what();
      }
    }
    std::string seen;
  } net;
  struct StatusLogger : LoggerImpl {
    void log_metrics(const MetricValues&, const LogPoint&) override {}
    void log_hyperparams(const Map&) override {}
    void finalize(std::string_view s) override { status = s; }
    std::string status;
  };
  auto logger = std::make_shared<StatusLogger>();
  auto options = quiet(1);
  options.logger = Logger(logger);
  Trainer trainer(options);
  EXPECT_THROW(trainer.fit(net, five_batches()), std::runtime_error);
  EXPECT_EQ(net.seen, "boom");
  EXPECT_EQ(logger->status, "failed");
  EXPECT_FALSE(net.has_trainer());
}

}  // namespace
}  // namespace levin
