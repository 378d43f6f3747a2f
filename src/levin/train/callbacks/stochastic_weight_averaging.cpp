#include <levin/train/callbacks/stochastic_weight_averaging.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/checkpoint.h>
#include <levin/train/trainer.h>

#include <ATen/ATen.h>

namespace levin {
namespace {

constexpr const char* kKey = "StochasticWeightAveraging";

[[noreturn]] void fail(const std::string& what, const std::string& value, const std::string& hint) {
  throw Error({.what = what, .value = value, .where = kKey, .hint = hint});
}

}  // namespace

StochasticWeightAveragingImpl::StochasticWeightAveragingImpl(StochasticWeightAveragingOptions options)
    : options_(options) {
  if (!(options_.swa_lrs > 0)) fail("swa_lrs must be positive", format_double(options_.swa_lrs), "");
  if (const auto* share = std::get_if<double>(&options_.swa_epoch_start); share && !(*share >= 0 && *share <= 1)) {
    fail("swa_epoch_start must be a share in [0, 1] or an epoch", format_double(*share), "an epoch is an integer: 12");
  }
  if (const auto* epoch = std::get_if<std::int64_t>(&options_.swa_epoch_start); epoch && *epoch < 1)
    fail("the epoch of swa_epoch_start counts from 1", std::to_string(*epoch), "");
  if (options_.annealing_epochs < 0)
    fail("annealing_epochs must be at least 0", std::to_string(options_.annealing_epochs), "");
}

void StochasticWeightAveragingImpl::setup(Trainer&, Module&, Stage stage) {
  if (stage != Stage::fit) return;
  average_.clear();
  n_averaged_ = 0;
  latest_update_epoch_ = -1;
  begun_ = false;
}

void StochasticWeightAveragingImpl::on_fit_start(Trainer& trainer, Module&) {
  if (trainer.num_optimizers() != 1) fail("one optimizer is needed", std::to_string(trainer.num_optimizers()), "");
  if (trainer.schedulers().size() > 1)
    fail("at most one schedule is possible", std::to_string(trainer.schedulers().size()), "");
  const std::int64_t epochs = trainer.options().max_epochs.value_or(-1);
  if (const auto* share = std::get_if<double>(&options_.swa_epoch_start)) {
    if (epochs < 0) fail("a share of the epochs needs max_epochs", format_double(*share), "give the number of an epoch");
    start_ = static_cast<std::int64_t>(static_cast<double>(epochs) * *share);
  } else {
    start_ = std::get<std::int64_t>(options_.swa_epoch_start);
  }
  start_ = std::max<std::int64_t>(start_ - 1, 0);
  if (begun_) take_over_schedule(trainer);  // before its state is restored
}

void StochasticWeightAveragingImpl::take_over_schedule(Trainer& trainer) const {
  const optim::Optimizer& optimizer = trainer.optimizer();
  for (optim::Group& group : optimizer.param_groups()) group.initial_lr = options_.swa_lrs;
  const optim::SWALR schedule(optimizer, {.swa_lr = options_.swa_lrs,
                                          .anneal_epochs = options_.annealing_epochs,
                                          .anneal_strategy = options_.annealing_strategy});
  if (!trainer.schedulers().empty())
    console::info(std::string(kKey) + ": SWALR takes the place of " + trainer.schedulers()[0].scheduler.name());
  trainer.set_schedulers({{.scheduler = schedule}});
}

void StochasticWeightAveragingImpl::on_train_epoch_start(Trainer& trainer, Module& module) {
  const std::int64_t epoch = trainer.current_epoch();
  if (epoch < start_) return;
  if (!std::exchange(begun_, true)) take_over_schedule(trainer);
  if (epoch <= latest_update_epoch_) return;
  const at::NoGradGuard no_grad;
  const auto parameters = module.parameters();
  if (average_.empty()) {
    for (const at::Tensor& parameter : parameters) average_.push_back(parameter.detach().clone());
  } else {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      average_[i] = average_[i].to(parameters[i].device());
      average_[i].add_((parameters[i].detach() - average_[i]) / static_cast<double>(n_averaged_ + 1));
    }
  }
  ++n_averaged_;
  latest_update_epoch_ = epoch;
}

// A run that a signal ended goes on later, with the weights in training.
void StochasticWeightAveragingImpl::on_train_end(Trainer& trainer, Module& module) {
  if (trainer.interrupted() || n_averaged_ == 0) return;
  {
    const at::NoGradGuard no_grad;
    const auto parameters = module.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].detach().copy_(average_[i]);
  }
  trainer.update_batch_norm();
}

void StochasticWeightAveragingImpl::on_save_checkpoint(Trainer& trainer, Module& module, Checkpoint& checkpoint) {
  if (!begun_) return;
  PickleDict average = levin::state_dict(module);
  const auto parameters = module.parameters();
  for (auto& [name, value] : average) {
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (value.is_tensor() && value.as_tensor().data_ptr() == parameters[i].data_ptr()) value = average_[i];
    }
  }
  checkpoint["callbacks"].as_dict()[kKey] =
      PickleDict{{"n_averaged", n_averaged_},
                 {"latest_update_epoch", latest_update_epoch_},
                 {"scheduler_state", PickleValue(trainer.schedulers().at(0).scheduler.state_dict())},
                 {"average_model_state", average}};
}

void StochasticWeightAveragingImpl::on_load_checkpoint(Trainer&, Module& module, const Checkpoint& checkpoint) {
  const PickleValue* callbacks = checkpoint.find("callbacks");
  const PickleValue* saved = callbacks && callbacks->is_dict() ? callbacks->as_dict().find(kKey) : nullptr;
  if (!saved) return;
  const PickleDict& state = saved->as_dict();
  n_averaged_ = state.at("n_averaged").as_int();
  latest_update_epoch_ = state.at("latest_update_epoch").as_int();
  begun_ = n_averaged_ > 0;
  if (!begun_) return;
  const PickleDict& average = state.at("average_model_state").as_dict();
  average_.clear();
  for (const auto& parameter : module.named_parameters())
    average_.push_back(average.at(parameter.key()).as_tensor().detach().clone());
}

}  // namespace levin
