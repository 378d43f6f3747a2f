// Every call of every hook, in the order of PyTorch Lightning: whole runs against sequences recorded there.
#include "train/lightning_runs.h"
#include "train/toy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <stdexcept>

namespace levin {
namespace {

using nlohmann::json;
using testing::lightning_golden;
using testing::loader_of;
using testing::TempDir;

struct Boom : std::runtime_error {
  Boom() : std::runtime_error("boom") {}
};

/** The calls of one run, in the notation of tests/golden/scripts/lightning_hooks.py. */
struct Recording {
  json run;
  std::string path;  // where `save` saves
  Trainer* trainer = nullptr;
  std::vector<std::string> calls, counters, modes;
  std::map<std::string, int> counts;

  void call(const std::string& what, const std::string& arguments = "") {
    calls.push_back(arguments.empty() ? what : what + ":" + arguments);
    const int count = ++counts[what];
    if (run.contains("throw") && run["throw"] == json{what, count}) throw Boom();
    if (run.contains("save") && run["save"] == json{what, count}) trainer->save_checkpoint(path);
  }
  std::int64_t number(const char* key, std::int64_t otherwise) const {
    return run.contains(key) ? run[key].get<std::int64_t>() : otherwise;
  }
};

const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::fit: return "fit";
    case Stage::validate: return "validate";
    case Stage::test: return "test";
    case Stage::predict: return "predict";
  }
  return "";
}

// --- the module ---

struct NetBase : Module {
  explicit NetBase(Recording& recording) : rec(recording) {
    w = register_parameter("w", torch::ones({1}));
    frozen = register_module("frozen", torch::nn::BatchNorm1d(1));
    frozen->eval();
    dropout = register_module("dropout", torch::nn::Dropout());
    set_automatic_optimization(!rec.run.contains("manual"));
    save_hyperparameters({{"a", 1}});
  }

  torch::Tensor training_step(const Batch&, std::int64_t batch_idx) override {
    seen("training_step", std::to_string(batch_idx));
    if (rec.number("stop", 0) == ++steps) trainer().stop();
    if (rec.run.contains("manual")) {
      for (TrainerOptimizer& optimizer : optimizers()) {
        std::optional<ToggledOptimizer> toggled;
        if (rec.run["manual"] > 1) toggled.emplace(optimizer);
        optimizer.zero_grad();
        manual_backward(w.sum());
        optimizer.step();
      }
      return {};
    }
    if (rec.run.contains("skip") && rec.run["skip"] == json{batch_idx}) return {};
    log("loss", w.sum());
    return w.sum();
  }
  void validation_step(const Batch&, std::int64_t batch_idx) override {
    seen("validation_step", eval_arguments(batch_idx));
    log("val", 1.0, {.batch_size = 1});  // parts of a combined batch differ in size
  }
  void test_step(const Batch&, std::int64_t batch_idx) override {
    seen("test_step", eval_arguments(batch_idx));
    log("test", 1.0);
  }
  Batch predict_step(const Batch& batch, std::int64_t batch_idx) override {
    seen("predict_step", eval_arguments(batch_idx));
    return batch;
  }

  Optimizers configure_optimizers() override {
    seen("configure_optimizers");
    std::vector<OptimizerConfig> configs;
    for (std::int64_t i = 0; i < rec.number("manual", 1); ++i)
      configs.push_back({.optimizer = optim::SGD(parameters(), {.lr = 0.1})});
    if (rec.run.contains("schedulers")) {
      for (const json& s : rec.run["schedulers"]) {
        LRSchedulerConfig config{.interval = s[0] == "step" ? Interval::step : Interval::epoch,
                                 .frequency = s[1].get<std::int64_t>()};
        if (s[2] == "plateau") {
          config.scheduler = optim::ReduceLROnPlateau(configs[0].optimizer);
          config.monitor = "val";
        } else {
          config.scheduler = optim::StepLR(configs[0].optimizer, {.step_size = 100});
        }
        configs[0].schedulers.push_back(config);
      }
    }
    return Optimizers(configs);
  }
  std::vector<Callback> configure_callbacks() override {
    seen("configure_callbacks");
    return {};
  }
  void configure_model() override { seen("configure_model"); }
  void setup(Stage stage) override { seen("setup", stage_name(stage)); }
  void teardown(Stage stage) override { seen("teardown", stage_name(stage)); }

  // Lightning's modules have neither the hooks of the sanity check nor on_exception: ours are not recorded.
#define LEVIN_HOOK(name)                                                               \
  void name() override {                                                               \
    if (std::string_view(#name).find("sanity") == std::string_view::npos) seen(#name); \
  }
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name)                                                                  \
  void name(const Batch&, std::int64_t batch_idx) override {                              \
    const bool train = std::string_view(#name).starts_with("on_train");                   \
    seen(#name, train ? std::to_string(batch_idx) : eval_arguments(batch_idx));           \
    if (std::string_view(#name) == "on_train_batch_start" && rec.run.contains("leave") && \
        rec.run["leave"] == json{current_epoch(), batch_idx}) {                           \
      trainer().skip_epoch();                                                             \
    }                                                                                     \
  }
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  void on_before_zero_grad(optim::Optimizer& o) override { seen("on_before_zero_grad", index_of(o)); }
  void on_before_backward(const torch::Tensor&) override { seen("on_before_backward"); }
  void on_before_optimizer_step(optim::Optimizer& o) override { seen("on_before_optimizer_step", index_of(o)); }
  void on_save_checkpoint(Checkpoint&) override { seen("on_save_checkpoint"); }
  void on_load_checkpoint(const Checkpoint&) override { seen("on_load_checkpoint"); }

  void backward(const torch::Tensor& loss) override {
    seen("backward");
    Module::backward(loss);
  }
  void optimizer_step(std::int64_t epoch, std::int64_t batch_idx, TrainerOptimizer& optimizer,
                      const std::function<void()>& closure) override {
    seen("optimizer_step", std::to_string(optimizer.index()));
    Module::optimizer_step(epoch, batch_idx, optimizer, closure);
    rec.call("m.optimizer_step.done");
  }
  void optimizer_zero_grad(std::int64_t epoch, std::int64_t batch_idx, optim::Optimizer& optimizer) override {
    seen("optimizer_zero_grad", index_of(optimizer));
    Module::optimizer_zero_grad(epoch, batch_idx, optimizer);
  }
  void lr_scheduler_step(optim::LRScheduler& scheduler, std::optional<double> metric) override {
    const auto& all = trainer().schedulers();
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto& c) { return &c.scheduler == &scheduler; });
    seen("lr_scheduler_step", std::to_string(found - all.begin()));
    Module::lr_scheduler_step(scheduler, metric);
  }
  void configure_gradient_clipping(optim::Optimizer& optimizer, std::optional<double> value,
                                   ClipAlgorithm algorithm) override {
    seen("configure_gradient_clipping", index_of(optimizer));
    Module::configure_gradient_clipping(optimizer, value, algorithm);
    rec.call("m.configure_gradient_clipping.done");
  }
  void on_validation_model_zero_grad() override {
    seen("on_validation_model_zero_grad");
    Module::on_validation_model_zero_grad();
  }
  void on_validation_model_eval() override {
    seen("on_validation_model_eval");
    Module::on_validation_model_eval();
  }
  void on_test_model_eval() override {
    seen("on_test_model_eval");
    Module::on_test_model_eval();
  }
  void on_predict_model_eval() override {
    seen("on_predict_model_eval");
    Module::on_predict_model_eval();
  }

  void seen(const std::string& hook, const std::string& arguments = "") {
    static const std::vector<std::string> counted{
        "on_train_start",           "on_train_epoch_start", "on_train_batch_start", "training_step",
        "on_before_optimizer_step", "on_train_batch_end",   "on_validation_start",  "on_validation_end",
        "on_train_epoch_end",       "on_train_end"};
    const bool fitting = !rec.run.contains("entry");
    if (fitting && std::find(counted.begin(), counted.end(), hook) != counted.end()) {
      rec.counters.push_back(hook + " " + std::to_string(global_step()) + " " + std::to_string(current_epoch()) + " " +
                             std::to_string(trainer().batch_idx()) + " " + std::to_string(trainer().is_last_batch()));
    }
    std::string flags;
    for (const bool flag : {is_training(), frozen->is_training(), dropout->is_training(), torch::GradMode::is_enabled(),
                            torch::InferenceMode::is_enabled()})
      flags += flag ? '1' : '0';
    rec.modes.push_back(hook + " " + flags);
    rec.call("m." + hook, arguments);
  }
  std::string index_of(optim::Optimizer& optimizer) {
    for (std::int64_t i = 0; i < trainer().num_optimizers(); ++i) {
      if (&trainer().optimizer(i) == &optimizer) return std::to_string(i);
    }
    return "?";
  }
  std::string eval_arguments(std::int64_t batch_idx) const;

  Recording& rec;
  torch::Tensor w;
  torch::nn::BatchNorm1d frozen{nullptr};
  torch::nn::Dropout dropout{nullptr};
  std::int64_t steps = 0;
};

/** Recorded for loaders in sequence, the only ones that have an index. */
std::string with_dataloader_idx(const Recording& rec, const Trainer& trainer, std::int64_t batch_idx) {
  const bool several = rec.run.contains("val") && rec.run["val"].is_array() && rec.run["val"].size() > 1;
  return std::to_string(batch_idx) + (several ? "," + std::to_string(trainer.dataloader_idx()) : "");
}

std::string NetBase::eval_arguments(std::int64_t batch_idx) const {
  return with_dataloader_idx(rec, trainer(), batch_idx);
}

// What is overridden changes what the Trainer does, so these hooks come and go with the run.
template <class Base>
struct WithTransfers : Base {
  using Base::Base;
  Batch on_before_batch_transfer(Batch batch, std::int64_t i) override {
    this->seen("on_before_batch_transfer", std::to_string(i));
    return Base::on_before_batch_transfer(std::move(batch), i);
  }
  Batch transfer_batch_to_device(Batch batch, torch::Device device, std::int64_t i) override {
    this->seen("transfer_batch_to_device", std::to_string(i));
    return Base::transfer_batch_to_device(std::move(batch), device, i);
  }
  Batch on_after_batch_transfer(Batch batch, std::int64_t i) override {
    this->seen("on_after_batch_transfer", std::to_string(i));
    return Base::on_after_batch_transfer(std::move(batch), i);
  }
};

template <class Base>
struct WithModelTrain : Base {
  using Base::Base;
  void on_validation_model_train() override {
    this->seen("on_validation_model_train");
    Base::on_validation_model_train();
  }
  void on_test_model_train() override {
    this->seen("on_test_model_train");
    Base::on_test_model_train();
  }
};

// --- the data ---

struct DataBase : DataModule {
  explicit DataBase(Recording& recording) : rec(recording) {}
  void prepare_data() override { seen("prepare_data"); }
  void setup(Stage stage) override { seen("setup", stage_name(stage)); }
  void teardown(Stage stage) override { seen("teardown", stage_name(stage)); }
  void on_exception(std::exception_ptr) override { seen("on_exception"); }
  DataLoader train_dataloader() override {
    seen("train_dataloader");
    return loaders("train", {{6, 2}}, CombineMode::max_size_cycle);
  }
  DataLoader val_dataloader() override {
    seen("val_dataloader");
    return loaders("val", {{4, 2}}, CombineMode::sequential);
  }
  DataLoader test_dataloader() override {
    seen("test_dataloader");
    return loaders("val", {{4, 2}}, CombineMode::sequential);
  }
  DataLoader predict_dataloader() override {
    seen("predict_dataloader");
    return loaders("val", {{4, 2}}, CombineMode::sequential);
  }
  Map state_dict() const override {
    rec.call("d.state_dict");
    return {{"x", 1}};
  }
  void load_state_dict(const Map&) override { seen("load_state_dict"); }

  DataLoader loaders(const char* key, const json& otherwise, CombineMode mode) const {
    json specs = rec.run.contains(key) ? rec.run[key] : otherwise;
    if (specs.is_object()) {
      const std::string name = specs["mode"];
      mode = name == "min_size"   ? CombineMode::min_size
             : name == "max_size" ? CombineMode::max_size
                                  : CombineMode::max_size_cycle;
      specs = json(specs["loaders"]);
    }
    std::vector<DataLoader> made;
    for (const json& spec : specs) {
      const auto samples = spec[0].get<std::int64_t>();
      made.push_back(spec.size() == 3 ? DataLoader(std::make_shared<testing::UnknownLengthLoader>(samples))
                                      : loader_of(samples, spec[1].get<std::int64_t>()));
    }
    if (made.empty()) return {};
    if (made.size() == 1) return made[0];
    return CombinedLoader(made, {.mode = mode});
  }
  void seen(const std::string& hook, const std::string& arguments = "") { rec.call("d." + hook, arguments); }

  Recording& rec;
};

// --- callbacks and logger ---

struct RecorderImpl : CallbackImpl {
  explicit RecorderImpl(Recording& recording) : rec(recording) {}
  void setup(Trainer&, Module&, Stage stage) override { rec.call("c.setup", stage_name(stage)); }
  void teardown(Trainer&, Module&, Stage stage) override { rec.call("c.teardown", stage_name(stage)); }
#define LEVIN_HOOK(name) \
  void name(Trainer&, Module&) override { rec.call("c." #name); }
  LEVIN_PLAIN_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
#define LEVIN_HOOK(name)                                                                                    \
  void name(Trainer& trainer, Module&, const Batch&, std::int64_t batch_idx) override {                     \
    const bool train = std::string_view(#name).starts_with("on_train");                                     \
    rec.call("c." #name, train ? std::to_string(batch_idx) : with_dataloader_idx(rec, trainer, batch_idx)); \
  }
  LEVIN_BATCH_HOOKS(LEVIN_HOOK)
#undef LEVIN_HOOK
  void on_before_zero_grad(Trainer&, Module& m, optim::Optimizer& o) override {
    rec.call("c.on_before_zero_grad", index_of(m, o));
  }
  void on_before_backward(Trainer&, Module&, const at::Tensor&) override { rec.call("c.on_before_backward"); }
  void on_before_optimizer_step(Trainer&, Module& m, optim::Optimizer& o) override {
    rec.call("c.on_before_optimizer_step", index_of(m, o));
  }
  void on_exception(Trainer&, Module&, std::exception_ptr) override { rec.call("c.on_exception"); }
  void on_save_checkpoint(Trainer&, Module&, Checkpoint&) override { rec.call("c.on_save_checkpoint"); }
  void on_load_checkpoint(Trainer&, Module&, const Checkpoint&) override { rec.call("c.on_load_checkpoint"); }
  std::string state_key() const override { return "Recorder"; }
  Map state_dict() const override {
    rec.call("c.state_dict");
    return {{"x", 1}};
  }
  void load_state_dict(const Map&) override { rec.call("c.load_state_dict"); }

  static std::string index_of(Module& module, optim::Optimizer& optimizer) {
    return dynamic_cast<NetBase&>(module).index_of(optimizer);
  }
  Recording& rec;
};
using Recorder = CallbackHolder<RecorderImpl>;

/** Stands for a ModelCheckpoint ("k") or an EarlyStopping ("e"). */
struct MonitorImpl : CallbackImpl {
  MonitorImpl(Recording& recording, std::string letter) : rec(recording), who(std::move(letter)) {}
  void setup(Trainer&, Module&, Stage stage) override { rec.call(who + ".setup", stage_name(stage)); }
  void on_train_start(Trainer&, Module&) override { rec.call(who + ".on_train_start"); }
  void on_train_epoch_end(Trainer&, Module&) override { rec.call(who + ".on_train_epoch_end"); }
  void on_validation_end(Trainer&, Module&) override { rec.call(who + ".on_validation_end"); }
  bool is_checkpoint() const override { return who == "k"; }
  bool monitors() const override { return true; }
  Recording& rec;
  std::string who;
};
using Monitor = CallbackHolder<MonitorImpl>;

struct RecordingLoggerImpl : LoggerImpl {
  explicit RecordingLoggerImpl(Recording& recording) : rec(recording) {}
  void log_metrics(const MetricValues&, const LogPoint& point) override {
    rec.call("l.log_metrics", std::to_string(point.step));
  }
  void log_hyperparams(const Map&) override { rec.call("l.log_hyperparams"); }
  void finalize(std::string_view status) override { rec.call("l.finalize", std::string(status)); }
  Recording& rec;
};

// --- a run, and what Lightning does in it ---

template <class Net>
void play_as(Recording& rec, const std::string& resume) {
  struct DataWithTransfers : DataBase {
    using DataBase::DataBase;
    Batch on_before_batch_transfer(Batch batch, std::int64_t i) override {
      seen("on_before_batch_transfer", std::to_string(i));
      return batch;
    }
    Batch transfer_batch_to_device(Batch batch, c10::Device device, std::int64_t i) override {
      seen("transfer_batch_to_device", std::to_string(i));
      return DataBase::transfer_batch_to_device(std::move(batch), device, i);
    }
    Batch on_after_batch_transfer(Batch batch, std::int64_t i) override {
      seen("on_after_batch_transfer", std::to_string(i));
      return batch;
    }
  };
  TrainerOptions options;
  options.max_epochs = 1;
  if (rec.run.contains("monitors")) options.callbacks = {Monitor(rec, "k"), Monitor(rec, "e")};
  options.callbacks.push_back(Recorder(rec));
  const json flags = rec.run.value("flags", json::object());
  if (!flags.contains("barebones")) {
    options.logger = Logger(std::make_shared<RecordingLoggerImpl>(rec));
    options.num_sanity_val_steps = 0;
    options.log_every_n_steps = 1;
    if (!rec.run.contains("monitors")) options.enable_checkpointing = false;
    options.enable_progress_bar = false;
  }
  testing::set_flags(options, flags);
  const std::string entry = rec.run.value("entry", "fit");
  try {
    Net net(rec);
    DataBase data(rec);
    DataWithTransfers data_with_transfers(rec);
    const DataModuleRef ref =
        rec.run.contains("data_transfers") ? DataModuleRef(data_with_transfers) : DataModuleRef(data);
    Trainer trainer(options);
    rec.trainer = &trainer;
    if (entry == "fit") trainer.fit(net, ref, {.ckpt_path = resume});
    if (entry == "validate") trainer.validate(net, ref, {.verbose = false});
    if (entry == "test") trainer.test(net, ref, {.verbose = false});
    if (entry == "predict") trainer.predict(net, ref);
  } catch (const Boom&) {
    rec.calls.push_back("caught");
  }
}

void play(Recording& rec, const std::string& resume = "") {
  if (rec.run.contains("modes")) return play_as<WithTransfers<NetBase>>(rec, resume);
  if (rec.run.contains("data_transfers")) return play_as<WithModelTrain<NetBase>>(rec, resume);
  play_as<WithModelTrain<WithTransfers<NetBase>>>(rec, resume);
}

std::vector<std::string> calls_of(const json& run) {
  std::vector<std::string> calls;
  for (const std::string call : run["calls"]) {
    if (call.starts_with("cm.")) {
      calls.push_back("c" + call.substr(2));
      calls.push_back("m" + call.substr(2));
    } else {
      calls.push_back(call);
    }
  }
  return calls;
}

const json& runs() {
  static const json all = lightning_golden("lightning_hooks.json")["runs"];
  return all;
}

std::vector<std::string> run_names() {
  std::vector<std::string> names;
  for (const auto& [name, run] : runs().items()) names.push_back(name);
  return names;
}

// --- where Levin differs on purpose: Lightning's sequence is changed into ours ---

using Calls = std::vector<std::string>;

/** The place of the n-th (from 1) call that begins with `prefix`. */
Calls::iterator nth(Calls& calls, const std::string& prefix, int n = 1) {
  return std::find_if(calls.begin(), calls.end(),
                      [&](const std::string& call) { return call.starts_with(prefix) && --n == 0; });
}

/** `first` directly before `second`: the other way round, everywhere. */
void swap_neighbours(Calls& calls, const std::string& first, const std::string& second) {
  for (std::size_t i = 1; i < calls.size(); ++i) {
    if (calls[i - 1] == first && calls[i] == second) std::swap(calls[i - 1], calls[i]);
  }
}

void deviate(const std::string& name, Calls& calls) {
  // A sanity check is announced once there is a loader to check with.
  swap_neighbours(calls, "c.on_sanity_check_start", "d.val_dataloader");
  // Nothing to validate, so no gradients are cleared for it.
  if (name == "no_val_loader") calls.erase(nth(calls, "m.on_validation_model_zero_grad"));
  // The validation loader is asked for before the training begins: its faults show at once.
  if (name == "val_every_second_epoch") {
    calls.erase(nth(calls, "d.val_dataloader"));
    calls.insert(nth(calls, "d.train_dataloader") + 1, "d.val_dataloader");
  }
  // Saved in on_train_batch_end: what was still to do for that batch, its row in the loggers, is done by the resumed
  // run.
  if (name == "save_mid_epoch.resumed" || name == "save_mid_epoch_and_sanity.resumed") {
    calls.insert(nth(calls, "m.on_train_start") + 1, "l.log_metrics:1");
  }
  // An epoch that was saved at its end does not end once more.
  if (name == "save_at_epoch_end_max_steps.resumed") {
    calls.erase(nth(calls, "c.on_train_epoch_end"));
    calls.erase(nth(calls, "m.on_train_epoch_end"));
    // Nor are its steps counted once more.
    for (std::string& call : calls) {
      const std::string row = "l.log_metrics:";
      if (call.starts_with(row)) call = row + std::to_string(std::stoi(call.substr(row.size())) - 1);
    }
  }
  // min_steps is a number of steps: Lightning, with min_epochs 1 implied, goes on to the end of the epoch.
  if (name == "min_steps") {
    const auto from = nth(calls, "l.log_metrics:1") + 1, to = nth(calls, "l.log_metrics:3") + 1;
    calls.erase(from, to);
    *nth(calls, "l.log_metrics:3") = "l.log_metrics:1";
  }
}

void deviate_counters(const std::string& name, Calls& counters) {
  // An epoch that starts has no batch yet; Lightning still shows the last one of the epoch before.
  for (std::string& line : counters) {
    if (!line.starts_with("on_train_epoch_start")) continue;
    for (int i = 0; i < 2; ++i) line.erase(line.rfind(' '));
    line += " -1 0";
  }
  // An epoch saved at its end is over from the start.
  if (name == "save_at_epoch_end_and_sanity.resumed") {
    for (int n = 0; n < 2; ++n) {
      std::string& line = counters[static_cast<std::size_t>(n)];
      line.replace(line.find(" 3 0 "), 5, " 3 1 ");
    }
  }
  if (name == "save_at_epoch_end_max_steps.resumed") {
    *nth(counters, "on_train_start") = "on_train_start 2 1 1 1";
    counters.erase(nth(counters, "on_train_epoch_end"));
  }
  if (name == "min_steps") {
    counters.erase(nth(counters, "on_train_batch_start 2"), nth(counters, "on_validation_start"));
    for (const char* hook : {"on_validation_start", "on_validation_end", "on_train_epoch_end"})
      *nth(counters, hook) = std::string(hook) + " 2 0 1 0";
    *nth(counters, "on_train_end") = "on_train_end 2 1 1 0";
  }
}

/** Where two sequences part, with what stands around it; "" when they are equal. */
std::string difference(const std::vector<std::string>& ours, const std::vector<std::string>& lightnings) {
  if (ours == lightnings) return "";
  const auto at = std::mismatch(ours.begin(), ours.end(), lightnings.begin(), lightnings.end()).first - ours.begin();
  const auto around = [&](const std::vector<std::string>& calls) {
    std::string text;
    const auto size = static_cast<std::ptrdiff_t>(calls.size());
    for (auto i = std::max<std::ptrdiff_t>(at - 3, 0); i < std::min(at + 6, size); ++i)
      text += (i == at ? " >>> " : " ") + calls[static_cast<std::size_t>(i)];
    return text + (at + 6 < size ? " ..." : " (end)");
  };
  return "at " + std::to_string(at) + "\n  ours:     " + around(ours) + "\n  Lightning:" + around(lightnings);
}

class HookSequence : public ::testing::TestWithParam<std::string> {};

TEST_P(HookSequence, IsLightnings) {
  console::set_level(console::Level::error);
  const TempDir dir;
  std::string name = GetParam();
  Recording first{.run = runs()[name], .path = dir / "saved.ckpt"}, resumed;
  Recording* recording = &first;
  if (name.ends_with(".resumed")) {
    first.run = runs()[name.substr(0, name.size() - 8)];
    play(first);
    resumed = {.run = runs()[name], .path = first.path};
    play(resumed, first.path);
    recording = &resumed;
  } else {
    play(first);
  }
  console::set_level(console::Level::info);
  const json& golden = runs()[name];
  Calls calls = calls_of(golden);
  deviate(name, calls);
  EXPECT_EQ(difference(recording->calls, calls), "");
  if (golden.contains("counters")) {
    Calls counters = golden["counters"];
    deviate_counters(name, counters);
    EXPECT_EQ(difference(recording->counters, counters), "");
  }
  if (golden.contains("modes")) {
    EXPECT_EQ(difference(recording->modes, golden["modes"].get<Calls>()), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, HookSequence, ::testing::ValuesIn(run_names()), [](const auto& param) {
  std::string name = param.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

}  // namespace
}  // namespace levin
