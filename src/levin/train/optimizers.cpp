#include <levin/train/optimizers.h>

#include <levin/core/error.h>

namespace levin {

void Optimizers::add(OptimizerConfig config) {
  // An undefined optimizer alone stands for none.
  if (!config.optimizer.defined() && config.schedulers.empty() && optimizers_.empty()) return;
  optimizers_.push_back(std::move(config.optimizer));
  frequencies_.push_back(config.frequency);
  for (LRSchedulerConfig& scheduler : config.schedulers) schedulers_.push_back(std::move(scheduler));
}

void check(const Optimizers& optimizers) {
  const auto fail = [](const std::string& what, const std::string& value, const std::string& hint) {
    throw Error({.what = what, .value = value, .where = "configure_optimizers", .hint = hint});
  };
  for (std::int64_t i = 0; i < optimizers.size(); ++i) {
    if (!optimizers.optimizer(i).defined())
      fail("an optimizer is empty", "optimizer " + std::to_string(i), "set .optimizer");
    if (optimizers.frequency(i) < 1)
      fail("an optimizer's frequency must be at least 1", std::to_string(optimizers.frequency(i)), "");
  }
  for (const LRSchedulerConfig& config : optimizers.schedulers()) {
    if (!config.scheduler.defined()) fail("a scheduler is empty", "", "set .scheduler");
    if (config.frequency < 1) fail("a scheduler's frequency must be at least 1", std::to_string(config.frequency), "");
    if (config.scheduler.needs_metric() && config.monitor.empty()) {
      fail("ReduceLROnPlateau needs the name of a logged metric", "",
           "set LRSchedulerConfig::monitor, for instance .monitor = \"val_loss\"");
    }
  }
}

}  // namespace levin
