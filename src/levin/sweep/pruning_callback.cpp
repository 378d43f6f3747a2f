#include <levin/sweep/pruning_callback.h>

#include <levin/train/trainer.h>

namespace levin::tune {

void PruningCallbackImpl::on_validation_end(Trainer& trainer, Module&) {
  if (!trainer.sanity_checking() && trainer.num_training_batches() > 0) report(trainer);
}

void PruningCallbackImpl::on_train_epoch_end(Trainer& trainer, Module&) {
  if (trainer.num_val_batches() == 0) report(trainer);
}

void PruningCallbackImpl::report(Trainer& trainer) {
  trial_.report(trainer.metric(monitor_, "PruningCallback"), trainer.current_epoch());
  if (trial_.should_prune()) throw TrialPruned();
}

}  // namespace levin::tune
