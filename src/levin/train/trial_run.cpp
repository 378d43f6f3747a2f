#include <levin/train/trial_run.h>

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>

namespace levin {

TrainerOptions trial_options(TrainerOptions options, std::int64_t steps) {
  TrainerOptions trial;
  trial.accelerator = std::move(options.accelerator);
  trial.device = options.device;
  trial.precision = std::move(options.precision);
  trial.accumulate_grad_batches = options.accumulate_grad_batches;
  trial.gradient_clip_val = options.gradient_clip_val;
  trial.gradient_clip_algorithm = options.gradient_clip_algorithm;
  trial.deterministic = options.deterministic;
  trial.benchmark = options.benchmark;
  trial.detect_anomaly = options.detect_anomaly;
  trial.logger = false;
  trial.enable_checkpointing = false;
  trial.enable_progress_bar = false;
  trial.num_sanity_val_steps = 0;
  trial.limit_val_batches = count(0);
  trial.max_epochs = -1;
  trial.max_steps = steps;
  trial.handle_signals = false;
  return trial;
}

Untouched::Untouched(Module& module) : module_(module), device_(module.device()), modes_(module) {
  const auto keep = [&](const at::Tensor& tensor) { tensors_.emplace_back(tensor, tensor.detach().clone()); };
  for (const at::Tensor& parameter : module.parameters()) keep(parameter);
  for (const at::Tensor& buffer : module.buffers()) keep(buffer);
  for (const auto& [name, metric] : module.registered_metrics()) {
    auto& copies = metrics_.emplace_back();
    for (const at::Tensor& tensor : metric->state()) copies.push_back(tensor.detach().clone());
  }
  const auto keep_generator = [&](torch::Device device) {
    const at::Generator generator = at::globalContext().defaultGenerator(device);
    generators_.emplace_back(generator, generator.get_state());
  };
  keep_generator(torch::kCPU);
  if (!device_.is_cpu()) keep_generator(device_);
}

Untouched::~Untouched() {
  const at::NoGradGuard no_grad;
  module_.to(device_);
  for (auto& [tensor, copy] : tensors_) {
    tensor.detach().copy_(copy);
    tensor.mutable_grad().reset();
  }
  for (std::size_t i = 0; i < metrics_.size(); ++i) module_.registered_metrics()[i].second->load_state(metrics_[i]);
  for (auto& [generator, state] : generators_) generator.set_state(state);
}

}  // namespace levin
