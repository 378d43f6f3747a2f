#include <levin/app/engine/best_epoch.h>

#include <levin/train/checkpoint.h>
#include <levin/train/trainer.h>

#include <cmath>

namespace levin::app {
namespace {

constexpr const char* kKey = "levin best epoch";

}  // namespace

void BestEpochImpl::on_validation_end(Trainer& trainer, Module& module) {
  if (!trainer.sanity_checking() && trainer.num_training_batches() > 0) look(trainer, module);
}

void BestEpochImpl::on_train_epoch_end(Trainer& trainer, Module& module) {
  if (trainer.num_val_batches() == 0) look(trainer, module);
}

void BestEpochImpl::look(Trainer& trainer, Module& module) {
  const double value = trainer.metric(monitor_, "the search");
  const double loss = trainer.find_metric(trainer.num_val_batches() > 0 ? "val_loss" : "train_loss").value_or(value);
  if (!std::isfinite(value) || !std::isfinite(loss)) {
    diverged_ = true;
    trainer.stop();
    return;
  }
  if (value_ && !better(value, *value_, mode_)) return;
  value_ = value;
  metrics_ = trainer.callback_metrics();
  epoch_ = trainer.current_epoch();
  weights_ = PickleDict();
  for (const auto& [name, tensor] : levin::state_dict(module)) weights_.append(name, tensor.as_tensor().clone());
}

// The weights are tensors, which a callback's state_dict has no room for.
void BestEpochImpl::on_save_checkpoint(Trainer&, Module&, Checkpoint& checkpoint) {
  if (!value_) return;
  checkpoint[kKey] = PickleDict{{"value", *value_}, {"metrics", metrics_}, {"epoch", epoch_}, {"weights", weights_}};
}

void BestEpochImpl::on_load_checkpoint(Trainer&, Module&, const Checkpoint& checkpoint) {
  const PickleValue* saved = checkpoint.find(kKey);
  if (saved == nullptr) return;
  const PickleDict& best = saved->as_dict();
  value_ = best.at("value").as_double();
  metrics_ = best.at("metrics").to_value().as_map();
  epoch_ = best.at("epoch").as_int();
  weights_ = best.at("weights").as_dict();
}

void BestEpochImpl::restore(Module& module) const { levin::load_state_dict(module, weights_); }

}  // namespace levin::app
