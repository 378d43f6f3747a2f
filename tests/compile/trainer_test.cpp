// Trainer({.compile = true}) against the same training run eagerly.
#include <levin/levin.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>
#include <unistd.h>

namespace nn = torch::nn;

namespace {

struct Net : levin::Module {
  explicit Net(double dropout = 0) {
    net = register_module("net", nn::Sequential(nn::Linear(nn::LinearOptions(4, 16).bias(false)), nn::BatchNorm1d(16), nn::ReLU(),
                                                nn::Dropout(dropout), nn::Linear(16, 3)));
    accuracy = register_metric("accuracy", levin::metrics::Accuracy({.num_classes = 3}));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    ++training_steps;
    auto loss = torch::cross_entropy_loss(net->forward(batch[0]), batch[1]);
    log("train_loss", loss, {.on_step = true, .on_epoch = true});
    log("twice", loss * 2);
    return loss;
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    ++validation_steps;
    auto logits = net->forward(batch[0]);
    accuracy->update(logits, batch[1]);
    log("val_acc", accuracy);
    log("val_loss", torch::cross_entropy_loss(logits, batch[1]));
  }
  void test_step(const levin::Batch& batch, int64_t) override {
    log("test_loss", torch::cross_entropy_loss(net->forward(batch[0]), batch[1]));
  }
  levin::Batch predict_step(const levin::Batch& batch, int64_t) override { return {net->forward(batch[0]).argmax(1)}; }
  levin::Optimizers configure_optimizers() override {
    levin::optim::AdamW adamw(parameters(), {.lr = 0.02});
    return {adamw, {.scheduler = levin::optim::StepLR(adamw, {.step_size = 2, .gamma = 0.5})}};
  }

  nn::Sequential net{nullptr};
  levin::metrics::Accuracy accuracy{nullptr};
  int training_steps = 0, validation_steps = 0;
};

levin::DataLoader loader(int64_t samples, bool shuffle) {
  torch::manual_seed(5);
  auto x = torch::randn({samples, 4});
  auto y = x.slice(1, 0, 3).argmax(1);
  return {levin::TensorDataset({x, y}), {.batch_size = 16, .shuffle = shuffle}};
}

struct Outcome {
  levin::Map metrics;
  std::vector<torch::Tensor> parameters, buffers;
  std::vector<torch::Tensor> predictions;
  int training_steps, validation_steps;
};

Outcome run(levin::TrainerOptions options, bool compile, double dropout = 0) {
  options.compile = compile;
  options.logger = false;
  options.enable_checkpointing = options.enable_progress_bar = false;
  if (!options.max_epochs) options.max_epochs = 4;
  levin::seed_everything(3);
  Net net(dropout);
  levin::Trainer trainer(options);
  auto train = loader(72, true), val = loader(40, false);
  levin::seed_everything(4);
  trainer.fit(net, train, val);
  Outcome run{.metrics = trainer.callback_metrics(), .parameters = net.parameters(), .buffers = net.buffers(),
          .predictions = {}, .training_steps = net.training_steps, .validation_steps = net.validation_steps};
  for (const auto& [name, value] : trainer.test(net, val)) run.metrics[name] = value;
  for (const auto& batch : trainer.predict(net, val)) run.predictions.push_back(batch[0]);
  return run;
}

void expect_alike(const Outcome& eager, const Outcome& compiled) {
  for (const auto& [name, value] : eager.metrics) {
    ASSERT_TRUE(compiled.metrics.contains(name)) << name;
    EXPECT_NEAR(value.as_double(), compiled.metrics.at(name).as_double(), 1e-4) << name;
  }
  EXPECT_EQ(eager.metrics.size(), compiled.metrics.size());
  for (size_t i = 0; i < eager.parameters.size(); ++i) {
    EXPECT_TRUE(torch::allclose(eager.parameters[i], compiled.parameters[i], 1e-3, 1e-4)) << i;
  }
  for (size_t i = 0; i < eager.buffers.size(); ++i) {
    EXPECT_TRUE(torch::allclose(eager.buffers[i], compiled.buffers[i], 1e-3, 1e-4)) << i;
  }
  ASSERT_EQ(eager.predictions.size(), compiled.predictions.size());
  for (size_t i = 0; i < eager.predictions.size(); ++i) {
    EXPECT_TRUE(torch::equal(eager.predictions[i], compiled.predictions[i]));
  }
}

TEST(CompiledTrainer, TrainsAsTheEagerOne) {
  const Outcome eager = run({}, false), compiled = run({}, true);
  expect_alike(eager, compiled);
  // The short last batch has a program of its own; the code of the steps ran for captures alone.
  EXPECT_EQ(eager.training_steps, 4 * 5);
  EXPECT_EQ(compiled.training_steps, 2);
  EXPECT_LE(compiled.validation_steps, 2);
}

TEST(CompiledTrainer, AccumulatesClipsAndSchedules) {
  levin::TrainerOptions options{.accumulate_grad_batches = 2, .gradient_clip_val = 0.1};
  expect_alike(run(options, false), run(options, true));
  options.gradient_clip_algorithm = levin::ClipAlgorithm::value;
  options.gradient_clip_val = 0.01;
  expect_alike(run(options, false), run(options, true));
}

TEST(CompiledTrainer, DropsOutTheSameElements) { expect_alike(run({}, false, 0.3), run({}, true, 0.3)); }

// Handwritten digits: 1,437 to learn from, 360 to judge by.
struct DigitsNet : levin::Module {
  DigitsNet() {
    net = register_module("net", nn::Sequential(nn::Linear(64, 64), nn::BatchNorm1d(64), nn::ReLU(), nn::Dropout(0.3),
                                                nn::Linear(64, 10)));
    accuracy = register_metric("accuracy", levin::metrics::Accuracy({.num_classes = 10}));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t) override {
    return torch::cross_entropy_loss(net->forward(batch[0]), batch[1]);
  }
  void validation_step(const levin::Batch& batch, int64_t) override {
    const auto logits = net->forward(batch[0]);
    accuracy->update(logits, batch[1]);
    log("val_acc", accuracy);
    log("val_loss", torch::cross_entropy_loss(logits, batch[1]));
  }
  levin::Optimizers configure_optimizers() override { return levin::optim::AdamW(parameters(), {.lr = 3e-3}); }
  nn::Sequential net{nullptr};
  levin::metrics::Accuracy accuracy{nullptr};
};

TEST(CompiledTrainer, LearnsRealDataAsWell) {
  const auto table = levin::read_csv(LEVIN_SOURCE_DIR "/data/digits/digits.csv");
  const levin::TensorDataset all({table.drop("target").to_tensor() / 16, table.column("target").to(torch::kLong)});
  constexpr int kSeeds = 5;
  double accuracy[2] = {}, loss[2] = {};
  for (int seed = 0; seed < kSeeds; ++seed) {
    const auto parts = levin::random_split(all, {0.8, 0.2}, {.seed = static_cast<std::uint64_t>(seed)});
    for (const bool compile : {false, true}) {
      levin::seed_everything(seed);
      DigitsNet net;
      levin::Trainer trainer({.logger = false, .max_epochs = 8, .enable_checkpointing = false,
                              .enable_progress_bar = false, .compile = compile});
      trainer.fit(net, levin::DataLoader(parts[0], {.batch_size = 64, .shuffle = true}),
                  levin::DataLoader(parts[1], {.batch_size = 360}));
      accuracy[compile] += trainer.metric("val_acc") / kSeeds;
      loss[compile] += trainer.metric("val_loss") / kSeeds;
    }
  }
  // Half a percentage point is two of 360 digits.
  EXPECT_GT(accuracy[0], 0.95);
  EXPECT_NEAR(accuracy[1], accuracy[0], 0.005);
  EXPECT_NEAR(loss[1], loss[0], 0.02 * loss[0]);
}

struct AsksForTheEpoch : Net {
  torch::Tensor training_step(const levin::Batch& batch, int64_t idx) override {
    return Net::training_step(batch, idx) * (1.0 + static_cast<double>(current_epoch()));
  }
};

TEST(CompiledTrainer, RunsEagerlyWhatAsksForTheEpoch) {
  AsksForTheEpoch net;
  levin::Trainer trainer({.logger = false, .max_epochs = 2, .enable_checkpointing = false,
                          .enable_progress_bar = false, .compile = true});
  testing::internal::CaptureStderr();
  trainer.fit(net, loader(32, false));
  const std::string messages = testing::internal::GetCapturedStderr();
  EXPECT_NE(messages.find("training_step runs eagerly, not compiled"), std::string::npos) << messages;
  EXPECT_NE(messages.find("current_epoch()"), std::string::npos) << messages;
  EXPECT_GE(net.training_steps, 4);
}

struct Hooked : Net {
  void on_after_backward() override {
    auto grad = net->parameters()[0].grad();
    norms.push_back(grad.defined() ? grad.norm().item<double>() : -1);
  }
  std::vector<double> norms;
};

TEST(CompiledTrainer, ShowsGradientsToHooks) {
  std::vector<double> norms[2];
  for (const bool compile : {false, true}) {
    levin::seed_everything(1);
    Hooked net;
    levin::Trainer trainer({.logger = false, .max_epochs = 2, .enable_checkpointing = false,
                            .enable_progress_bar = false, .compile = compile});
    trainer.fit(net, loader(48, false));
    norms[compile] = net.norms;
  }
  ASSERT_EQ(norms[0].size(), norms[1].size());
  for (size_t i = 0; i < norms[0].size(); ++i) EXPECT_NEAR(norms[0][i], norms[1][i], 1e-5);
}

struct Adversaries : levin::Module {
  Adversaries() {
    a = register_module("a", nn::Linear(4, 4));
    b = register_module("b", nn::Linear(4, 1));
  }
  torch::Tensor training_step(const levin::Batch& batch, int64_t, int64_t optimizer) override {
    auto out = b->forward(torch::tanh(a->forward(batch[0]))).mean();
    log(optimizer == 0 ? "first" : "second", out);
    return optimizer == 0 ? out : -out;
  }
  levin::Optimizers configure_optimizers() override {
    return {{.optimizer = levin::optim::SGD(a->parameters(), {.lr = 0.1})},
            {.optimizer = levin::optim::SGD(b->parameters(), {.lr = 0.1})}};
  }
  nn::Linear a{nullptr}, b{nullptr};
};

TEST(CompiledTrainer, StepsSeveralOptimizers) {
  std::vector<torch::Tensor> ends[2];
  for (const bool compile : {false, true}) {
    levin::seed_everything(1);
    Adversaries net;
    levin::Trainer trainer({.logger = false, .max_epochs = 2, .enable_checkpointing = false,
                            .enable_progress_bar = false, .compile = compile});
    trainer.fit(net, loader(48, false));
    ends[compile] = net.parameters();
  }
  for (size_t i = 0; i < ends[0].size(); ++i) EXPECT_TRUE(torch::allclose(ends[0][i], ends[1][i], 1e-5, 1e-6));
}

// --- blocks: batches of data in memory run one after the other without a call between them ---

// Wants every batch, so that they run one by one.
struct LooksImpl : levin::CallbackImpl {
  void on_train_batch_end(levin::Trainer&, levin::Module&, const levin::Batch&, int64_t) override {}
  void on_validation_batch_end(levin::Trainer&, levin::Module&, const levin::Batch&, int64_t) override {}
};
using Looks = levin::CallbackHolder<LooksImpl>;

struct InBlocks : Net {
  explicit InBlocks(std::function<levin::Optimizers(InBlocks&)> optimizers, double dropout)
      : Net(dropout), make(std::move(optimizers)) {}
  torch::Tensor training_step(const levin::Batch& batch, int64_t batch_idx) override {
    if (!metric) return Net::training_step(batch, batch_idx);
    auto logits = net->forward(batch[0]);
    accuracy->update(logits, batch[1]);
    log("train_acc", accuracy);
    auto loss = torch::cross_entropy_loss(logits, batch[1]);
    log("weighted", loss, {.on_step = false, .on_epoch = true, .reduce_fx = levin::Reduce::max, .batch_size = 3});
    return loss;
  }
  levin::Optimizers configure_optimizers() override { return make ? make(*this) : Net::configure_optimizers(); }
  std::function<levin::Optimizers(InBlocks&)> make;
  bool metric = false;
};

struct BlockCase {
  std::string name;
  levin::TrainerOptions options = {};
  std::function<levin::DataLoader(levin::Dataset)> load = [](levin::Dataset data) {
    return levin::DataLoader(data, {.batch_size = 16, .shuffle = true, .seed = 2});
  };
  std::function<levin::DataLoader(levin::Dataset)> load_val = [](levin::Dataset data) {
    return levin::DataLoader(levin::Subset(data, {1, 3, 5, 7, 9, 11, 13, 15, 17, 19}), {.batch_size = 4});
  };
  std::function<levin::Optimizers(InBlocks&)> optimizers = {};
  double dropout = 0;
  bool metric = false;
  bool in_blocks = true;
  std::optional<levin::ModelCheckpointOptions> checkpoints = {};
};

std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What a run leaves behind.
struct Traces {
  levin::Checkpoint state;
  std::string rows;                // of the CSV logger
  std::vector<std::string> files;  // of the checkpoints
  std::string explained;
};

std::filesystem::path folder_of(const std::string& name) {
  return std::filesystem::temp_directory_path() / ("levin_blocks_" + std::to_string(::getpid()) + "_" + name);
}

Traces run_case(const BlockCase& test, bool blocks, const std::string& resume = {},
                const std::function<void()>& meanwhile = {}) {
  torch::manual_seed(5);
  auto x = torch::randn({203, 4});
  const levin::TensorDataset data({x, x.slice(1, 0, 3).argmax(1)});
  levin::seed_everything(3);
  InBlocks net(test.optimizers, test.dropout);
  net.metric = test.metric;
  const auto folder = folder_of("logs");
  std::filesystem::remove_all(folder);
  auto options = test.options;
  if (!options.max_epochs) options.max_epochs = 5;
  options.enable_progress_bar = options.enable_model_summary = false;
  options.logger = levin::CSVLogger({.save_dir = folder.string(), .version = "run"});
  options.enable_checkpointing = test.checkpoints.has_value();
  if (!options.compile.on()) options.compile = true;
  if (!blocks) options.callbacks.push_back(Looks());
  std::optional<levin::ModelCheckpoint> saves;
  if (test.checkpoints) {
    auto how = *test.checkpoints;
    how.dirpath = folder_of("checkpoints").string();
    if (resume.empty()) std::filesystem::remove_all(how.dirpath);
    options.callbacks.push_back(saves.emplace(how));
  }
  levin::Trainer trainer(options);
  const auto val = test.load_val(data);
  levin::seed_everything(4);
  std::optional<std::thread> thread;
  if (meanwhile) thread.emplace(meanwhile);
  trainer.fit(net, test.load(data), val, {.ckpt_path = resume});
  if (thread) thread->join();
  Traces traces{.state = trainer.dump_checkpoint(), .rows = {}, .files = {}, .explained = trainer.explain_compiled()};
  traces.state["levin"].as_dict()["training_time"] = nullptr;
  traces.state["callbacks"] = nullptr;  // holds paths
  std::filesystem::create_directories(folder);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().filename() == "metrics.csv") traces.rows = read_file(entry.path());
  }
  if (saves) {
    for (const auto& entry : std::filesystem::directory_iterator((*saves)->dirpath())) {
      traces.files.push_back(entry.path().filename().string());
    }
    std::ranges::sort(traces.files);
  }
  std::filesystem::remove_all(folder);
  return traces;
}

void expect_same(const levin::PickleValue& a, const levin::PickleValue& b, const std::string& where) {
  if (a == b) return;
  const auto named = [](const levin::PickleValue& value) {
    return value.is_dict() &&
           std::ranges::all_of(value.as_dict(), [](const auto& entry) { return entry.first.is_string(); });
  };
  if (named(a) && named(b) && a.as_dict().size() == b.as_dict().size()) {
    for (const auto& [key, value] : a.as_dict()) {
      const auto* other = b.as_dict().find(key.as_string());
      ASSERT_NE(other, nullptr) << where;
      expect_same(value, *other, where + "/" + key.as_string());
    }
  } else if ((a.is_list() || a.is_tuple()) && a.as_list().size() == b.as_list().size()) {
    for (size_t i = 0; i < a.as_list().size(); ++i) {
      expect_same(a.as_list()[i], b.as_list()[i], where + "/" + std::to_string(i));
    }
  } else {
    ADD_FAILURE() << where << " differs";
  }
}

// But for what a resumed run does not know of the one before.
void expect_same_end(Traces a, Traces b) {
  for (Traces* traces : {&a, &b}) {
    for (const char* key : {"train_loaded_epoch", "val_loaded_epoch", "loggers"}) {
      traces->state["levin"].as_dict()[key] = nullptr;
    }
  }
  expect_same(levin::PickleValue(a.state), levin::PickleValue(b.state), "state");
}

void expect_same(const Traces& a, const Traces& b) {
  expect_same(levin::PickleValue(a.state), levin::PickleValue(b.state), "state");
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_FALSE(a.rows.empty());
  EXPECT_EQ(a.files, b.files);
}

std::vector<BlockCase> block_cases() {
  using levin::count, levin::every, levin::Unit, levin::DataLoader, levin::Dataset;
  const auto by_step = [](levin::LRSchedulerConfig config) {
    return [config](InBlocks& net) -> levin::Optimizers {
      levin::optim::AdamW adamw(net.parameters(), {.lr = 0.02});
      auto own = config;
      own.interval = levin::Interval::step;
      own.scheduler = own.monitor.empty()
                          ? levin::optim::LRScheduler(levin::optim::CosineAnnealingLR(adamw, {.T_max = 20}))
                          : levin::optim::LRScheduler(levin::optim::ReduceLROnPlateau(adamw, {.patience = 1}));
      return {adamw, own};
    };
  };
  return {
      {.name = "shuffled"},
      {.name = "in_order", .load = [](Dataset data) { return DataLoader(data, {.batch_size = 16}); }},
      {.name = "drop_last",
       .load = [](Dataset data) { return DataLoader(data, {.batch_size = 16, .drop_last = true}); }},
      {.name = "subset_of_subset",
       .load =
           [](Dataset data) {
             std::vector<int64_t> even, third;
             for (int64_t i = 0; i < data.size(); i += 2) even.push_back(i);
             for (int64_t i = 0; i < static_cast<int64_t>(even.size()); i += 3) third.push_back(i);
             return DataLoader(levin::Subset(levin::Subset(data, even), third),
                               {.batch_size = 4, .shuffle = true, .seed = 4});
           }},
      {.name = "subset_in_order",
       .load =
           [](Dataset data) {
             return DataLoader(levin::Subset(data, {5, 4, 3, 2, 1, 100, 90, 80, 70, 60, 50, 40}), {.batch_size = 4});
           }},
      {.name = "samples_alone",
       .load =
           [](Dataset data) {
             return DataLoader(levin::Subset(data, {1, 2, 3, 4}), {.batch_size = 2, .shuffle = true, .seed = 1});
           }},
      {.name = "batch_sampler",
       .load =
           [](Dataset data) {
             return DataLoader(data, {.batch_sampler = levin::BatchSampler(levin::RandomSampler(data.size()), 10)});
           }},
      {.name = "two_validation_loaders",
       .load_val =
           [](Dataset data) {
             const DataLoader first(levin::Subset(data, {2, 4, 6, 8, 10, 12, 14}), {.batch_size = 2});
             return levin::CombinedLoader({first, DataLoader(data, {.batch_size = 50})},
                                          {.mode = levin::CombineMode::sequential});
           }},
      {.name = "two_training_loaders",
       .load =
           [](Dataset data) {
             const DataLoader part(data, {.batch_size = 29});
             return levin::CombinedLoader({part, DataLoader(data, {.batch_size = 50})},
                                          {.mode = levin::CombineMode::sequential});
           },
       .in_blocks = false},
      {.name = "log_every_3_steps", .options = {.log_every_n_steps = 3}},
      {.name = "never_log", .options = {.val_check_interval = count(4), .log_every_n_steps = 0}},
      {.name = "validate_across", .options = {.val_check_interval = every(7, Unit::steps), .log_every_n_steps = 5}},
      {.name = "validate_counting", .options = {.val_check_interval = count(5), .check_val_every_n_epoch = {}}},
      {.name = "validate_every_second_epoch",
       .options = {.val_check_interval = count(5), .check_val_every_n_epoch = 2}},
      {.name = "max_steps_in_a_block", .options = {.max_steps = 31}},
      {.name = "limited", .options = {.limit_train_batches = count(7)}},
      {.name = "overfit", .options = {.overfit_batches = count(3)}},
      {.name = "accumulated", .options = {.log_every_n_steps = 3, .accumulate_grad_batches = 5}},
      {.name = "accumulated_as_lightning", .options = {.accumulate_grad_batches = 4, .lightning_compat = true}},
      {.name = "clipped", .options = {.gradient_clip_val = 0.1}},
      {.name = "cosine_by_step", .optimizers = by_step({.frequency = 1})},
      {.name = "cosine_by_third_step",
       .options = {.accumulate_grad_batches = 2},
       .optimizers = by_step({.frequency = 3})},
      {.name = "plateau_by_step", .optimizers = by_step({.frequency = 6, .monitor = "train_loss_step"})},
      {.name = "not_flat",
       .optimizers =
           [](InBlocks& net) { return levin::Optimizers(levin::optim::RMSprop(net.parameters(), {.lr = 0.01})); }},
      {.name = "dropped_out", .dropout = 0.3},
      {.name = "dropped_out_fast", .options = {.compile = levin::CompileOptions{.fast_dropout = true}}, .dropout = 0.3},
      {.name = "metric_objects", .metric = true},
      {.name = "monitors_rates",
       .options = {.callbacks = {levin::LearningRateMonitor()}, .log_every_n_steps = 4},
       .optimizers = by_step({.frequency = 1})},
      {.name = "saves_by_steps",
       .checkpoints = levin::ModelCheckpointOptions{.save_top_k = -1, .every_n_train_steps = 4}},
      {.name = "saves_by_steps_accumulated",
       .options = {.accumulate_grad_batches = 3},
       .checkpoints = levin::ModelCheckpointOptions{.monitor = "twice", .save_top_k = 2, .every_n_train_steps = 2}},
      {.name = "worker",
       .load = [](Dataset data) { return DataLoader(data, {.batch_size = 16, .num_workers = 1}); },
       .in_blocks = false},
      {.name = "transformed",
       .load =
           [](Dataset data) {
             return DataLoader(
                 data,
                 {.batch_size = 16, .transform = [](const levin::Batch& b, const levin::BatchContext&) { return b; }});
           },
       .in_blocks = false},
  };
}

TEST(CompiledBlocks, GiveTheBitsOfOneBatchAfterTheOther) {
  for (const BlockCase& test : block_cases()) {
    SCOPED_TRACE(test.name);
    const Traces blocks = run_case(test, true), one_by_one = run_case(test, false);
    expect_same(blocks, one_by_one);
    const std::string training = blocks.explained.substr(0, blocks.explained.find("validation_step"));
    EXPECT_EQ(training.find("batches ran in blocks") != std::string::npos, test.in_blocks) << blocks.explained;
    EXPECT_EQ(one_by_one.explained.find("ran in blocks"), std::string::npos) << one_by_one.explained;
    EXPECT_NE(one_by_one.explained.find("a callback"), std::string::npos) << one_by_one.explained;
  }
}

void expect_resumed(levin::CompileOptions compile) {
  BlockCase test{
      .name = "resumed",
      .options = {.compile = compile},
      .dropout = 0.2,
      .checkpoints = levin::ModelCheckpointOptions{.filename = "{step}", .save_top_k = -1, .every_n_train_steps = 9}};
  const Traces whole = run_case(test, true);
  for (const std::string& file : {"step=9.ckpt", "step=18.ckpt", "step=45.ckpt"}) {
    SCOPED_TRACE(file);
    const auto copy = folder_of(file);
    std::filesystem::copy_file(folder_of("checkpoints") / file, copy,
                               std::filesystem::copy_options::overwrite_existing);
    const Traces rest = run_case(test, true, copy.string());
    expect_same_end(whole, rest);
    std::filesystem::remove(copy);
  }
}

TEST(CompiledBlocks, GoOnFromACheckpointWithinAnEpoch) {
  for (const bool fast : {false, true}) {
    SCOPED_TRACE(fast ? "fast dropout" : "exact dropout");
    expect_resumed({.fast_dropout = fast});
  }
}

TEST(CompiledBlocks, EndAtABatchWhenInterrupted) {
  BlockCase test{.name = "interrupted", .options = {.max_epochs = 400}};
  const Traces whole = run_case(test, true);
  const auto file = folder_of("interrupted.ckpt");
  {
    std::atomic<bool> trains = false;
    auto stopped = test;
    stopped.options.callbacks = {levin::LambdaCallback({.on_train_epoch_start = [&](auto&&...) { trains = true; }})};
    stopped.checkpoints = levin::ModelCheckpointOptions{};
    run_case(stopped, true, {}, [&] {
      while (!trains) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      levin::request_interrupt();
    });
    levin::request_interrupt(false);
    std::filesystem::copy_file(folder_of("checkpoints") / "interrupted.ckpt", file,
                               std::filesystem::copy_options::overwrite_existing);
  }
  const Traces rest = run_case(test, true, file.string());
  expect_same_end(whole, rest);
  std::filesystem::remove(file);
}

TEST(CompiledBlocks, LeaveTheSameBehindWhenABatchFails) {
  torch::manual_seed(5);
  auto x = torch::randn({200, 4});
  auto y = x.slice(1, 0, 3).argmax(1);
  y[150] = 7;  // no such class
  levin::Checkpoint ends[2];
  std::string messages[2];
  for (const bool blocks : {false, true}) {
    levin::seed_everything(3);
    Net net;
    levin::TrainerOptions options{
        .logger = false, .max_epochs = 3, .enable_checkpointing = false, .enable_progress_bar = false, .compile = true};
    if (!blocks) options.callbacks.push_back(Looks());
    levin::Trainer trainer(options);
    try {
      trainer.fit(net, levin::DataLoader(levin::TensorDataset({x, y}), {.batch_size = 16, .seed = 1}));
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::exception& error) {
      messages[blocks] = error.what();
    }
    EXPECT_EQ(trainer.explain_compiled().find("ran in blocks") != std::string::npos, blocks);
    ends[blocks] = trainer.dump_checkpoint();
    ends[blocks]["levin"].as_dict()["training_time"] = nullptr;
  }
  EXPECT_EQ(messages[0], messages[1]);
  expect_same(levin::PickleValue(ends[0]), levin::PickleValue(ends[1]), "state");
}

TEST(CompiledBlocks, SayWhatPreventsThem) {
  levin::seed_everything(1);
  Hooked net;
  levin::Trainer trainer(
      {.logger = false, .max_epochs = 2, .enable_checkpointing = false, .enable_progress_bar = false, .compile = true});
  EXPECT_EQ(trainer.explain_compiled(), "");
  trainer.fit(net, loader(48, false));
  EXPECT_NE(trainer.explain_compiled().find("all batches ran one by one: the module overrides on_after_backward"),
            std::string::npos)
      << trainer.explain_compiled();
}

TEST(CompiledBlocks, CountInTheProgressBar) {
  levin::seed_everything(1);
  Net net;
  levin::Trainer trainer({.logger = false,
                          .max_epochs = 3,
                          .enable_checkpointing = false,
                          .enable_model_summary = false,
                          .compile = true});
  testing::internal::CaptureStderr();
  trainer.fit(net, loader(72, true));
  const std::string shown = testing::internal::GetCapturedStderr();
  EXPECT_NE(shown.find("15/15"), std::string::npos) << shown;
  EXPECT_NE(trainer.explain_compiled().find("ran in blocks"), std::string::npos) << trainer.explain_compiled();
}

TEST(CompiledBlocks, EvaluateWithoutAFit) {
  levin::Map metrics[2];
  for (const bool compile : {false, true}) {
    levin::seed_everything(1);
    Net net;
    levin::Trainer trainer(
        {.logger = false, .enable_checkpointing = false, .enable_progress_bar = false, .compile = compile});
    metrics[compile] = trainer.validate(net, loader(72, false), {.verbose = false});
    if (!compile) continue;
    EXPECT_LE(net.validation_steps, 2);
    EXPECT_NE(trainer.explain_compiled().find("ran in blocks"), std::string::npos) << trainer.explain_compiled();
  }
  ASSERT_EQ(metrics[0].size(), metrics[1].size());
  for (const auto& [name, value] : metrics[0])
    EXPECT_NEAR(value.as_double(), metrics[1].at(name).as_double(), 1e-6) << name;
}

TEST(CompiledBlocks, StopInTime) {
  BlockCase test{
      .name = "timed",
      .options = {.callbacks = {levin::Timer({.duration = std::chrono::milliseconds(40)})}, .max_epochs = 1000000}};
  const Traces traces = run_case(test, true);
  EXPECT_NE(traces.explained.find("ran in blocks"), std::string::npos);
}

TEST(CompiledStep, RunsAnEpochOfALoader) {
  torch::manual_seed(1);
  auto x = torch::randn({43, 4});
  auto y = x.sum(1, true);
  std::vector<torch::Tensor> ends[2];
  double means[2][3];
  for (const bool whole : {false, true}) {
    torch::manual_seed(2);
    nn::Sequential net(nn::Linear(4, 8), nn::ReLU(), nn::Linear(8, 1));
    levin::optim::SGD sgd(net->parameters(), {.lr = 0.01, .momentum = 0.9});
    auto step = levin::compile_step(
        net, sgd, [&](const levin::Batch& batch) { return torch::mse_loss(net->forward(batch[0]), batch[1]); },
        {.clip_grad_norm = 1.0});
    levin::DataLoader data(levin::TensorDataset({x, y}), {.batch_size = 8, .shuffle = true, .seed = 3});
    for (double& mean : means[whole]) {
      if (whole) {
        mean = step.run(data);
        continue;
      }
      double sum = 0;
      for (const auto& batch : data) sum += step(batch).item<double>() * static_cast<double>(batch.batch_size());
      mean = sum / 43;
    }
    ends[whole] = net->parameters();
  }
  for (int epoch = 0; epoch < 3; ++epoch) EXPECT_DOUBLE_EQ(means[0][epoch], means[1][epoch]);
  for (size_t i = 0; i < ends[0].size(); ++i) EXPECT_TRUE(torch::equal(ends[0][i], ends[1][i]));
}

}  // namespace
