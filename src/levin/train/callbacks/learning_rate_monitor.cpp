#include <levin/train/callbacks/learning_rate_monitor.h>

#include <levin/core/console.h>
#include <levin/train/trainer.h>

#include <algorithm>

namespace levin {

void LearningRateMonitorImpl::on_train_start(Trainer& trainer, Module&) {
  if (trainer.loggers().empty()) console::warn_once("LearningRateMonitor records nothing: the trainer has no logger");
}

void LearningRateMonitorImpl::on_train_batch_start(Trainer& trainer, Module&, const Batch&, std::int64_t) {
  const std::int64_t every = trainer.options().log_every_n_steps;
  if (every > 0 && trainer.global_step() % every == 0) record(trainer, Interval::step);
}

void LearningRateMonitorImpl::on_train_epoch_start(Trainer& trainer, Module&) { record(trainer, Interval::epoch); }

void LearningRateMonitorImpl::record(Trainer& trainer, Interval interval) const {
  if (trainer.loggers().empty()) return;
  MetricValues values;
  const auto add = [&](std::string name, const optim::Optimizer& optimizer) {
    const auto groups = optimizer.param_groups();
    for (std::size_t i = 0; i < groups.size(); ++i) {
      values.emplace_back(groups.size() == 1 ? name : name + "/pg" + std::to_string(i + 1), groups[i].lr);
    }
  };
  const auto& schedulers = trainer.schedulers();
  for (const LRSchedulerConfig& config : schedulers) {
    if (options_.logging_interval.value_or(config.interval) != interval) continue;
    add(config.name.empty() ? "lr-" + trainer.optimizer().name() : config.name, trainer.optimizer());
    break;  // all schedulers of a run drive one optimizer: one row shows the rate that they make together
  }
  if (schedulers.empty() && options_.logging_interval.value_or(Interval::epoch) == interval &&
      trainer.has_optimizer()) {
    add("lr-" + trainer.optimizer().name(), trainer.optimizer());
  }
  if (values.empty()) return;
  for (const Logger& logger : trainer.loggers())
    logger->log_metrics(values, trainer.current_epoch(), trainer.global_step());
}

}  // namespace levin
