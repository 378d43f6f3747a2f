// From a batch to new parameters: the losses, their gradients, and the optimizers' steps.
#include <levin/train/trainer_impl.h>

#include <levin/core/error.h>
#include <levin/compile/optimizer_stage.h>
#include <levin/optim/clip_grad.h>
#include <levin/train/compiled_stages.h>

#include <algorithm>

namespace levin {

// Batches are accumulated in windows of equal size from the start of the epoch; the last one may be shorter.
Trainer::Impl::Window Trainer::Impl::window_of(std::int64_t batch_idx) const {
  const std::int64_t size = accumulate_grad_batches;
  const std::int64_t begin = batch_idx - batch_idx % size;
  const bool last = batch_idx + 1 == begin + size || progress.is_last_batch;
  // How short the last window is shows beforehand only where the loader knows its length.
  const std::int64_t known = num_training_batches == kUnknownLength ? size : num_training_batches - begin;
  return {.index = batch_idx / size,
          .begin = begin,
          .size = options.lightning_compat ? size : std::min(size, known),
          .first = batch_idx == begin,
          .last = last};
}

void Trainer::Impl::train_batch(const Batch& batch, std::int64_t batch_idx) {
  if (!model->automatic_optimization() || !optimizers.defined()) {
    context = Hook::training_step;
    const ProfiledAction action(profiler(), Hook::training_step);
    const Precision::Context forward(options.precision, device.type());
    model->training_step(batch, batch_idx, 0);
    context = Hook::none;
    return;
  }
  const Window window = window_of(batch_idx);
  if (optimizers.size() == 1) return optimize(0, batch, batch_idx, window);
  for (std::int64_t i = 0; i < optimizers.size(); ++i) {
    if ((window.index + 1) % optimizers.frequency(i) != 0) continue;
    toggle(i);
    optimize(i, batch, batch_idx, window);
    untoggle();
  }
}

void Trainer::Impl::optimize(std::int64_t index, const Batch& batch, std::int64_t batch_idx, const Window& window) {
  if (compiled && compiled->train(index, batch, batch_idx, window)) return;
  if (!window.last) return compute_gradients(index, batch, batch_idx, window);
  if (!model_hooks.has(Hook::optimizer_step)) {
    compute_gradients(index, batch, batch_idx, window);
    return update_parameters(index);
  }
  TrainerOptimizer optimizer(self, index);
  context = Hook::optimizer_step;
  model->optimizer_step(progress.epoch.current.completed, batch_idx, optimizer,
                        [&] { compute_gradients(index, batch, batch_idx, window); });
  context = Hook::none;
}

void Trainer::Impl::compute_gradients(std::int64_t index, const Batch& batch, std::int64_t batch_idx,
                                      const Window& window) {
  context = Hook::training_step;
  torch::Tensor loss;
  {
    const ProfiledAction action(profiler(), Hook::training_step);
    const Precision::Context forward(options.precision, device.type());
    loss = model->training_step(batch, batch_idx, index);
  }
  context = Hook::none;
  loss_missing = !loss.defined();
  if (loss.defined() && loss.numel() != 1) {
    throw Error({.what = "training_step must return a loss with one element",
                 .value = "a tensor of " + std::to_string(loss.numel()) + " elements",
                 .where = {},
                 .hint = "reduce it, for instance with .mean()"});
  }
  if (window.first) zero_grad(index);
  if (!loss.defined()) return;
  if (window.size > 1) loss = loss / static_cast<double>(window.size);
  if (!loss.requires_grad()) {
    throw Error({.what = "the loss of training_step does not depend on any parameter that requires grad",
                 .value = optimizers.size() == 1 ? "" : "optimizer " + std::to_string(index),
                 .where = {},
                 .hint = "compute it from the model's output without detach(), and leave some parameter unfrozen"});
  }
  backward(loss);
  correct_short_window(index, batch_idx, window);
}

// A loader of unknown length ended within the window: only now is its real size known.
void Trainer::Impl::correct_short_window(std::int64_t index, std::int64_t batch_idx, const Window& window) {
  const std::int64_t held = batch_idx + 1 - window.begin;
  if (window.last && held < window.size && !options.lightning_compat) {
    const double factor = static_cast<double>(window.size) / static_cast<double>(held);
    for (const at::Tensor& parameter : optimizers.optimizer(index).parameters()) {
      if (parameter.grad().defined()) parameter.mutable_grad().mul_(factor);
    }
  }
}

void Trainer::Impl::zero_grad(std::int64_t index) {
  optim::Optimizer& optimizer = optimizers.optimizer(index);
  call_callbacks(Hook::on_before_zero_grad, &CallbackImpl::on_before_zero_grad, optimizer);
  call_module(Hook::on_before_zero_grad, &Module::on_before_zero_grad, optimizer);
  progress.zero_grad.increment_ready();
  if (model_hooks.has(Hook::optimizer_zero_grad)) {
    context = Hook::optimizer_zero_grad;
    model->optimizer_zero_grad(progress.epoch.current.completed, progress.batch.current.ready - 1, optimizer);
  } else {
    optimizer.zero_grad();
  }
  progress.zero_grad.increment_completed();
  context = Hook::none;
}

// Whether gradients of a window that is not complete wait for its other batches.
bool Trainer::Impl::accumulating() const {
  return !model->automatic_optimization() ||
         (progress.batch.current.ready % accumulate_grad_batches != 0 && !progress.is_last_batch);
}

// Between windows: their memory serves the validation. In manual optimization only the module knows whether they count.
void Trainer::Impl::forget_gradients() {
  if (!model->automatic_optimization()) return;
  for (std::int64_t i = 0; i < optimizers.size(); ++i) optimizers.optimizer(i).zero_grad();
}

void Trainer::Impl::clear_gradients_for_validation() {
  if (model->automatic_optimization() && accumulating()) return;
  if (model_hooks.has(Hook::on_validation_model_zero_grad)) {
    context = Hook::on_validation_model_zero_grad;
    model->on_validation_model_zero_grad();
    context = Hook::none;
  } else {
    forget_gradients();
  }
}

void Trainer::Impl::backward(const torch::Tensor& unscaled) {
  const torch::Tensor loss = options.precision.scale(unscaled);
  call_callbacks(Hook::on_before_backward, &CallbackImpl::on_before_backward, loss);
  call_module(Hook::on_before_backward, &Module::on_before_backward, loss);
  {
    const ProfiledAction action(profiler(), Hook::backward);
    if (model_hooks.has(Hook::backward)) {
      context = Hook::backward;
      model->backward(loss);
    } else {
      context = Hook::none;
      loss.backward();
    }
  }
  on_after_backward();
}

void Trainer::Impl::update_parameters(std::int64_t index, compile::OptimizerStage* flat) {
  optim::Optimizer& optimizer = optimizers.optimizer(index);
  const bool automatic = model->automatic_optimization();
  // As in Lightning, a scaler has nothing to do where the window's last batch had no loss: the step is left out.
  const bool steps_scaled = !options.precision.has_scaler() || !automatic || !loss_missing;
  if (steps_scaled) options.precision.unscale(optimizer);
  call_callbacks(Hook::on_before_optimizer_step, &CallbackImpl::on_before_optimizer_step, optimizer);
  call_module(Hook::on_before_optimizer_step, &Module::on_before_optimizer_step, optimizer);
  if (automatic && model_hooks.has(Hook::configure_gradient_clipping)) {
    context = Hook::configure_gradient_clipping;
    model->configure_gradient_clipping(optimizer, options.gradient_clip_val, options.gradient_clip_algorithm);
  } else if (automatic && options.gradient_clip_val && flat) {
    flat->clip();
  } else if (automatic && options.gradient_clip_val) {
    clip_gradients(optimizer, *options.gradient_clip_val, options.gradient_clip_algorithm);
  }
  context = automatic ? Hook::none : Hook::training_step;
  Progress& steps = automatic ? progress.optimizer_step : progress.manual_step;
  steps.increment_ready();
  if (steps_scaled) {
    const ProfiledAction action(profiler(), Hook::optimizer_step);
    if (flat) {
      flat->update();
    } else {
      options.precision.step(optimizer);
    }
  }
  steps.increment_completed();
}

void Trainer::Impl::clip_gradients(optim::Optimizer& optimizer, double value, ClipAlgorithm algorithm) {
  if (algorithm == ClipAlgorithm::norm) {
    optim::clip_grad_norm_(optimizer, value);
  } else {
    optim::clip_grad_value_(optimizer, value);
  }
}

void Trainer::Impl::toggle(std::int64_t index) {
  if (toggled >= 0) {
    throw Error({.what = "an optimizer is toggled while another one is",
                 .value = "optimizer " + std::to_string(index) + " while " + std::to_string(toggled),
                 .where = {},
                 .hint = "call untoggle first, or use a ToggledOptimizer in a scope of its own"});
  }
  toggled = index;
  const auto own = optimizers.optimizer(index).parameters();
  for (std::int64_t i = 0; i < optimizers.size(); ++i) {
    if (i == index) continue;
    for (const at::Tensor& parameter : optimizers.optimizer(i).parameters()) {
      const bool shared =
          std::any_of(own.begin(), own.end(), [&](const at::Tensor& p) { return p.is_same(parameter); });
      if (shared || !parameter.requires_grad()) continue;
      toggled_flags.emplace_back(parameter, true);
      parameter.set_requires_grad(false);
    }
  }
}

void Trainer::Impl::untoggle() {
  for (const auto& [parameter, flag] : toggled_flags) parameter.set_requires_grad(flag);
  toggled_flags.clear();
  toggled = -1;
}

void Trainer::Impl::step_schedulers(Interval interval, bool plateau) {
  // In manual optimization the module steps its schedulers.
  if (!model->automatic_optimization()) return;
  for (LRSchedulerConfig& config : optimizers.schedulers()) {
    if (config.interval != interval || config.scheduler.needs_metric() != plateau) continue;
    const std::int64_t done =
        interval == Interval::epoch ? progress.epoch.current.ready : progress.batches_that_stepped + 1;
    if (done % config.frequency != 0) continue;
    std::optional<double> metric;
    if (plateau) {
      if (!config.strict && !find_metric(config.monitor)) continue;
      metric = self.metric(config.monitor, "LRSchedulerConfig::monitor");
    }
    progress.scheduler.increment_ready();
    if (model_hooks.has(Hook::lr_scheduler_step)) {
      context = Hook::lr_scheduler_step;
      model->lr_scheduler_step(config.scheduler, metric);
      context = Hook::none;
    } else if (metric) {
      config.scheduler.step(*metric);
    } else {
      config.scheduler.step();
    }
    progress.scheduler.increment_completed();
  }
}

// --- what a module sees of it ---

void TrainerOptimizer::step(const std::function<void()>& closure) {
  Trainer::Impl& run = *trainer_->impl_;
  if (closure) closure();
  run.update_parameters(index_);
}

void TrainerOptimizer::zero_grad() { optimizer().zero_grad(); }
void TrainerOptimizer::toggle() { trainer_->impl_->toggle(index_); }
void TrainerOptimizer::untoggle() { trainer_->impl_->untoggle(); }
optim::Optimizer& TrainerOptimizer::optimizer() const { return trainer_->optimizer(index_); }

std::vector<TrainerOptimizer> Module::optimizers() const {
  std::vector<TrainerOptimizer> list;
  for (std::int64_t i = 0; i < trainer().num_optimizers(); ++i) list.emplace_back(trainer(), i);
  return list;
}

TrainerOptimizer Module::optimizer(std::int64_t index) const {
  trainer().optimizer(index);  // throws when there is none
  return {trainer(), index};
}

std::vector<optim::LRScheduler> Module::lr_schedulers() const {
  std::vector<optim::LRScheduler> list;
  for (const LRSchedulerConfig& config : trainer().schedulers()) list.push_back(config.scheduler);
  return list;
}

void Module::manual_backward(const torch::Tensor& loss) {
  if (automatic_optimization_) {
    throw Error({.what = "manual_backward was called in automatic optimization",
                 .value = {},
                 .where = {},
                 .hint = "return the loss from training_step, or call set_automatic_optimization(false)"});
  }
  Trainer::Impl& run = *trainer().impl_;
  run.backward(loss);
  run.context = Hook::training_step;
}

void Module::clip_gradients(optim::Optimizer& optimizer, double value, ClipAlgorithm algorithm) {
  trainer().impl_->clip_gradients(optimizer, value, algorithm);
}

void Module::backward(const torch::Tensor& loss) { loss.backward(); }

void Module::optimizer_step(std::int64_t, std::int64_t, TrainerOptimizer& optimizer,
                            const std::function<void()>& closure) {
  optimizer.step(closure);
}

void Module::optimizer_zero_grad(std::int64_t, std::int64_t, optim::Optimizer& optimizer) { optimizer.zero_grad(); }

void Module::lr_scheduler_step(optim::LRScheduler& scheduler, std::optional<double> metric) {
  if (metric) {
    scheduler.step(*metric);
  } else {
    scheduler.step();
  }
}

void Module::on_validation_model_zero_grad() { trainer().impl_->forget_gradients(); }

void Module::configure_gradient_clipping(optim::Optimizer& optimizer, std::optional<double> value,
                                         ClipAlgorithm algorithm) {
  if (value) clip_gradients(optimizer, *value, algorithm);
}

}  // namespace levin
