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

std::int64_t LearningRateMonitorImpl::batches_to_skip(const Trainer& trainer, Stage) const {
  const std::int64_t every = trainer.options().log_every_n_steps;
  if (every <= 0) return kAllBatches;
  const std::int64_t since = trainer.global_step() % every;
  return since == 0 ? 0 : every - since;
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
  // "lr-Adam", and "lr-Adam-1" for a second one of the name.
  std::vector<std::string> names;
  const auto unique = [&](const optim::Optimizer& optimizer) {
    const std::string base = "lr-" + optimizer.name();
    std::string name = base;
    for (int i = 1; std::find(names.begin(), names.end(), name) != names.end(); ++i)
      name = base + "-" + std::to_string(i);
    return names.emplace_back(name);
  };
  for (std::int64_t i = 0; i < trainer.num_optimizers(); ++i) {
    const optim::Optimizer& optimizer = trainer.optimizer(i);
    std::string name = unique(optimizer);
    Interval own = Interval::epoch;
    // Several schedulers of one optimizer make its rate together: the first says when, and may name it.
    for (const LRSchedulerConfig& config : trainer.schedulers()) {
      if (!(config.scheduler.optimizer() == optimizer)) continue;
      own = config.interval;
      if (!config.name.empty()) name = config.name;
      break;
    }
    if (options_.logging_interval.value_or(own) == interval) add(std::move(name), optimizer);
  }
  if (values.empty()) return;
  LogPoint point = trainer.log_point();
  point.step = trainer.global_step();
  for (const Logger& logger : trainer.loggers()) logger->log_metrics(values, point);
}

}  // namespace levin
