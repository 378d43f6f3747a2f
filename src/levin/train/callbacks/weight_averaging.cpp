#include <levin/train/callbacks/weight_averaging.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/checkpoint.h>
#include <levin/train/trainer.h>

#include <ATen/ATen.h>

namespace levin {
namespace {

// What is averaged, in the order of `average_`: parameters, then buffers.
std::vector<at::Tensor> tensors_of(const torch::nn::Module& module) {
  std::vector<at::Tensor> tensors = module.parameters();
  for (const at::Tensor& buffer : module.buffers()) tensors.push_back(buffer);
  return tensors;
}

// The state_dict of `module` with `tensors` in place of its own.
PickleDict state_of(const torch::nn::Module& module, const std::vector<at::Tensor>& tensors) {
  PickleDict state = state_dict(module);
  const auto own = tensors_of(module);
  for (auto& [name, value] : state) {
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (value.is_tensor() && value.as_tensor().data_ptr() == own[i].data_ptr() &&
          value.as_tensor().sizes() == own[i].sizes() && own[i].numel() > 0) {
        value = tensors[i];
        break;
      }
    }
  }
  return state;
}

}  // namespace

WeightAveragingImpl::WeightAveragingImpl(WeightAveragingOptions options, std::string key)
    : options_(std::move(options)), key_(std::move(key)) {
  if (!options_.avg_fn) {
    options_.avg_fn = [](const at::Tensor& average, const at::Tensor& current, std::int64_t n) {
      return average + (current - average) / static_cast<double>(n + 1);
    };
  }
  if (!options_.update_at_step) options_.update_at_step = [](std::int64_t) { return true; };
  if (!options_.update_at_epoch) options_.update_at_epoch = [](std::int64_t) { return false; };
}

void WeightAveragingImpl::setup(Trainer&, Module&, Stage stage) {
  fitting_ = stage == Stage::fit;
  swapped_ = false;
  if (!fitting_) return;
  average_.clear();
  n_averaged_ = 0;
  latest_update_step_ = 0;
  latest_update_epoch_ = -1;
}

// By now a checkpoint has been loaded, if there is one, and the module is on its device.
void WeightAveragingImpl::on_fit_start(Trainer&, Module& module) {
  const at::NoGradGuard no_grad;
  const auto own = tensors_of(module);
  if (average_.size() != own.size()) {
    average_.clear();
    for (const at::Tensor& tensor : own) average_.push_back(tensor.detach().clone());
  }
  for (std::size_t i = 0; i < own.size(); ++i) average_[i] = average_[i].to(own[i].device());
}

void WeightAveragingImpl::update(Module& module) {
  const at::NoGradGuard no_grad;
  const auto own = tensors_of(module);
  const std::size_t parameters = module.parameters().size();
  for (std::size_t i = 0; i < own.size(); ++i) {
    const bool averaged = n_averaged_ > 0 && (i < parameters || options_.use_buffers);
    average_[i].copy_(averaged ? options_.avg_fn(average_[i], own[i].detach(), n_averaged_) : own[i].detach());
  }
  ++n_averaged_;
}

void WeightAveragingImpl::on_train_batch_end(Trainer& trainer, Module& module, const Batch&, std::int64_t) {
  const std::int64_t steps = trainer.global_step();
  if (steps <= latest_update_step_ || !options_.update_at_step(steps - 1)) return;
  update(module);
  latest_update_step_ = steps;
}

void WeightAveragingImpl::on_train_epoch_end(Trainer& trainer, Module& module) {
  const std::int64_t epoch = trainer.current_epoch();
  if (epoch <= latest_update_epoch_ || !options_.update_at_epoch(epoch)) return;
  update(module);
  latest_update_epoch_ = epoch;
}

// A run that a signal ended goes on later, with the weights in training.
void WeightAveragingImpl::on_train_end(Trainer& trainer, Module& module) {
  if (swapped_) swap(module);
  if (trainer.interrupted() || n_averaged_ == 0) return;
  const at::NoGradGuard no_grad;
  const auto own = tensors_of(module);
  for (std::size_t i = 0; i < own.size(); ++i) own[i].detach().copy_(average_[i]);
}

void WeightAveragingImpl::swap(Module& module) {
  const at::NoGradGuard no_grad;
  const auto own = tensors_of(module);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const at::Tensor kept = average_[i].clone();
    average_[i].copy_(own[i].detach());
    own[i].detach().copy_(kept);
  }
  swapped_ = !swapped_;
}

void WeightAveragingImpl::on_validation_epoch_start(Trainer&, Module& module) {
  if (fitting_ && n_averaged_ > 0) swap(module);
}
void WeightAveragingImpl::on_validation_epoch_end(Trainer&, Module& module) {
  if (swapped_) swap(module);
}
void WeightAveragingImpl::on_exception(Trainer&, Module& module, std::exception_ptr) {
  if (swapped_) swap(module);
}

void WeightAveragingImpl::on_save_checkpoint(Trainer&, Module& module, Checkpoint& checkpoint) {
  if (!fitting_ || n_averaged_ == 0 || average_.size() != tensors_of(module).size()) return;
  const PickleDict in_module = checkpoint.at("state_dict").as_dict();
  const PickleDict aside = state_of(module, average_);
  // Within a validation the two have changed places.
  checkpoint["current_model_state"] = swapped_ ? aside : in_module;
  checkpoint["state_dict"] = swapped_ ? in_module : aside;
  checkpoint["averaging_state"] = PickleDict{{"n_averaged", at::scalar_tensor(n_averaged_, at::kLong)}};
}

void WeightAveragingImpl::on_load_checkpoint(Trainer&, Module& module, const Checkpoint& checkpoint) {
  if (!fitting_) return;
  // The module was loaded with the average.
  average_.clear();
  for (const at::Tensor& tensor : tensors_of(module)) average_.push_back(tensor.detach().clone());
  const PickleValue *current = checkpoint.find("current_model_state"), *averaging = checkpoint.find("averaging_state");
  if (!current || !averaging) {
    console::info("the checkpoint holds no average: averaging begins with its weights");
    return;
  }
  n_averaged_ = averaging->as_dict().at("n_averaged").as_tensor().item().toLong();
  levin::load_state_dict(module, current->as_dict(), {.cast = true, .where = "current_model_state"});
}

Map WeightAveragingImpl::state_dict() const {
  return {{"latest_update_step", latest_update_step_}, {"latest_update_epoch", latest_update_epoch_}};
}

void WeightAveragingImpl::load_state_dict(const Map& state) {
  latest_update_step_ = state.get<std::int64_t>("latest_update_step", 0);
  latest_update_epoch_ = state.get<std::int64_t>("latest_update_epoch", -1);
}

namespace {

WeightAveragingOptions exponential(const EMAWeightAveragingOptions& options) {
  const auto require = [](bool ok, const char* what, const std::string& value) {
    if (!ok) throw Error({.what = what, .value = value, .where = "EMAWeightAveraging", .hint = {}});
  };
  require(options.decay >= 0 && options.decay <= 1, "decay must be in [0, 1]", format_double(options.decay));
  require(options.update_every_n_steps >= 0, "update_every_n_steps must be at least 0",
          std::to_string(options.update_every_n_steps));
  return {.use_buffers = options.use_buffers,
          .avg_fn = [decay = options.decay](const at::Tensor& average, const at::Tensor& current, std::int64_t) {
            return decay * average + (1 - decay) * current;
          },
          .update_at_step = [every = options.update_every_n_steps,
                             from = options.update_starting_at_step.value_or(0)](std::int64_t step) {
            return every > 0 && step >= from && step % every == 0;
          },
          .update_at_epoch = [from = options.update_starting_at_epoch](std::int64_t epoch) {
            return from && epoch >= *from;
          }};
}

}  // namespace

EMAWeightAveraging::EMAWeightAveraging(EMAWeightAveragingOptions options)
    : CallbackHolder(std::make_shared<WeightAveragingImpl>(exponential(options), "EMAWeightAveraging")) {}

}  // namespace levin
