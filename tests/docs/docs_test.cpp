// The code blocks of docs/, compiled and run. check_docs.py looks for each block here, word for word.
#include <levin/levin.h>

#include <gtest/gtest.h>

#include <filesystem>
#include <iostream>

namespace {

namespace tune = levin::tune;

struct Classifier : levin::Module {
  Classifier(int64_t width = 32) {
    save_hyperparameters({{"width", width}});
    net = register_module("net", torch::nn::Sequential(torch::nn::Linear(64, width), torch::nn::ReLU(), torch::nn::Linear(width, 10)));
    val_acc = register_metric("val_acc", levin::metrics::Accuracy());
  }

  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto loss = torch::cross_entropy_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.prog_bar = true});
    return loss;
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    auto logits = net->forward(batch[0]);
    val_acc->update(logits, batch[1]);
    log("val_loss", torch::cross_entropy_loss(logits, batch[1]));
    log("val_acc", val_acc, {.prog_bar = true});
  }
  levin::Optimizers configure_optimizers() override {
    levin::optim::AdamW adamw(parameters(), {.lr = 1e-2});
    return {adamw, {.scheduler = levin::optim::CosineAnnealingLR(adamw, {.T_max = 10})}};
  }

  torch::nn::Sequential net{nullptr};
  levin::metrics::Accuracy val_acc{nullptr};
};

struct StopAtAccuracyImpl : levin::CallbackImpl {
  explicit StopAtAccuracyImpl(double target) : target(target) {}
  void on_validation_end(levin::Trainer& trainer, levin::Module&) override {
    if (!trainer.sanity_checking() && trainer.metric("val_acc") >= target) trainer.stop();
  }
  double target;
};
using StopAtAccuracy = levin::CallbackHolder<StopAtAccuracyImpl>;

// A generator that learns to draw around 3, and a critic.
struct Gan : levin::Module {
  Gan() {
    generator = register_module("generator", torch::nn::Linear(1, 1));
    critic = register_module("critic", torch::nn::Sequential(torch::nn::Linear(1, 8), torch::nn::ReLU(), torch::nn::Linear(8, 1)));
  }

  torch::Tensor training_step(const levin::Batch& batch, int64_t, int64_t optimizer_idx) override {
    auto fake = generator->forward(torch::randn_like(batch[0]));
    if (optimizer_idx == 0) return -critic->forward(fake).mean();
    return critic->forward(fake.detach()).mean() - critic->forward(batch[0]).mean();
  }
  levin::Optimizers configure_optimizers() override {
    return {{.optimizer = levin::optim::Adam(generator->parameters(), {.lr = 1e-3}), .frequency = 5},
            {.optimizer = levin::optim::Adam(critic->parameters(), {.lr = 1e-3})}};
  }

  torch::nn::Linear generator{nullptr};
  torch::nn::Sequential critic{nullptr};
};

struct ManualGan : Gan {
  ManualGan() { set_automatic_optimization(false); }

  torch::Tensor training_step(const levin::Batch& batch, int64_t batch_idx, int64_t) override {
    for (levin::TrainerOptimizer& optimizer : optimizers()) {
      levin::ToggledOptimizer toggled(optimizer);
      optimizer.zero_grad();
      manual_backward(Gan::training_step(batch, batch_idx, optimizer.index()));
      optimizer.step();
    }
    return {};
  }
};

class Docs : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = std::filesystem::current_path();
    std::string pattern = (std::filesystem::temp_directory_path() / "levin_docs_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    std::filesystem::current_path(folder_);
    std::filesystem::create_directory_symlink(std::string(LEVIN_SOURCE_DIR) + "/data", "data");
  }
  void TearDown() override {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }

  static std::pair<levin::DataLoader, levin::DataLoader> loaders() {
    auto table = levin::read_csv("data/digits/digits.csv");
    levin::TensorDataset digits({table.drop("target").to_tensor() / 16, table.column("target").to(torch::kLong)});
    auto [train, val] = levin::random_split(digits, {0.8, 0.2}, {.seed = 0});
    return {levin::DataLoader(train, {.batch_size = 64, .shuffle = true}), levin::DataLoader(val, {.batch_size = 512})};
  }

  std::filesystem::path before_, folder_;
};

TEST_F(Docs, Training) {
  auto [train, val] = loaders();
  Classifier model;
  levin::ModelCheckpoint best({.monitor = "val_acc", .mode = levin::Mode::max, .save_last = true});
  levin::Trainer trainer({.logger = levin::CSVLogger({.save_dir = "runs", .name = "digits"}),
                          .callbacks = {best, levin::EarlyStopping({.monitor = "val_loss", .patience = 5}), StopAtAccuracy(0.95)},
                          .max_epochs = 10,
                          .limit_val_batches = levin::fraction(1.0),
                          .accumulate_grad_batches = 2,
                          .gradient_clip_val = 1.0});
  trainer.fit(model, train, val);
  std::cout << best->best_model_path() << " " << trainer.metric("val_acc") << '\n';
  EXPECT_GT(trainer.metric("val_acc"), 0.85);

  trainer.validate(model, val, {.ckpt_path = "best"});
  trainer.save_checkpoint("now.ckpt");
  Classifier again;
  levin::Trainer longer({.max_epochs = 12});
  longer.fit(again, train, val, {.ckpt_path = "now.ckpt"});
  EXPECT_EQ(longer.current_epoch(), 12);

  auto checkpoint = levin::load_checkpoint("now.ckpt");
  Classifier loaded(levin::checkpoint_hyperparameters(checkpoint).get<int64_t>("width"));
  levin::load_state_dict(loaded, checkpoint.at("state_dict").as_dict());
  EXPECT_TRUE(torch::equal(loaded.net->parameters()[0], model.net->parameters()[0]));
}

struct Logged : Classifier {
  Logged() { train_acc = register_metric("train_acc", levin::metrics::Accuracy()); }

  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    auto logits = net->forward(batch[0]);
    auto loss = torch::cross_entropy_loss(logits, batch[1]);
    train_acc->update(logits, batch[1]);
    log("loss", loss, {.prog_bar = true, .on_step = true, .on_epoch = true});
    log_dict({{"acc", train_acc}, {"largest", logits.abs().max()}}, {.on_step = false, .on_epoch = true});
    return loss;
  }
  void on_train_epoch_end() override { log("lr", trainer().optimizer().param_groups()[0].lr); }

  levin::metrics::Accuracy train_acc{nullptr};
};

struct GradientNormImpl : levin::CallbackImpl {
  void on_before_optimizer_step(levin::Trainer&, levin::Module& module, levin::optim::Optimizer& optimizer) override {
    auto sum = torch::zeros({});
    for (const auto& p : optimizer.parameters()) sum += p.grad().square().sum();
    module.log("grad_norm", sum.sqrt());
  }
};
using GradientNorm = levin::CallbackHolder<GradientNormImpl>;

TEST_F(Docs, Logging) {
  auto [train, val] = loaders();
  Logged model;
  levin::Trainer trainer({.logger = {levin::CSVLogger({.save_dir = "runs", .name = "digits", .x_axis = levin::XAxis::samples}),
                                     levin::TensorBoardLogger({.save_dir = "runs", .name = "board"})},
                          .callbacks = {GradientNorm()},
                          .max_epochs = 2,
                          .log_every_n_steps = 10});
  trainer.fit(model, train, val);
  std::cout << trainer.metric("loss_epoch") << " " << trainer.metric("val_acc") << '\n';
  EXPECT_TRUE(std::filesystem::exists("runs/digits/version_0/metrics.csv"));
  EXPECT_GT(trainer.metric("acc"), 0.1);
  EXPECT_GT(trainer.metric("grad_norm"), 0);
}

TEST_F(Docs, CompiledTraining) {
  auto [train, val] = loaders();
  Classifier model;
  levin::Trainer trainer({.max_epochs = 10, .compile = true});
  trainer.fit(model, train, val);
  EXPECT_GT(trainer.metric("val_acc"), 0.85);
}

TEST_F(Docs, PlainLoop) {
  auto [train, val] = loaders();
  torch::nn::Sequential model(torch::nn::Linear(64, 32), torch::nn::ReLU(), torch::nn::Linear(32, 10));
  levin::optim::SGD sgd(model->parameters(), {.lr = 0.1, .momentum = 0.9, .nesterov = true});
  levin::optim::StepLR schedule(sgd, {.step_size = 2, .gamma = 0.5});
  for (int epoch = 0; epoch < 3; ++epoch) {
    for (const auto& batch : train) {
      sgd.zero_grad();
      auto loss = torch::cross_entropy_loss(model->forward(batch[0]), batch[1]);
      loss.backward();
      levin::optim::clip_grad_norm_(sgd, 1.0);
      sgd.step();
    }
    schedule.step();
  }
  EXPECT_DOUBLE_EQ(sgd.param_groups()[0].lr, 0.05);
}

TEST_F(Docs, Loops) {
  auto [train, val] = loaders();
  Classifier model;
  levin::Trainer trainer({.logger = false,
                          .max_epochs = 3,
                          .max_time = std::chrono::hours(8),
                          .limit_train_batches = levin::fraction(0.5),
                          .limit_val_batches = levin::count(10),
                          .val_check_interval = levin::every(15, levin::Unit::steps),
                          .enable_checkpointing = false,
                          .enable_progress_bar = false});
  trainer.fit(model, train, val);
  EXPECT_EQ(trainer.global_step(), 33);

  levin::CombinedLoader both({train, val}, {.mode = levin::CombineMode::sequential});
  levin::Map metrics = trainer.validate(model, both);
  EXPECT_FALSE(metrics.empty());

  levin::DataLoader numbers(levin::TensorDataset({torch::randn({256, 1}) + 3}), {.batch_size = 32});
  levin::TrainerOptions brief{.logger = false, .max_epochs = 2, .enable_checkpointing = false, .enable_progress_bar = false};
  Gan gan;
  levin::Trainer(brief).fit(gan, numbers);
  ManualGan manual;
  levin::Trainer(brief).fit(manual, numbers);
}

TEST_F(Docs, Tables) {
  auto table = levin::read_csv("data/penguins/penguins.csv");
  auto [train_rows, val_rows] = [&] {
    auto order = levin::Rng(0, "split").permutation(table.rows());
    auto cut = order.begin() + 275;
    return std::pair(std::vector<int64_t>(order.begin(), cut), std::vector<int64_t>(cut, order.end()));
  }();
  levin::TablePreprocessor preprocessor({.target = "target", .impute = levin::Impute::median});
  preprocessor.fit(table.take(train_rows));
  levin::TensorDataset train(preprocessor.transform(table.take(train_rows)));
  levin::TensorDataset val(preprocessor.transform(table.take(val_rows)));
  levin::Map saved = preprocessor.state();
  EXPECT_EQ(val.size(), 69);
  EXPECT_FALSE(saved.empty());
}

TEST_F(Docs, AskAndTell) {
  auto study = tune::create_study({.sampler = tune::TPESampler({.seed = 0}), .direction = tune::Direction::maximize});
  for (int i = 0; i < 20; ++i) {
    auto trial = study.ask();
    double x = trial.suggest_float("x", -1, 1);
    study.tell(trial, 1 - x * x);
  }
  std::cout << study.best_value() << " at " << study.best_params().to_string() << '\n';
  EXPECT_GT(study.best_value(), 0.9);
}

TEST_F(Docs, Optimize) {
  auto study = tune::create_study({.storage = "sqlite:///search.db", .study_name = "search", .load_if_exists = true});
  study.optimize(
      [](tune::Trial& trial) {
        auto lr = trial.suggest_float("lr", 1e-5, 1e-1, {.log = true});
        auto layers = trial.suggest_int("layers", 1, 3);
        double loss = std::pow(std::log10(lr) + 3, 2);
        for (int64_t i = 0; i < layers; ++i) {
          auto width = trial.suggest_int("width_" + std::to_string(i), 8, 128, {.log = true});
          trial.report(loss += 1.0 / static_cast<double>(width), i);
          if (trial.should_prune()) throw tune::TrialPruned();
        }
        return loss;
      },
      {.n_trials = 30, .timeout = 60, .n_jobs = 2});
  EXPECT_EQ(study.trials().size(), 30u);
}

}  // namespace
