// What the Trainer makes of its flags: how many batches, when it validates, what it refuses; against PyTorch Lightning.
#include "train/lightning_runs.h"
#include "train/toy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace levin {
namespace {

using nlohmann::json;
using testing::lightning_golden;
using testing::quiet;

struct Net : Module {
  Net() { w = register_parameter("w", torch::ones({1})); }
  torch::Tensor training_step(const Batch&, std::int64_t batch_idx) override {
    if (batch_idx == 0) trained.push_back(0);
    ++trained.back();
    return w.sum();
  }
  void validation_step(const Batch&, std::int64_t) override { ++val_batches.back(); }
  void on_validation_start() override {
    val_batches.push_back(0);
    validated.push_back(std::to_string(current_epoch()) + "." + std::to_string(trainer().batch_idx()));
  }
  Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 0.1}); }

  torch::Tensor w;
  std::vector<std::int64_t> trained, val_batches;
  std::vector<std::string> validated;
};

DataLoader loader(std::int64_t length) {
  if (length < 0) return DataLoader(std::make_shared<testing::UnknownLengthLoader>(-length));
  return testing::loader_of(length, 1);
}

DataLoader loaders(const json& lengths) {
  std::vector<DataLoader> made;
  for (const json& length : lengths) made.push_back(loader(length.get<std::int64_t>()));
  if (made.empty()) return {};
  if (made.size() == 1) return made[0];
  return CombinedLoader(made, {.mode = CombineMode::sequential});
}

/** The run in the words of lightning_flags.py. */
json play(const json& run) {
  TrainerOptions options = quiet(2);
  options.num_sanity_val_steps = 0;
  testing::set_flags(options, run["flags"]);
  std::unique_ptr<Trainer> trainer;
  try {
    trainer = std::make_unique<Trainer>(options);
  } catch (const Error&) {
    return {{"error", "construction"}};
  }
  Net net;
  try {
    trainer->fit(net, loader(run["train"].get<std::int64_t>()), loaders(run["val"]));
  } catch (const Error&) {
    return {{"error", "fit"}};
  }
  const auto known = [](std::int64_t n) { return n == kUnknownLength ? -1 : n; };
  return {{"num_training_batches", known(trainer->num_training_batches())},
          {"num_val_batches", known(trainer->num_val_batches())},
          {"trained", net.trained},
          {"validated", net.validated},
          {"val_batches", net.val_batches},
          {"global_step", trainer->global_step()},
          {"epochs", trainer->current_epoch()}};
}

/** What Lightning did, but for the places where the two count otherwise. */
json expected_of(const json& run) {
  if (run.contains("error")) return {{"error", run["error"]}};
  json expected = run;
  for (const char* key : {"train", "val", "flags"}) expected.erase(key);
  // For several validation loaders, the sum of their batches.
  const auto batches = run["num_val_batches"].get<std::vector<std::int64_t>>();
  const bool unknown = std::find(batches.begin(), batches.end(), -1) != batches.end();
  expected["num_val_batches"] = unknown ? -1 : std::accumulate(batches.begin(), batches.end(), std::int64_t{0});
  return expected;
}

TEST(Flags, MeanWhatTheyMeanInLightning) {
  console::set_level(console::Level::error);
  const json golden = lightning_golden("lightning_flags.json");
  for (const json& run : golden["schedules"]) {
    const json described{{"train", run["train"]}, {"val", run["val"]}, {"flags", run["flags"]}};
    json ours = play(run), lightnings = expected_of(run);
    if (!lightnings.contains("error")) {
      // Of loaders that no batch was taken from, Lightning does not know the length, or Levin does not ask.
      const auto forget = [&](const char* key) { ours.erase(key), lightnings.erase(key); };
      if (lightnings["trained"].empty()) forget("num_training_batches");
      if (lightnings["val_batches"].empty()) forget("num_val_batches");
    }
    EXPECT_EQ(ours, lightnings) << described.dump();
  }
  console::set_level(console::Level::info);
}

TEST(Flags, ContradictionsAreErrorsAtConstruction) {
  console::set_level(console::Level::error);
  const json golden = lightning_golden("lightning_flags.json");
  // What makes no sense is refused here, and taken there: ignored, or to fail later.
  const std::vector<json> refused_here{
      {{"accumulate_grad_batches", 0}},
      {{"check_val_every_n_epoch", 0}},
      {{"val_check_interval", 0}},
      {{"check_val_every_n_epoch", nullptr}},  // with a share of an epoch
      {{"num_sanity_val_steps", -2}},
      {{"gradient_clip_val", -1}},
      {{"gradient_clip_val", 0}},
      {{"log_every_n_steps", -1}},
      {{"min_epochs", 3}, {"max_epochs", 2}},
      {{"min_steps", 3}, {"max_steps", 2}},
      {{"overfit_batches", 2}, {"limit_train_batches", 3}},
  };
  // A default that is spelt out cannot be told from one that is not.
  const std::vector<json> taken_here{{{"barebones", true}, {"logger", true}}};
  for (const json& entry : golden["contradictions"]) {
    const json& flags = entry["flags"];
    const auto takes = [&] {
      TrainerOptions options;
      options.max_epochs = 4;
      const std::string callback = flags.value("callbacks", "");
      if (callback == "ModelCheckpoint") options.callbacks = {ModelCheckpoint()};
      if (callback == "ProgressBar") options.callbacks = {ProgressBarCallback()};
      try {
        testing::set_flags(options, flags);
        Trainer trainer(options);
      } catch (const Error&) {
        return false;
      }
      return true;
    };
    const bool refused = std::find(refused_here.begin(), refused_here.end(), flags) != refused_here.end();
    EXPECT_EQ(takes(), std::find(taken_here.begin(), taken_here.end(), flags) != taken_here.end() ||
                           (entry["taken"].get<bool>() && !refused))
        << flags.dump();
  }
  console::set_level(console::Level::info);
}

}  // namespace
}  // namespace levin
