// Modules as trials of a Tuner: real digits, paused, copied and given other learning rates.
#include <levin/data/table.h>
#include <levin/data/random_split.h>
#include <levin/data/tensor_dataset.h>
#include <levin/optim/lr_scheduler.h>
#include <levin/optim/sgd.h>
#include <levin/sweep/module_trainable.h>
#include <levin/train/checkpoint.h>
#include <levin/tune/schedulers/pbt.h>
#include <levin/tune/tuner.h>

#include <gtest/gtest.h>
#include <torch/nn.h>

#include <cmath>
#include <filesystem>

namespace levin::tune {
namespace {

namespace nn = torch::nn;

struct Classifier : Module {
  explicit Classifier(const Config& config) : lr(config.get<double>("lr")) {
    torch::manual_seed(0);
    net = register_module("net", nn::Sequential(nn::Linear(64, 32), nn::ReLU(), nn::Dropout(0.2), nn::Linear(32, 10)));
  }
  torch::Tensor training_step(const Batch& batch, int64_t) override {
    log("lr", trainer().optimizer().param_groups()[0].lr);
    auto loss = torch::cross_entropy_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.on_step = false, .on_epoch = true});
    return loss;
  }
  void validation_step(const Batch& batch, int64_t) override {
    log("val_acc", net->forward(batch[0]).argmax(1).eq(batch[1]).to(torch::kFloat).mean());
  }
  Optimizers configure_optimizers() override {
    optim::SGD sgd(parameters(), {.lr = lr, .momentum = 0.9});
    optim::StepLR decay(sgd, {.step_size = 1, .gamma = 0.9});
    return {sgd, {.scheduler = decay, .interval = Interval::epoch}};
  }
  double lr;
  nn::Sequential net{nullptr};
};

TrainableFactory digits() {
  static const auto parts = [] {
    auto table = read_csv(std::string(LEVIN_SOURCE_DIR) + "/data/digits/digits.csv");
    auto y = table.column("target").to(torch::kLong);
    auto x = table.drop("target").to_tensor() / 16;
    return random_split(TensorDataset({x, y}), {0.8, 0.2}, {.seed = 0});
  }();
  return module_trainable({.model = [](const Config& config) { return std::make_shared<Classifier>(config); },
                           .train = [](const Config&) -> DataLoader {
                             return {parts[0], {.batch_size = 64, .shuffle = true}};
                           },
                           .val = [](const Config&) -> DataLoader {
                             return {parts[1], {.batch_size = 512}};
                           }});
}

// Pauses after every result.
struct Polite : Scheduler {
  Decision on_trial_result(TunerControl&, Run&, const Metrics&) override { return Decision::pause; }
};

TEST(ModuleTrainable, PausingChangesNoBit) {
  const SearchSpace space{{"lr", grid_search({0.02, 0.1})}};
  const auto run = [&](const SchedulerRef& scheduler) {
    return Tuner(digits(), space,
                 {.metric = "train_loss", .scheduler = scheduler, .stop = {{"training_iteration", 3}}, .seed = 0})
        .fit();
  };
  const auto straight = run({}), paused = run(Polite());
  ASSERT_EQ(straight.size(), 2u);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(straight[i].error, "");
    EXPECT_EQ(straight[i].history, paused[i].history);
  }
}

TEST(ModuleTrainable, PopulationsTrainOnDigits) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);  // layers this small gain nothing from more
  const std::filesystem::path folder = std::filesystem::path(::testing::TempDir()) / "levin-module-trainable";
  std::filesystem::remove_all(folder);
  const auto pbt = std::make_shared<PopulationBasedTraining>(
      PopulationBasedTrainingOptions{.perturbation_interval = 2, .mutations = {{"lr", loguniform(1e-4, 1)}}});
  Tuner tuner(digits(), {{"lr", grid_search({1e-4, 1e-3, 0.02, 0.1})}},
              {.metric = "val_acc",
               .mode = Mode::max,
               .scheduler = pbt,
               .stop = {{"training_iteration", 8}},
               .seed = 0,
               .checkpoint = {.folder = folder, .frequency = 8},
               .on_result = [](const tune::Run& run, const Metrics& metrics) {
                 // Whatever it was copied from, its learning rate is its config's, as far as the schedule has come.
                 const double epoch = metrics.get<double>("epoch");
                 EXPECT_NEAR(metrics.get<double>("lr"), run.config.get<double>("lr") * std::pow(0.9, epoch - 1),
                             1e-6 * run.config.get<double>("lr"))
                     << "trial " << run.number << " epoch " << epoch;
               }});
  const auto results = tuner.fit();
  ASSERT_EQ(results.size(), 4u);
  EXPECT_EQ(results.num_errors(), 0u);
  // Those that began with hopeless learning rates took over another's weights, and are good in the end.
  EXPECT_GE(pbt->exploits().size(), 2u);
  for (const auto& result : results) EXPECT_GT(result.metrics.get<double>("val_acc"), 0.8) << result.number;
  const auto alone = Tuner(digits(), {{"lr", grid_search({1e-4})}},
                           {.metric = "val_acc", .mode = Mode::max, .stop = {{"training_iteration", 8}}, .seed = 0})
                         .fit();
  EXPECT_LT(alone[0].metrics.get<double>("val_acc"), 0.6);
  const auto saved = load_checkpoint((results[0].checkpoint_folder / "checkpoint_000008").string());
  EXPECT_EQ(saved.at("epoch").as_int(), 8);
  EXPECT_TRUE(saved.contains("pytorch-lightning_version"));
  std::filesystem::remove_all(folder);
  at::set_num_threads(threads);
}

TEST(ModuleTrainable, SaysWhatIsMissing) {
  EXPECT_THROW(module_trainable({}), Error);
  EXPECT_THROW(module_trainable({.model = [](const Config& c) { return std::make_shared<Classifier>(c); }}), Error);
}

}  // namespace
}  // namespace levin::tune
