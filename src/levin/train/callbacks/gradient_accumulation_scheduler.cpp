#include <levin/train/callbacks/gradient_accumulation_scheduler.h>

#include <levin/core/error.h>
#include <levin/train/trainer.h>

#include <iterator>

namespace levin {

GradientAccumulationSchedulerImpl::GradientAccumulationSchedulerImpl(GradientAccumulationSchedulerOptions options)
    : scheduling_(std::move(options.scheduling)) {
  const auto fail = [](const char* what, const std::string& value) {
    throw Error({.what = what,
                 .value = value,
                 .where = "GradientAccumulationScheduler",
                 .hint = "{.scheduling = {{0, 8}, {4, 2}}}: 8 batches a step, and 2 from epoch 4 on"});
  };
  if (scheduling_.empty()) fail("the schedule is empty", "{}");
  for (const auto& [epoch, batches] : scheduling_) {
    if (epoch < 0) fail("epochs count from 0", std::to_string(epoch));
    if (batches < 1) fail("a step needs at least one batch", std::to_string(batches));
  }
}

std::int64_t GradientAccumulationSchedulerImpl::accumulate_grad_batches(std::int64_t epoch) const {
  const auto after = scheduling_.upper_bound(epoch);
  return after == scheduling_.begin() ? 1 : std::prev(after)->second;
}

void GradientAccumulationSchedulerImpl::on_fit_start(Trainer& trainer, Module& module) {
  if (!module.automatic_optimization()) {
    throw Error({.what = "GradientAccumulationScheduler: in manual optimization the module accumulates by itself",
                 .value = {},
                 .where = {},
                 .hint = "leave the callback out"});
  }
  if (trainer.options().accumulate_grad_batches != 1) {
    throw Error({.what = "GradientAccumulationScheduler and accumulate_grad_batches both say how many batches a step has",
                 .value = std::to_string(trainer.options().accumulate_grad_batches),
                 .where = {},
                 .hint = "leave out one of the two"});
  }
}

// A run that resumes within an epoch does not start it anew.
void GradientAccumulationSchedulerImpl::on_train_start(Trainer& trainer, Module&) {
  trainer.set_accumulate_grad_batches(accumulate_grad_batches(trainer.current_epoch()));
}
void GradientAccumulationSchedulerImpl::on_train_epoch_start(Trainer& trainer, Module&) {
  trainer.set_accumulate_grad_batches(accumulate_grad_batches(trainer.current_epoch()));
}

}  // namespace levin
