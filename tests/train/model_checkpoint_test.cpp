// ModelCheckpoint: names and files as Lightning keeps them, and what happens when the disk is full.
#include "train/toy.h"

#include <levin/core/json.h>
#include <levin/train/checkpoint.h>

#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <sys/resource.h>

namespace levin {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

// The model of tests/golden/scripts/model_checkpoint.py.
struct Net : Module {
  explicit Net(List values) : scores(std::move(values)) { layer = register_module("layer", torch::nn::Linear(1, 1)); }
  torch::Tensor training_step(const Batch& batch, std::int64_t batch_idx) override {
    log("train_loss", 1.0 / static_cast<double>(1 + batch_idx * 3 % 4));
    return layer->forward(batch[0]).pow(2).mean();
  }
  void validation_step(const Batch&, std::int64_t) override {
    const double score = scores[static_cast<std::size_t>(validations) % scores.size()].as_double();
    log("val_loss", score);
    log("val/loss", score);
  }
  void on_validation_epoch_end() override { ++validations; }
  Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 0.125}); }

  torch::nn::Linear layer{nullptr};
  List scores;
  int validations = 0;
};

DataLoader ones(int64_t rows) { return DataLoader(TensorDataset({torch::ones({rows, 1})}), {.batch_size = 2}); }

List listing(const std::string& root) {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (!entry.is_directory()) names.push_back(entry.path().lexically_relative(root).string());
  }
  std::ranges::sort(names);
  return {names.begin(), names.end()};
}

struct SnapshotsImpl : CallbackImpl {
  explicit SnapshotsImpl(std::string folder) : root(std::move(folder)) {}
  void on_train_epoch_start(Trainer& trainer, Module&) override {
    trainer.find_callback<ModelCheckpointImpl>()->wait();
    taken.emplace_back(listing(root));
  }
  std::string root;
  List taken;
};
using Snapshots = CallbackHolder<SnapshotsImpl>;

ModelCheckpointOptions options_of(const Map& map) {
  ModelCheckpointOptions o;
  for (const auto& [key, value] : map) {
    if (key == "monitor")
      o.monitor = value.as_string();
    else if (key == "mode")
      o.mode = value.as_string() == "max" ? Mode::max : Mode::min;
    else if (key == "filename")
      o.filename = value.as_string();
    else if (key == "verbose")
      o.verbose = value.as_bool();
    else if (key == "save_last")
      o.save_last = value.is_string() ? SaveLast::link : SaveLast(value.as_bool());
    else if (key == "save_top_k")
      o.save_top_k = value.as_int();
    else if (key == "save_weights_only")
      o.save_weights_only = value.as_bool();
    else if (key == "auto_insert_metric_name")
      o.auto_insert_metric_name = value.as_bool();
    else if (key == "every_n_train_steps")
      o.every_n_train_steps = value.as_int();
    else if (key == "every_n_epochs")
      o.every_n_epochs = value.as_int();
    else if (key == "train_time_interval")
      o.train_time_interval = std::chrono::seconds(value.as_int());
    else if (key == "save_on_train_epoch_end")
      o.save_on_train_epoch_end = value.as_bool();
    else if (key == "enable_version_counter")
      o.enable_version_counter = value.as_bool();
    else
      ADD_FAILURE() << "unknown option " << key;
  }
  return o;
}

TrainerOptions trainer_of(const Map& map, std::int64_t max_epochs) {
  auto o = testing::quiet(map.get<std::int64_t>("max_epochs", max_epochs));
  o.enable_checkpointing = true;
  o.num_sanity_val_steps = 0;
  if (map.contains("val_check_interval")) o.val_check_interval = count(map.get<std::int64_t>("val_check_interval"));
  if (map.contains("limit_val_batches")) o.limit_val_batches = count(map.get<std::int64_t>("limit_val_batches"));
  o.check_val_every_n_epoch = map.get<std::int64_t>("check_val_every_n_epoch", 1);
  return o;
}

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void run_scenario(const Map& scenario, bool async) {
  TempDir dir;
  const std::string root = fs::canonical(dir.path()).string();
  const auto relative = [&](const std::string& path) {
    return path.empty() ? path : fs::path(path).lexically_relative(root).string();
  };
  const auto number = [](double value) { return std::isnan(value) ? Value() : Value(value); };
  const Map& trainer_options = scenario.at("trainer").as_map();
  const List& runs = scenario.at("runs").as_list();
  std::string last;
  int validations = 0;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Map& golden = runs[i].as_map();
    const bool resumes = golden.get<std::string>("how").starts_with("last");
    SCOPED_TRACE("run " + std::to_string(i));
    auto options = options_of(scenario.at("checkpoint").as_map());
    options.dirpath = root + (golden.get<std::string>("how") == "last elsewhere" ? "/b" : "/a");
    options.async_save = async;
    ModelCheckpoint checkpoint(options);
    Snapshots snapshots(root);
    const bool resumed_later = runs.size() == 2 && runs[1].as_map().get<std::string>("how").starts_with("last");
    auto trainer_settings = trainer_of(trainer_options, resumed_later && i == 0 ? 3 : 6);
    trainer_settings.callbacks = {checkpoint, snapshots};
    Trainer trainer(trainer_settings);
    Net net(scenario.at("scores").as_list());
    net.validations = resumes ? validations : 0;
    trainer.fit(net, ones(8), ones(2), {.ckpt_path = resumes ? last : ""});
    validations = net.validations;
    last = checkpoint->last_model_path();

    EXPECT_EQ(checkpoint->state_key(), golden.get<std::string>("state_key"));
    EXPECT_EQ(Value(listing(root)).to_string(), golden.at("files").to_string());
    if (!scenario.get<bool>("final_only", false)) {
      const List epochs(snapshots->taken.begin() + 1, snapshots->taken.end());
      EXPECT_EQ(Value(epochs).to_string(), golden.at("epochs").to_string());
    }
    EXPECT_EQ(relative(checkpoint->best_model_path()), golden.get<std::string>("best_model_path"));
    EXPECT_EQ(number(checkpoint->best_model_score()), golden.at("best_model_score"));
    EXPECT_EQ(number(checkpoint->current_score()), golden.at("current_score"));
    EXPECT_EQ(relative(checkpoint->kth_best_model_path()), golden.get<std::string>("kth_best_model_path"));
    EXPECT_EQ(checkpoint->kth_value(), golden.get<double>("kth_value"));
    EXPECT_EQ(relative(checkpoint->last_model_path()), golden.get<std::string>("last_model_path"));
    Map kept;
    for (const auto& [path, score] : checkpoint->best_k_models()) kept[relative(path)] = score;
    const Map& wanted = golden.at("best_k_models").as_map();
    EXPECT_EQ(kept.size(), wanted.size());
    for (const auto& [path, score] : wanted) EXPECT_TRUE(kept.contains(path) && kept.at(path) == score) << path;
    for (const auto& [path, steps] : golden.at("steps").as_map()) {
      if (!fs::exists(root + "/" + path)) continue;
      const auto content = load_checkpoint(root + "/" + path);
      EXPECT_EQ(content.at("global_step").as_int(), steps.as_int()) << path;
      EXPECT_EQ(content.contains("optimizer_states"), !options.save_weights_only);
    }
    for (const auto& [path, target] : golden.at("links").as_map()) {
      EXPECT_TRUE(fs::is_symlink(root + "/" + path));
      EXPECT_EQ(fs::read_symlink(root + "/" + path).string(), target.as_string());
    }
  }
}

TEST(ModelCheckpointTable, KeepsWhatLightningKeeps) {
  const Value golden =
      parse_json(read_text(fs::path(LEVIN_SOURCE_DIR) / "tests/golden/checkpoint/model_checkpoint.json"));
  std::size_t number = 0;
  for (const auto& scenario : golden.as_map().at("scenarios").as_list()) {
    SCOPED_TRACE(scenario.as_map().get<std::string>("name"));
    run_scenario(scenario.as_map(), /*async=*/++number % 2 == 0);
  }
  EXPECT_GE(number, 40u);
}

// What Lightning does otherwise, and why: the latest state is the latest.
TEST(ModelCheckpointFiles, LastIsTheLastAlsoWhenItIsNotAmongTheBest) {
  TempDir dir;
  ModelCheckpoint best({.dirpath = dir.path(), .monitor = "val_loss", .save_last = true});
  auto options = testing::quiet(3);
  options.enable_checkpointing = true;
  options.num_sanity_val_steps = 0;
  options.callbacks = {best};
  Trainer trainer(options);
  Net net({0.25, 0.5, 0.75});
  trainer.fit(net, ones(8), ones(2));
  EXPECT_EQ(best->best_model_path(), dir / "epoch=0-step=4.ckpt");
  EXPECT_EQ(load_checkpoint(dir / "last.ckpt").at("global_step").as_int(), 12);
}

TEST(ModelCheckpointFiles, AnErrorLeavesACheckpointThatLastFinds) {
  TempDir dir;
  struct Failing : Net {
    using Net::Net;
    void on_train_batch_end(const Batch&, std::int64_t) override {
      if (fails && global_step() == 6) throw std::runtime_error("boom");
    }
    bool fails = true;
  } net(List{0.5});
  const auto fit = [&] {
    auto options = testing::quiet(3);
    options.enable_checkpointing = true;
    options.callbacks = {ModelCheckpoint({.dirpath = dir.path(), .save_on_exception = true})};
    Trainer trainer(options);
    trainer.fit(net, ones(8), ones(2), {.ckpt_path = "last"});
    return trainer.global_step();
  };
  EXPECT_THROW(fit(), std::runtime_error);  // "last" was not there: a fit anew, with a warning
  ASSERT_TRUE(fs::exists(dir / "on_exception.ckpt"));
  EXPECT_EQ(load_checkpoint(dir / "on_exception.ckpt").at("global_step").as_int(), 6);
  net.fails = false;
  EXPECT_EQ(fit(), 12);
  EXPECT_FALSE(fs::exists(dir / "on_exception.ckpt"));  // overcome
}

TEST(ModelCheckpointFiles, OptionsThatContradictAreRefused) {
  EXPECT_THROW(ModelCheckpoint({.every_n_train_steps = 2, .every_n_epochs = 1}), Error);
  EXPECT_THROW(ModelCheckpoint({.save_top_k = 2}), Error);
  EXPECT_THROW(ModelCheckpoint({.filename = "../{epoch}"}), Error);
  EXPECT_THROW(ModelCheckpoint({.train_time_interval = std::chrono::seconds(-1)}), Error);
  ModelCheckpoint bad({.dirpath = "/x", .filename = "{val_loss:d}"});
  EXPECT_THROW(bad->format_checkpoint_name({{"val_loss", 0.5}}), Error);
  EXPECT_EQ(ModelCheckpoint({.dirpath = "/x", .filename = "{epoch:02d}-{acc:.1%}"})
                ->format_checkpoint_name({{"epoch", 3}, {"acc", 0.125}}),
            "/x/epoch=03-acc=12.5%.ckpt");
}

// A file may grow to so many bytes only: write() then fails as it does when the disk is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limited = old_;
    limited.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

TEST(ModelCheckpointFiles, AFullDiskKeepsThePreviousFilesWarnsOnceAndTrainingGoesOn) {
  for (const bool async : {false, true}) {
    SCOPED_TRACE(async);
    TempDir dir;
    struct Filling : Net {
      using Net::Net;
      void on_train_epoch_start() override {
        if (current_epoch() == 2) full.emplace(2000);  // smaller than a checkpoint
        if (current_epoch() == 4) full.reset();
      }
      std::optional<FileSizeLimit> full;
    } net(List{0.5, 0.375, 0.25, 0.125, 0.0625, 0.03125});
    ModelCheckpoint best(
        {.dirpath = dir.path(), .filename = "{epoch}", .monitor = "val_loss", .save_last = true, .async_save = async});
    Snapshots snapshots(dir.path());
    auto options = testing::quiet(5);
    options.enable_checkpointing = true;
    options.callbacks = {best, snapshots};
    Trainer trainer(options);
    ::testing::internal::CaptureStderr();
    trainer.fit(net, ones(8), ones(2));
    const std::string said = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(trainer.global_step(), 20);
    // While the disk was full, the second epoch's files stood.
    const Value whole(List{"epoch=1.ckpt", "last.ckpt"});
    EXPECT_EQ(snapshots->taken[2], whole);
    EXPECT_EQ(snapshots->taken[3], whole);
    EXPECT_EQ(snapshots->taken[4], whole);
    EXPECT_EQ(Value(listing(dir.path())), Value(List{"epoch=4.ckpt", "last.ckpt"}));
    EXPECT_EQ(best->best_model_path(), dir / "epoch=4.ckpt");
    EXPECT_EQ(best->best_k_models().size(), 1u);
    EXPECT_EQ(load_checkpoint(dir / "last.ckpt").at("global_step").as_int(), 20);
    const auto first = said.find("could not be written");
    EXPECT_NE(first, std::string::npos) << said;
    EXPECT_EQ(said.find("could not be written", first + 1), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace levin
