// `log` against PyTorch Lightning: where it is allowed, the names it makes, the numbers, and the loggers' rows.
#include "train/toy.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <map>

namespace levin {
namespace {

using nlohmann::json;
using testing::quiet;

json golden() {
  std::ifstream in(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/train/lightning_logging.json");
  return json::parse(in);
}

double number(const json& value) {
  if (value.is_number()) return value.get<double>();
  const auto text = value.get<std::string>();
  return text == "nan" ? std::nan("") : text == "inf" ? INFINITY : -INFINITY;
}

using Metrics = std::map<std::string, double>;

Metrics metrics_of(const json& values) {
  Metrics metrics;
  for (const auto& [name, value] : values.items()) metrics[name] = number(value);
  return metrics;
}
Metrics metrics_of(const MetricValues& values) { return {values.begin(), values.end()}; }
Metrics metrics_of(const Map& values) {
  Metrics metrics;
  for (const auto& [name, value] : values) metrics[name] = value.as_double();
  return metrics;
}

// Lightning averages in float32.
::testing::AssertionResult same(const Metrics& actual, const Metrics& expected) {
  const auto text = [](const Metrics& metrics) {
    std::string out = "{";
    for (const auto& [name, value] : metrics) out += " " + name + "=" + format_double(value);
    return out + " }";
  };
  bool equal = actual.size() == expected.size();
  for (const auto& [name, value] : expected) {
    const auto found = actual.find(name);
    equal &= found != actual.end() && (found->second == value || (std::isnan(found->second) && std::isnan(value)) ||
                                       std::abs(found->second - value) <= 1e-6 * std::abs(value));
  }
  if (equal) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure() << text(actual) << " instead of " << text(expected);
}

LogOptions options_of(const json& options) {
  LogOptions o;
  for (const auto& [key, value] : options.items()) {
    if (key == "prog_bar") {
      o.prog_bar = value;
    } else if (key == "logger") {
      o.logger = value;
    } else if (key == "on_step") {
      o.on_step = value.get<bool>();
    } else if (key == "on_epoch") {
      o.on_epoch = value.get<bool>();
    } else if (key == "add_dataloader_idx") {
      o.add_dataloader_idx = value;
    } else if (key == "batch_size") {
      o.batch_size = value.get<std::int64_t>();
    } else if (key == "reduce_fx") {
      o.reduce_fx = value == "sum"   ? Reduce::sum
                    : value == "min" ? Reduce::min
                    : value == "max" ? Reduce::max
                                     : Reduce::mean;
    } else {
      ADD_FAILURE() << "unknown option " << key;
    }
  }
  return o;
}

// Sum of what it got over the number of updates.
struct MeanImpl : metrics::SumMetricImpl {
  void update(double value) { add(torch::tensor(value), 1); }
};
using Mean = metrics::MetricHolder<MeanImpl>;

using Action = std::function<void(Module&, const std::string& hook)>;

// A module that acts in all of its hooks.
struct HookedNet : Module {
  explicit HookedNet(Action hook_action) : action(std::move(hook_action)) {
    w = register_parameter("w", torch::zeros({1}));
    mean = register_metric("mean", Mean());
  }
#define LEVIN_HOOK(name) \
  void name() override { action(*this, #name); }
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name) \
  void name(const Batch&, std::int64_t) override { action(*this, #name); }
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  void setup(Stage) override { action(*this, "setup"); }
  void teardown(Stage) override { action(*this, "teardown"); }
  void on_before_zero_grad(optim::Optimizer&) override { action(*this, "on_before_zero_grad"); }
  void on_before_backward(const torch::Tensor&) override { action(*this, "on_before_backward"); }
  void on_before_optimizer_step(optim::Optimizer&) override { action(*this, "on_before_optimizer_step"); }
  void backward(const torch::Tensor& loss) override {
    action(*this, "backward");
    Module::backward(loss);
  }
  void optimizer_step(std::int64_t epoch, std::int64_t batch_idx, TrainerOptimizer& optimizer,
                      const std::function<void()>& closure) override {
    action(*this, "optimizer_step");
    Module::optimizer_step(epoch, batch_idx, optimizer, closure);
  }
  void optimizer_zero_grad(std::int64_t epoch, std::int64_t batch_idx, optim::Optimizer& optimizer) override {
    action(*this, "optimizer_zero_grad");
    Module::optimizer_zero_grad(epoch, batch_idx, optimizer);
  }
  void configure_gradient_clipping(optim::Optimizer& optimizer, std::optional<double> value,
                                   ClipAlgorithm algorithm) override {
    action(*this, "configure_gradient_clipping");
    Module::configure_gradient_clipping(optimizer, value, algorithm);
  }
  torch::Tensor training_step(const Batch&, std::int64_t batch_idx) override {
    action(*this, "training_step");
    if (++batches == stop_at) trainer().stop();
    return std::find(skip.begin(), skip.end(), batch_idx) == skip.end() ? w.sum() : torch::Tensor();
  }
  void validation_step(const Batch&, std::int64_t) override { action(*this, "validation_step"); }
  void test_step(const Batch&, std::int64_t) override { action(*this, "test_step"); }
  Batch predict_step(const Batch& batch, std::int64_t) override {
    action(*this, "predict_step");
    return batch;
  }
  Optimizers configure_optimizers() override {
    action(*this, "configure_optimizers");
    return optim::SGD(parameters(), {.lr = 0.1});
  }

  Action action;
  torch::Tensor w;
  Mean mean{nullptr};
  std::vector<std::int64_t> skip;
  int batches = 0, stop_at = 0;
};

struct RowsImpl : LoggerImpl {
  struct Row {
    std::int64_t step;
    Metrics metrics;
  };
  void log_metrics(const MetricValues& values, const LogPoint& point) override {
    rows.push_back({point.step, metrics_of(values)});
    if (point.epoch) rows.back().metrics.try_emplace("epoch", static_cast<double>(*point.epoch));
  }
  void log_hyperparams(const Map&) override {}
  std::vector<Row> rows;
};

struct WatchImpl : CallbackImpl {
  void see(const char* hook, Trainer& trainer) { seen[hook].push_back(metrics_of(trainer.callback_metrics())); }
  void on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    see("on_train_batch_end", trainer);
  }
  void on_train_epoch_end(Trainer& trainer, Module&) override { see("on_train_epoch_end", trainer); }
  void on_train_end(Trainer& trainer, Module&) override { see("on_train_end", trainer); }
  void on_validation_end(Trainer& trainer, Module&) override { see("on_validation_end", trainer); }
  std::map<std::string, std::vector<Metrics>> seen;
};
using Watch = CallbackHolder<WatchImpl>;

DataLoader loader(const json& spec) {
  const auto samples = spec[0].get<std::int64_t>();
  return {TensorDataset({torch::arange(samples, torch::kFloat).unsqueeze(1)}), {.batch_size = spec[1]}};
}

TrainerOptions options_for(const json& flags) {
  TrainerOptions o = quiet(1);
  o.num_sanity_val_steps = 0;
  for (const auto& [key, value] : flags.items()) {
    if (key == "log_every_n_steps") {
      o.log_every_n_steps = value;
    } else if (key == "max_epochs") {
      o.max_epochs = value;
    } else if (key == "max_steps") {
      o.max_steps = value;
    } else if (key == "num_sanity_val_steps") {
      o.num_sanity_val_steps = value;
    } else if (key == "accumulate_grad_batches") {
      o.accumulate_grad_batches = value;
    } else if (key == "val_check_interval") {
      o.val_check_interval = count(value.get<std::int64_t>());
    } else if (key == "fast_dev_run") {
      o.fast_dev_run = value;
    } else {
      ADD_FAILURE() << "unknown flag " << key;
    }
  }
  return o;
}

class LogCases : public ::testing::TestWithParam<std::string> {};

TEST_P(LogCases, AreLightnings) {
  const json expected = golden()["cases"][GetParam()];
  std::map<std::size_t, std::size_t> calls;
  HookedNet net([&](Module& module, const std::string& hook) {
    for (std::size_t i = 0; i < expected["log"].size(); ++i) {
      const json& entry = expected["log"][i];
      if (entry["fx"] != hook) continue;
      const json& value = entry["values"][calls[i]++ % entry["values"].size()];
      if (value.is_null()) continue;
      const LogOptions options = options_of(entry.value("options", json::object()));
      const auto name = entry["name"].get<std::string>();
      if (entry.contains("metric")) {
        auto& self = static_cast<HookedNet&>(module);
        self.mean->update(number(value));
        self.log(name, self.mean, options);
      } else {
        module.log(name, torch::tensor(number(value)), options);
      }
    }
  });
  net.skip = expected.value("skip", std::vector<std::int64_t>());
  net.stop_at = expected.value("stop_at", 0);

  auto rows = std::make_shared<RowsImpl>();
  Watch watch;
  auto options = options_for(expected.value("flags", json::object()));
  options.logger = Logger(rows);
  options.callbacks = {watch};
  Trainer trainer(options);
  const DataLoader train = loader(expected.value("train", json({5, 2})));
  std::vector<DataLoader> vals;
  for (const json& spec : expected.value("val", json::array({{3, 2}}))) vals.push_back(loader(spec));
  const DataLoader val =
      vals.size() == 1 ? vals[0] : DataLoader(CombinedLoader(vals, {.mode = CombineMode::sequential}));
  const std::string run = expected.value("run", "fit");
  Map result;
  const auto go = [&] {
    if (run == "fit") trainer.fit(net, train, val);
    if (run == "validate") result = trainer.validate(net, val, {.verbose = false});
    if (run == "test") result = trainer.test(net, val, {.verbose = false});
    if (run == "predict") trainer.predict(net, val);
  };
  if (expected.contains("error")) {
    EXPECT_THROW(go(), Error);
    return;
  }
  go();

  EXPECT_TRUE(same(metrics_of(trainer.callback_metrics()), metrics_of(expected["callback_metrics"])));
  EXPECT_TRUE(same(metrics_of(trainer.logged_metrics()), metrics_of(expected["logged_metrics"])));
  EXPECT_TRUE(same(metrics_of(trainer.progress_bar_metrics()), metrics_of(expected["progress_bar_metrics"])));
  if (expected.contains("result")) {
    EXPECT_TRUE(same(metrics_of(result), metrics_of(expected["result"][0])));
  }
  EXPECT_EQ(rows->rows.size(), expected["rows"].size());
  for (std::size_t i = 0; i < std::min(rows->rows.size(), expected["rows"].size()); ++i) {
    EXPECT_EQ(rows->rows[i].step, expected["rows"][i][0].get<std::int64_t>()) << "row " << i;
    EXPECT_TRUE(same(rows->rows[i].metrics, metrics_of(expected["rows"][i][1]))) << "row " << i;
  }
  for (const auto& [hook, seen] : expected["at"].items()) {
    const auto& ours = watch->seen[hook];
    ASSERT_EQ(ours.size(), seen.size()) << hook;
    for (std::size_t i = 0; i < seen.size(); ++i) {
      EXPECT_TRUE(same(ours[i], metrics_of(seen[i]))) << hook << ", call " << i;
    }
  }
}

std::vector<std::string> cases() {
  std::vector<std::string> names;
  const json all = golden();
  for (const auto& [name, value] : all["cases"].items()) {
    if (value.contains("manual")) continue;  // tested with manual optimization
    names.push_back(name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Golden, LogCases, ::testing::ValuesIn(cases()), [](const auto& param) { return param.param; });

TEST(LogHooks, AllowWhatLightningsAllow) {
  int known = 0;
  const json all = golden();
  for (const auto& [hook, rules] : all["hooks"].items()) {
    const auto allowed = rules["allowed"].get<std::string>();
    int probe = -1;
    for (const auto on_step : {std::optional<bool>(), std::optional(true), std::optional(false)}) {
      for (const auto on_epoch : {std::optional<bool>(), std::optional(true), std::optional(false)}) {
        ++probe;
        bool reached = false, threw = false;
        HookedNet net([&](Module& module, const std::string& here) {
          if (here != hook) return;
          reached = true;
          module.log("x", 1.0, {.prog_bar = true, .on_step = on_step, .on_epoch = on_epoch});
        });
        Trainer trainer(quiet(1));
        const DataLoader train = loader({5, 2}), val = loader({3, 2});
        try {
          if (hook.find("test") != std::string::npos) {
            trainer.test(net, val, {.verbose = false});
          } else if (hook.find("predict") != std::string::npos) {
            trainer.predict(net, val);
          } else {
            trainer.fit(net, train, val);
          }
        } catch (const Error&) {
          threw = true;
        }
        if (!reached) break;
        ++known;
        const bool ok = allowed[static_cast<std::size_t>(probe)] == '.';
        EXPECT_EQ(threw, !ok) << hook << " probe " << probe;
        if (!ok || threw) continue;
        const auto names = [](const Metrics& metrics) {
          std::vector<std::string> out;
          for (const auto& metric : metrics) out.push_back(metric.first);
          return out;
        };
        const auto key = [](const std::optional<bool>& v) { return !v ? "unset" : *v ? "true" : "false"; };
        const std::string label = std::string(key(on_step)) + "," + key(on_epoch);
        for (const json& row : rules["names"]) {
          if (row[0] != label) continue;
          EXPECT_EQ(names(metrics_of(trainer.callback_metrics())), row[1].get<std::vector<std::string>>())
              << hook << " " << label;
          EXPECT_EQ(names(metrics_of(trainer.logged_metrics())), row[2].get<std::vector<std::string>>())
              << hook << " " << label;
          EXPECT_EQ(names(metrics_of(trainer.progress_bar_metrics())), row[3].get<std::vector<std::string>>())
              << hook << " " << label;
        }
      }
      if (probe < 0) break;
    }
  }
  EXPECT_GE(known, 9 * 35);
}

}  // namespace
}  // namespace levin
