// Logging: from a module's `log` to the loggers, and back to whoever asks for a metric.
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/trainer_impl.h>

#include <algorithm>

namespace levin {
namespace {

// Lightning's rule: outside a run, logging is nothing worse than useless.
void warn_no_trainer(std::string_view name) {
  console::warn_once("log(\"" + std::string(name) + "\") has no effect: the module is not in a Trainer's run");
}

}  // namespace

void Module::log(std::string_view name, const torch::Tensor& value, const LogOptions& options) {
  if (!trainer_) return warn_no_trainer(name);
  Trainer::Impl& run = *trainer_->impl_;
  run.active_log->log(name, value, options, run.context);
}

void Module::log(std::string_view name, double value, const LogOptions& options) {
  if (!trainer_) return warn_no_trainer(name);
  Trainer::Impl& run = *trainer_->impl_;
  run.active_log->log(name, value, options, run.context);
}

void Module::log(std::string_view name, const metrics::Metric& metric, const LogOptions& options) {
  if (!trainer_) return warn_no_trainer(name);
  Trainer::Impl& run = *trainer_->impl_;
  run.active_log->log(name, metric, options, run.context);
}

void Trainer::Impl::log_to_loggers(const MetricValues& values, std::int64_t step) {
  if (values.empty()) return;
  const std::int64_t epoch = std::max<std::int64_t>(progress.epoch.current.ready - 1, 0);
  for (const Logger& logger : loggers) logger->log_metrics(values, epoch, step);
}

std::optional<double> Trainer::Impl::find_metric(std::string_view name) const {
  for (const MetricLog* log : {static_cast<const MetricLog*>(recent_log), &train_log, &val_log, &test_log}) {
    if (!log) continue;
    if (const auto value = log->find(name)) return value;
  }
  return std::nullopt;
}

std::vector<std::string> Trainer::Impl::metric_names() const {
  std::vector<std::string> names;
  for (const MetricLog* log : {&train_log, &val_log, &test_log}) log->append_names(names);
  return names;
}

double Trainer::metric(std::string_view name, std::string_view wanted_by) const {
  if (const auto value = impl_->find_metric(name)) return *value;
  const auto names = impl_->metric_names();
  throw Error({.what = "no metric was logged under this name",
               .value = "\"" + std::string(name) + "\"",
               .where = std::string(wanted_by),
               .hint = names.empty() ? "log it in a step, for instance log(\"" + std::string(name) + "\", loss)"
                                     : did_you_mean(name, names)});
}
std::optional<double> Trainer::find_metric(std::string_view name) const { return impl_->find_metric(name); }

Map Trainer::callback_metrics() const {
  Map metrics;
  for (const auto& name : impl_->metric_names()) {
    if (const auto value = impl_->find_metric(name)) metrics[name] = *value;
  }
  return metrics;
}

MetricValues Trainer::progress_bar_metrics() const {
  if (impl_->active_log == &impl_->test_log) return impl_->test_log.progress_bar_values();
  MetricValues values = impl_->train_log.progress_bar_values();
  for (auto& value : impl_->val_log.progress_bar_values()) values.push_back(std::move(value));
  return values;
}

}  // namespace levin
