#include <levin/sweep/module_trainable.h>

#include <levin/optim/lr_scheduler.h>
#include <levin/optim/optimizer.h>
#include <levin/train/callbacks/callback.h>
#include <levin/train/checkpoint.h>
#include <levin/train/train_state.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace levin::tune {
namespace {

// A Trainer's state, carried by a trial's without a look inside.
struct Carried : Opaque {
  explicit Carried(TrainState s) : state(std::move(s)) {}
  std::string describe() const override { return "training state"; }
  TrainState state;
};

// Puts the settings that the module configured back after a state of another config was restored.
class OwnSettings : public CallbackImpl {
 public:
  void on_fit_start(Trainer& trainer, Module&) override {
    for (std::int64_t i = 0; i < trainer.num_optimizers(); ++i) {
      const auto groups = trainer.optimizer(i).param_groups();
      configured_.emplace_back(groups.begin(), groups.end());
    }
  }

  void on_train_start(Trainer& trainer, Module&) override {
    for (std::int64_t i = 0; i < trainer.num_optimizers(); ++i) {
      const auto& configured = configured_[static_cast<std::size_t>(i)];
      const auto groups = trainer.optimizer(i).param_groups();
      for (std::size_t g = 0; g < groups.size(); ++g) {
        optim::Group& group = groups[g];
        const optim::Group& own = configured[g];
        // How far the schedule had come.
        const double base = group.initial_lr.value_or(group.lr), own_base = own.initial_lr.value_or(own.lr);
        group.lr = base == 0 ? own_base : own_base * (group.lr / base);
        if (group.initial_lr) group.initial_lr = own_base;
        group.momentum = own.momentum;
        group.dampening = own.dampening;
        group.betas = own.betas;
        group.eps = own.eps;
        group.weight_decay = own.weight_decay;
        group.nesterov = own.nesterov;
        group.maximize = own.maximize;
      }
    }
    for (const LRSchedulerConfig& config : trainer.schedulers()) {
      optim::LRScheduler scheduler = config.scheduler;
      Map state = scheduler.state_dict();
      List bases, last;
      for (const optim::Group& group : scheduler.optimizer().param_groups()) {
        bases.push_back(group.initial_lr.value_or(group.lr));
        last.push_back(group.lr);
      }
      if (state.contains("base_lrs")) state["base_lrs"] = bases;
      if (state.contains("_last_lr")) state["_last_lr"] = last;
      scheduler.load_state_dict(state);
    }
  }

 private:
  std::vector<std::vector<optim::Group>> configured_;
};

class ModuleTrainable : public Trainable {
 public:
  explicit ModuleTrainable(ModuleTrainableOptions options) : options_(std::move(options)) {}

  void setup(const Config& config) override {
    config_ = config;
    model_.emplace(options_.model(config));
    train_ = options_.train(config);
    if (options_.val) val_ = options_.val(config);
  }

  Metrics step() override {
    TrainerOptions options = options_.trainer ? options_.trainer(config_) : TrainerOptions{.logger = false};
    if (!options.enable_checkpointing) options.enable_checkpointing = false;
    if (!options.enable_progress_bar) options.enable_progress_bar = false;
    if (!options.num_sanity_val_steps) options.num_sanity_val_steps = 0;
    options.handle_signals = false;
    options.max_epochs = epochs_ + options_.epochs_per_step;
    options.max_steps = -1;
    if (own_settings_) options.callbacks.push_back(std::make_shared<OwnSettings>());
    trainer_ = std::make_unique<Trainer>(std::move(options));
    trainer_->fit(model_->ref(), train_, val_, {.state = state_});
    own_settings_ = false;
    epochs_ = trainer_->current_epoch();
    state_ = trainer_->state();
    Metrics metrics = trainer_->callback_metrics();
    metrics["epoch"] = epochs_;
    return metrics;
  }

  State save() const override {
    check_started();
    return {{"train_state", std::shared_ptr<const Opaque>(std::make_shared<Carried>(state_))},
            {"epochs", epochs_},
            {"config", config_}};
  }

  void load(const State& state) override {
    const auto carried = std::dynamic_pointer_cast<const Carried>(state.at("train_state").as_opaque());
    if (carried == nullptr) throw Error("this is the state of another kind of trainable");
    state_ = carried->state;
    epochs_ = state.get<std::int64_t>("epochs");
    own_settings_ = !(state.get<Map>("config") == config_);
  }

  void save_file(const std::filesystem::path& path) const override {
    check_started();
    state_.save(path.string());
  }

  void load_file(const std::filesystem::path& path) override {
    state_ = TrainState::load(path.string());
    epochs_ = state_.checkpoint().at("epoch").as_int();
  }

 private:
  void check_started() const {
    if (!state_) throw Error("a module's trial has no state before its first step");
  }

  ModuleTrainableOptions options_;
  Config config_;
  std::optional<OwnedModule> model_;
  DataLoader train_, val_;
  std::unique_ptr<Trainer> trainer_;
  TrainState state_;
  std::int64_t epochs_ = 0;
  bool own_settings_ = false;
};

}  // namespace

TrainableFactory module_trainable(ModuleTrainableOptions options) {
  if (!options.model || !options.train) {
    throw Error({.what = "a module's trials need a model and training data",
                 .value = options.model ? "no train" : "no model",
                 .where = "module_trainable",
                 .hint = {}});
  }
  if (options.epochs_per_step < 1) {
    throw Error({.what = "epochs_per_step must be positive",
                 .value = std::to_string(options.epochs_per_step),
                 .where = "module_trainable",
                 .hint = {}});
  }
  return [options = std::move(options)] { return std::make_unique<ModuleTrainable>(options); };
}

}  // namespace levin::tune
