// Precision and gradient scaling against PyTorch's and Lightning's numbers, and Fabric's parts in loops of their own.
#include "train/toy.h"

#include <levin/core/file.h>
#include <levin/train/fabric.h>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace levin {
namespace {

using nlohmann::json;
using testing::golden_data;
using testing::TempDir;

json golden() {
  std::ifstream in(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/train/precision.json");
  return json::parse(in);
}

template <class F>
std::string message_of(const F& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

void expect_state(const Map& state, const json& expected) {
  EXPECT_EQ(state.size(), expected.size());
  for (const auto& [key, value] : expected.items()) EXPECT_EQ(state.at(key).as_double(), value.get<double>()) << key;
}

TEST(GradScaler, FollowsPyTorchs) {
  const json steps = golden()["scaler"];
  auto param = torch::ones({}, torch::requires_grad());
  optim::SGD sgd(std::vector<torch::Tensor>{param}, {.lr = 0.5});
  GradScaler scaler({.init_scale = 4, .growth_interval = 2});
  EXPECT_EQ(scaler.get_scale(), 4);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (i == 4) {  // from here on in another scaler that took the state over
      const Map state = scaler.state_dict();
      scaler = GradScaler();
      scaler.load_state_dict(state);
    }
    sgd.zero_grad();
    scaler.scale(param * std::stod(steps[i]["grad"].get<std::string>())).backward();
    EXPECT_EQ(scaler.step(sgd), steps[i]["stepped"].get<bool>()) << i;
    scaler.update();
    EXPECT_EQ(param.item<double>(), steps[i]["param"].get<double>()) << i;
    expect_state(scaler.state_dict(), steps[i]["state"]);
  }
}

TEST(GradScaler, RefusesMisuse) {
  auto param = torch::ones({2}, torch::requires_grad());
  optim::SGD sgd(std::vector<torch::Tensor>{param}, {.lr = 0.5});
  GradScaler scaler;
  EXPECT_NE(message_of([&] { scaler.step(sgd); }).find("before any loss was scaled"), std::string::npos);
  scaler.scale(param.sum()).backward();
  EXPECT_NE(message_of([&] { scaler.update(); }).find("before any step"), std::string::npos);
  scaler.unscale_(sgd);
  EXPECT_TRUE(torch::equal(param.grad(), torch::ones({2})));
  EXPECT_NE(message_of([&] { scaler.unscale_(sgd); }).find("twice"), std::string::npos);
  scaler.step(sgd);
  EXPECT_NE(message_of([&] { scaler.step(sgd); }).find("twice"), std::string::npos);
  EXPECT_NE(message_of([&] { scaler.unscale_(sgd); }).find("after step"), std::string::npos);
  scaler.update(128);
  EXPECT_EQ(scaler.get_scale(), 128);
  EXPECT_NE(message_of([] { GradScaler({.growth_factor = 1}); }).find("growth_factor must be above 1"),
            std::string::npos);
  EXPECT_NE(message_of([] { GradScaler({.backoff_factor = 1}); }).find("backoff_factor"), std::string::npos);
  auto half = torch::ones({2}, torch::dtype(torch::kHalf).requires_grad(true));
  optim::SGD of_half(std::vector<torch::Tensor>{half}, {.lr = 0.5});
  scaler.scale(half.sum()).backward();
  EXPECT_NE(message_of([&] { scaler.unscale_(of_half); }).find("float16 cannot be unscaled"), std::string::npos);
}

TEST(Precision, NamesAreLightnings) {
  EXPECT_EQ(Precision().name(), "32-true");
  EXPECT_EQ(Precision("bf16").name(), "bf16-mixed");
  EXPECT_EQ(Precision("16").name(), "16-mixed");
  EXPECT_EQ(Precision("64").dtype(), torch::kDouble);
  EXPECT_TRUE(Precision("16-mixed").has_scaler());
  EXPECT_FALSE(Precision("bf16-mixed").has_scaler());
  EXPECT_EQ(message_of([] { Precision("bf16-mixd"); }),
            "unknown precision: got \"bf16-mixd\"; did you mean \"bf16-mixed\"?");
}

TEST(Precision, ConvertsFloatsAndLeavesWholeNumbers) {
  torch::nn::BatchNorm1d norm(3);
  const Precision half("bf16-true");
  half.convert_module(*norm);
  EXPECT_EQ(norm->weight.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(norm->running_mean.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(norm->num_batches_tracked.scalar_type(), torch::kLong);
  const Batch batch = half.convert_input({torch::ones({2, 3}), torch::tensor({0, 1})});
  EXPECT_EQ(batch[0].scalar_type(), torch::kBFloat16);
  EXPECT_EQ(batch[1].scalar_type(), torch::kLong);
  {
    const Precision::Context context(half, c10::DeviceType::CPU);
    EXPECT_EQ(torch::zeros({1}).scalar_type(), torch::kBFloat16);
  }
  EXPECT_EQ(torch::zeros({1}).scalar_type(), torch::kFloat);
}

TEST(Precision, ContextsNestAndEnd) {
  const auto w = torch::ones({2, 2});
  const auto dtype = [&] { return torch::mm(w, w).scalar_type(); };
  const Precision outer("bf16-mixed"), inner("16-mixed");
  try {
    const Precision::Context a(outer, c10::DeviceType::CPU);
    EXPECT_EQ(dtype(), torch::kBFloat16);
    {
      const Precision::Context b(inner, c10::DeviceType::CPU);
      EXPECT_EQ(dtype(), torch::kHalf);
      const Precision::Context plain(Precision("32-true"), c10::DeviceType::CPU);
      EXPECT_EQ(dtype(), torch::kHalf);
    }
    EXPECT_EQ(dtype(), torch::kBFloat16);
    throw std::runtime_error("a step failed");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(dtype(), torch::kFloat);
}

torch::nn::Linear golden_layer() {
  torch::nn::Linear layer(2, 1);
  torch::NoGradGuard no_grad;
  layer->weight.copy_(torch::tensor({{0.5, -0.25}}));
  layer->bias.zero_();
  return layer;
}

class PrecisionFit : public ::testing::TestWithParam<std::string> {};

void expect_weights(const torch::nn::Linear& layer, const json& expected, double tolerance) {
  for (int i = 0; i < 2; ++i) {
    EXPECT_NEAR(layer->weight[0][i].item<double>(), expected["weight"][i].get<double>(), tolerance);
  }
  EXPECT_NEAR(layer->bias[0].item<double>(), expected["bias"][0].get<double>(), tolerance);
}

// The weights differ by a few last digits of the format: the fused SGD rounds once a step, PyTorch's in between, too.
double tolerance_of(const std::string& precision) {
  return precision == "64-true" ? 1e-12 : precision == "bf16-true" ? 1e-2 : precision == "16-true" ? 1e-3 : 1e-6;
}

TEST_P(PrecisionFit, WithFabricEqualsLightnings) {
  const json expected = golden()["fits"][GetParam()];
  Fabric fabric({.accelerator = "cpu", .precision = GetParam()});
  auto layer = golden_layer();
  fabric.setup_module(layer);
  auto sgd = fabric.setup_optimizer(optim::SGD(layer->parameters(), {.lr = 0.1, .momentum = 0.9}));
  auto loader = fabric.setup_dataloader(DataLoader(golden_data(), {.batch_size = 2}));
  torch::Tensor out;
  for (int epoch = 0; epoch < 3; ++epoch) {
    int i = 0;
    for (const auto& batch : loader) {
      const auto loss = fabric.autocast([&] {
        out = layer->forward(batch[0]);
        return torch::mse_loss(out, batch[1].to(out.scalar_type()));
      });
      if (i != 1) sgd.zero_grad();
      fabric.backward(i == 2 ? loss : loss / 2);
      if (i != 0) {
        fabric.clip_gradients(sgd, {.max_norm = 0.5});
        sgd.step();
      }
      ++i;
    }
  }
  expect_weights(layer, expected, tolerance_of(GetParam()));
  const auto dtype_name = [](torch::ScalarType type) {
    return type == torch::kFloat      ? "torch.float32"
           : type == torch::kDouble   ? "torch.float64"
           : type == torch::kBFloat16 ? "torch.bfloat16"
                                      : "torch.float16";
  };
  EXPECT_EQ(dtype_name(out.scalar_type()), expected["output"]);
  EXPECT_EQ(dtype_name(layer->weight.scalar_type()), expected["parameters"]);
  if (expected.contains("scaler")) expect_state(fabric.precision().state_dict(), expected["scaler"]);
}

INSTANTIATE_TEST_SUITE_P(Golden, PrecisionFit,
                         ::testing::Values("32-true", "64-true", "bf16-mixed", "bf16-true", "16-true", "16-mixed"),
                         [](const auto& param) {
                           std::string name = param.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// The same with a Trainer.
struct PrecisionNet : Module {
  PrecisionNet() : layer(golden_layer()) { register_module("layer", layer); }
  torch::Tensor training_step(const Batch& batch, std::int64_t) override {
    const auto out = layer->forward(batch[0]);
    return torch::mse_loss(out, batch[1].to(out.scalar_type()));
  }
  Optimizers configure_optimizers() override { return optim::SGD(parameters(), {.lr = 0.1, .momentum = 0.9}); }
  torch::nn::Linear layer;
};

TrainerOptions precision_options(const std::string& precision, std::int64_t epochs) {
  auto options = testing::quiet(epochs);
  options.accelerator = "cpu";
  options.precision = precision;
  options.accumulate_grad_batches = 2;
  options.gradient_clip_val = 0.5;
  return options;
}

TEST_P(PrecisionFit, WithATrainerEqualsLightningsAndGoesOn) {
  const json expected = golden()["fits"][GetParam()];
  TempDir dir;
  const DataLoader loader(golden_data(), {.batch_size = 2});
  PrecisionNet first;
  Trainer begun(precision_options(GetParam(), 2));
  begun.fit(first, loader);
  begun.save_checkpoint(dir / "two.ckpt");
  PrecisionNet second;
  Trainer goes_on(precision_options(GetParam(), 3));
  goes_on.fit(second, loader, {.ckpt_path = dir / "two.ckpt"});
  expect_weights(second.layer, expected, tolerance_of(GetParam()));
  EXPECT_EQ(second.layer->weight.scalar_type(), Precision(GetParam()).dtype());
  if (expected.contains("scaler")) {
    const PickleDict file = load_checkpoint(dir / "two.ckpt");
    EXPECT_EQ(file.at("MixedPrecision").as_dict().size(), 5u);
    goes_on.save_checkpoint(dir / "three.ckpt");
    expect_state(load_checkpoint(dir / "three.ckpt").at("MixedPrecision").to_value().as_map(), expected["scaler"]);
  }
}

TEST(Profilers, CountWhatTheTrainerDoes) {
  TempDir dir;
  auto simple = std::make_shared<SimpleProfilerImpl>(ProfilerOptions{.dirpath = dir.path(), .filename = "report"});
  auto options = testing::quiet(2);
  options.profiler = Profiler(simple);
  PrecisionNet net;
  Trainer(options).fit(net, DataLoader(golden_data(), {.batch_size = 2}));
  const auto calls = [&](const char* action) {
    const auto it = simple->records().find(action);
    return it == simple->records().end() ? 0 : it->second.calls;
  };
  EXPECT_EQ(calls("run_training_epoch"), 2);
  EXPECT_EQ(calls("run_training_batch"), 6);
  EXPECT_EQ(calls("training_step"), 6);
  EXPECT_EQ(calls("backward"), 6);
  EXPECT_EQ(calls("optimizer_step"), 6);
  const auto total = [&](const char* action) { return simple->records().at(action).total; };
  EXPECT_GE(total("run_training_batch"), total("training_step") + total("backward") + total("optimizer_step"));
  EXPECT_NE(read_file(dir / "report.txt").find("training_step"), std::string::npos);
  EXPECT_THROW(simple->stop("never begun"), Error);
  EXPECT_THROW(Profiler("simpel"), Error);

  auto advanced = std::make_shared<AdvancedProfilerImpl>(ProfilerOptions{.dirpath = dir.path(), .filename = "ops"});
  options.profiler = Profiler(advanced);
  Trainer(options).fit(net, DataLoader(golden_data(), {.batch_size = 2}));
  EXPECT_EQ(advanced->operators().at("training_step").at("aten::addmm").calls, 6);
  EXPECT_TRUE(advanced->operators().at("training_step").contains("aten::t"));
  EXPECT_FALSE(advanced->operators().at("training_step").contains("aten::transpose"));  // a part of t

  auto trace =
      std::make_shared<TraceProfilerImpl>(TraceProfilerOptions{.dirpath = dir.path(), .skip = 1, .batches = 2});
  options.profiler = Profiler(trace);
  Trainer(options).fit(net, DataLoader(golden_data(), {.batch_size = 2}));
  const json events = json::parse(read_file(trace->path()))["traceEvents"];
  const auto count = [&](const std::string& name) {
    return std::count_if(events.begin(), events.end(), [&](const json& e) { return e.value("name", "") == name; });
  };
  EXPECT_EQ(count("training_step"), 2);
  EXPECT_GE(count("aten::addmm"), 2);
}

// --- Fabric ---

// A loop with dropout and shuffling that can stop after any batch and go on from a file.
struct Loop {
  explicit Loop(const std::string& precision) : fabric({.accelerator = "cpu", .precision = precision}) {
    optimizer = std::make_unique<FabricOptimizer>(fabric.setup(model, optim::Adam(model->parameters(), {.lr = 0.05})));
    schedule = optim::StepLR(optimizer->optimizer(), {.step_size = 1, .gamma = 0.5});
  }
  void save(const std::string& path) {
    fabric.save(path, {{"model", model},
                       {"optimizer", *optimizer},
                       {"schedule", schedule},
                       {"loader", loader},
                       {"rng", CurrentRng()},
                       {"epoch", epoch},
                       {"best", best}});
  }
  Map load(const std::string& path) {
    return fabric.load(path, {{"model", model},
                              {"optimizer", *optimizer},
                              {"schedule", schedule},
                              {"loader", loader},
                              {"rng", CurrentRng()},
                              {"epoch", epoch}});
  }
  void run(int batches) {
    for (; epoch < 4; ++epoch) {
      for (const auto& batch : fabric.setup_dataloader(loader)) {
        optimizer->zero_grad();
        const auto loss = fabric.autocast([&] {
          const auto out = model->forward(batch[0]);
          return torch::mse_loss(out, batch[1].to(out.scalar_type()));
        });
        best = loss.item<double>();
        fabric.backward(loss);
        optimizer->step();
        if (--batches == 0) return;
      }
      schedule.step();
    }
  }

  Fabric fabric;
  torch::nn::Sequential model{torch::nn::Linear(2, 8), torch::nn::Dropout(0.5), torch::nn::Linear(8, 1)};
  std::unique_ptr<FabricOptimizer> optimizer;
  optim::LRScheduler schedule;
  DataLoader loader{golden_data(), {.batch_size = 2, .shuffle = true, .seed = 1}};
  std::int64_t epoch = 0;
  double best = 0;
};

TEST(Fabric, ALoopGoesOnBitForBit) {
  for (const char* precision : {"32-true", "16-mixed"}) {
    TempDir dir;
    torch::manual_seed(3);
    Loop whole(precision);
    whole.run(-1);
    for (const int stop : {1, 5, 7}) {
      torch::manual_seed(3);
      Loop first(precision);
      first.run(stop);
      first.save(dir / "a/loop.ckpt");
      torch::manual_seed(99);
      Loop second(precision);
      const Map rest = second.load(dir / "a/loop.ckpt");
      EXPECT_EQ(rest.get<double>("best"), first.best);
      second.run(-1);
      for (std::size_t i = 0; i < whole.model->parameters().size(); ++i) {
        EXPECT_TRUE(torch::equal(whole.model->parameters()[i], second.model->parameters()[i])) << precision << stop;
      }
    }
  }
}

TEST(Fabric, MistakesAreExplained) {
  TempDir dir;
  Fabric fabric({.accelerator = "cpu"});
  auto layer = golden_layer();
  std::int64_t epoch = 3;
  fabric.save(dir / "x.ckpt", {{"model", layer}, {"epoch", epoch}});
  EXPECT_NE(message_of([&] {
              fabric.load(dir / "x.ckpt", {{"modle", layer}});
            }).find("did you mean \"model\"?"),
            std::string::npos);
  torch::nn::Linear wider(3, 1);
  EXPECT_NE(message_of([&] { fabric.load(dir / "x.ckpt", {{"model", wider}}); }).find("\"model\""), std::string::npos);
  EXPECT_NE(message_of([&] {
              fabric.save(dir / "x.ckpt", {{"a", epoch}, {"a", epoch}});
            }).find("one name"),
            std::string::npos);
  EXPECT_EQ(message_of([] { Fabric({.accelerator = "gpuu"}); }),
            "unknown accelerator: got \"gpuu\" (FabricOptions); did you mean \"gpu\"?");
  auto sgd = fabric.setup_optimizer(optim::SGD(layer->parameters(), {.lr = 0.1}));
  EXPECT_NE(message_of([&] { fabric.clip_gradients(sgd, {}); }).find("by value or by norm"), std::string::npos);
  EXPECT_NE(message_of([&] { fabric.log("loss", torch::ones({2}), 0); }).find("one element"), std::string::npos);
}

TEST(Fabric, LogsAndCalls) {
  TempDir dir;
  struct Printer : FabricCallback {
    void on_epoch_end(std::int64_t epoch, double loss) { seen.emplace_back(epoch, loss); }
    std::vector<std::pair<std::int64_t, double>> seen;
  };
  struct Other : FabricCallback {
    void on_epoch_end(std::int64_t, double) { FAIL(); }
  };
  auto printer = std::make_shared<Printer>();
  {
    Fabric fabric({.accelerator = "cpu",
                   .callbacks = {printer, std::make_shared<Other>()},
                   .loggers = {CSVLogger({.save_dir = dir.path(), .version = "v"})}});
    fabric.log("loss", torch::tensor(0.5), 0);
    fabric.log_dict({{"loss", 0.25}, {"acc", 1.0}}, {.step = 1, .epoch = 0});
    fabric.call(&Printer::on_epoch_end, 2, 0.25);
  }
  EXPECT_EQ(printer->seen, (std::vector<std::pair<std::int64_t, double>>{{2, 0.25}}));
  EXPECT_EQ(read_file(dir / "levin_logs/v/metrics.csv"), "epoch,step,acc,loss\n,0,,0.5\n0,1,1.0,0.25\n");
}

}  // namespace
}  // namespace levin
