#include <levin/train/lr_find.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trial_run.h>

#include <ATen/core/Tensor.h>

#include <cmath>

namespace levin {
namespace {

/** Raises the learning rate from step to step and takes the losses down. */
class RangeTestImpl : public CallbackImpl {
 public:
  RangeTestImpl(const LRFindOptions& options, LRFindResult& result) : o_(options), result_(result) {}

  void on_fit_start(Trainer& trainer, Module& module) override {
    if (trainer.num_optimizers() != 1 || !module.automatic_optimization()) {
      throw Error({.what = "lr_find needs one optimizer, in automatic optimization",
                   .value = module.automatic_optimization() ? std::to_string(trainer.num_optimizers()) + " optimizers"
                                                            : "manual optimization",
                   .where = {},
                   .hint = {}});
    }
    trainer.set_schedulers({});
  }

  void on_train_batch_start(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    if (!steps_now(trainer)) return;
    const double lr = rate(trainer.global_step());
    result_.lr.push_back(lr);
    for (optim::Group& group : trainer.optimizer().param_groups()) group.lr = lr;
    loss_ = NAN;
  }

  void on_before_backward(Trainer& trainer, Module&, const at::Tensor& loss) override {
    const Map scaler = trainer.options().precision.has_scaler() ? trainer.options().precision.state_dict() : Map();
    loss_ = loss.detach().item().toDouble() / scaler.get<double>("scale", 1.0);
  }

  void on_train_batch_end(Trainer& trainer, Module&, const Batch&, std::int64_t) override {
    if (!steps_now(trainer)) return;
    const std::int64_t steps = trainer.global_step();
    if (!std::isnan(loss_)) {
      constexpr double kDecay = 0.98;
      average_ = kDecay * average_ + (1 - kDecay) * loss_;
      const double smoothed = average_ / (1 - std::pow(kDecay, static_cast<double>(steps + 1)));
      if (o_.early_stop_threshold && steps > 1 && smoothed > *o_.early_stop_threshold * best_) trainer.stop();
      if (smoothed < best_ || steps == 1) best_ = smoothed;
      result_.loss.push_back(smoothed);
    } else {
      result_.loss.push_back(NAN);
    }
  }

 private:
  static bool steps_now(const Trainer& trainer) {
    return (trainer.batch_idx() + 1) % trainer.accumulate_grad_batches() == 0 || trainer.is_last_batch();
  }

  // Of the step after so many, by the formula of Lightning's schedules, which skip the second value.
  double rate(std::int64_t steps) const {
    if (steps == 0) return o_.min_lr;
    const double share = static_cast<double>(steps + 1) / static_cast<double>(o_.num_training);
    if (o_.mode == LRFindMode::linear) return o_.min_lr + share * (o_.max_lr - o_.min_lr);
    return o_.min_lr * std::pow(o_.max_lr / o_.min_lr, share);
  }

  const LRFindOptions& o_;
  LRFindResult& result_;
  double average_ = 0, best_ = 0, loss_ = NAN;
};

void check(const LRFindOptions& o) {
  const auto require = [](bool ok, const char* what, const std::string& value) {
    if (!ok) throw Error({.what = what, .value = value, .where = "lr_find", .hint = {}});
  };
  require(o.min_lr > 0, "min_lr must be positive", format_double(o.min_lr));
  require(o.max_lr > o.min_lr, "max_lr must be above min_lr", format_double(o.max_lr));
  require(o.num_training >= 1, "num_training must be at least 1", std::to_string(o.num_training));
}

template <class Data>
LRFindResult find(ModuleRef model, Data data, const LRFindOptions& options) {
  check(options);
  LRFindResult result;
  const Untouched untouched(model.module());
  TrainerOptions trial = trial_options(options.trainer, options.num_training);
  trial.callbacks = {std::make_shared<RangeTestImpl>(options, result)};
  Trainer trainer(std::move(trial));
  trainer.fit(model, std::move(data));
  if (trainer.global_step() < options.num_training)
    console::info("lr_find ended after " + std::to_string(trainer.global_step()) + " steps: the loss diverged");
  return result;
}

}  // namespace

std::optional<double> LRFindResult::suggestion(std::int64_t skip_begin, std::int64_t skip_end) const {
  std::vector<double> x, y;
  const auto end = static_cast<std::int64_t>(loss.size()) - skip_end;
  for (std::int64_t i = std::max<std::int64_t>(skip_begin, 0); i < end; ++i) {
    if (!std::isfinite(loss[static_cast<std::size_t>(i)])) continue;
    x.push_back(lr[static_cast<std::size_t>(i)]);
    y.push_back(loss[static_cast<std::size_t>(i)]);
  }
  if (x.size() < 2) return std::nullopt;
  // Differences of second order on points that do not lie evenly, of first order at the two ends.
  const auto slope = [&](std::size_t i) {
    if (i == 0) return (y[1] - y[0]) / (x[1] - x[0]);
    if (i + 1 == x.size()) return (y[i] - y[i - 1]) / (x[i] - x[i - 1]);
    const double before = x[i] - x[i - 1], after = x[i + 1] - x[i];
    return -after / (before * (before + after)) * y[i - 1] + (after - before) / (before * after) * y[i] +
           before / (after * (before + after)) * y[i + 1];
  };
  std::size_t best = 0;
  for (std::size_t i = 1; i < x.size(); ++i) {
    if (slope(i) < slope(best)) best = i;
  }
  return x[best];
}

LRFindResult lr_find(ModuleRef model, DataLoader train, LRFindOptions options) {
  if (!train.defined()) {
    throw Error({.what = "lr_find needs a training loader", .value = "none", .where = {}, .hint = {}});
  }
  const Map position = train.state();
  const LRFindResult result = find(model, train, options);
  train.load_state(position);
  return result;
}

LRFindResult lr_find(ModuleRef model, DataModuleRef data, LRFindOptions options) { return find(model, data, options); }

}  // namespace levin
