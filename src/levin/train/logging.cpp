// Logging: from a module's `log` to the loggers, and back to whoever asks for a metric.
#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/compiled_stages.h>
#include <levin/train/trainer_impl.h>

#include <algorithm>

namespace levin {
namespace {

// Lightning's rule: outside a run, logging is nothing worse than useless.
void warn_no_trainer(std::string_view name) {
  console::warn_once("log(\"" + std::string(name) + "\") has no effect: the module is not in a Trainer's run");
}

void warn_barebones(std::string_view name) {
  console::warn_once("log(\"" + std::string(name) + "\") has no effect: the Trainer is barebones");
}

}  // namespace

void Module::log(std::string_view name, const torch::Tensor& value, const LogOptions& options) {
  if (!trainer_) return warn_no_trainer(name);
  Trainer::Impl& run = *trainer_->impl_;
  if (run.options.barebones) return warn_barebones(name);
  if (run.compiled && run.compiled->capturing()) return run.compiled->log(name, value, options);
  run.active_log->log(name, value, options, run.context);
}

void Module::log(std::string_view name, double value, const LogOptions& options) {
  if (!trainer_) return warn_no_trainer(name);
  Trainer::Impl& run = *trainer_->impl_;
  if (run.options.barebones) return warn_barebones(name);
  if (run.compiled && run.compiled->capturing()) return run.compiled->log(name, value, options);
  run.active_log->log(name, value, options, run.context);
}

void Module::log(std::string_view name, const metrics::Metric& metric, const LogOptions& options) {
  if (!trainer_) return warn_no_trainer(name);
  const bool known =
      std::ranges::any_of(metrics_, [&](const auto& registered) { return registered.second.impl() == metric.impl(); });
  if (!known) {
    throw Error({.what = "log(\"" + std::string(name) + "\") was given a metric that the module does not know",
                 .value = {},
                 .where = {},
                 .hint = "checkpoints must keep its state: make it with register_metric(\"" + std::string(name) +
                         "\", ...) in the module's constructor"});
  }
  Trainer::Impl& run = *trainer_->impl_;
  if (run.options.barebones) return warn_barebones(name);
  if (run.compiled && run.compiled->capturing()) return run.compiled->log(name, metric, options);
  run.active_log->log(name, metric, options, run.context);
}

void Module::log_dict(std::initializer_list<std::pair<std::string_view, LogValue>> values, const LogOptions& options) {
  for (const auto& [name, value] : values) {
    value.visit([&](const auto& held) { log(name, held, options); });
  }
}

void Module::log_dict(const std::vector<std::pair<std::string, LogValue>>& values, const LogOptions& options) {
  for (const auto& [name, value] : values) {
    value.visit([&](const auto& held) { log(name, held, options); });
  }
}

LogPoint Trainer::log_point() const {
  return {.step = impl_->progress.batches_that_stepped,
          .epoch = std::max<std::int64_t>(impl_->progress.epoch.current.ready - 1, 0),
          .batches = impl_->progress.batch.total.ready,
          .samples = impl_->train_log.samples(),
          .seconds = training_time().count()};
}

void Trainer::Impl::log_to_loggers(MetricValues values, std::int64_t step) {
  if (values.empty() || loggers.empty()) return;
  LogPoint point = self.log_point();
  point.step = step;
  // As in Lightning, a metric called "step" is the place on the axis, and the row then belongs to no epoch.
  const auto own_step = std::ranges::find(values, "step", &MetricValues::value_type::first);
  if (own_step != values.end()) {
    point.step = static_cast<std::int64_t>(own_step->second);
    point.epoch.reset();
    values.erase(own_step);
  }
  for (const Logger& logger : loggers) logger->log_metrics(values, point);
}

// Evaluation gives its step values to the loggers at every batch, counted by loader and belonging to no epoch.
void Trainer::Impl::log_eval_step() {
  if (sanity_checking || loggers.empty() || !active_log->has_step_values()) return;
  LogPoint point = self.log_point();
  point.step = active_log->batch_number();
  point.epoch.reset();
  const MetricValues values = active_log->batch_step_values();
  for (const Logger& logger : loggers) logger->log_metrics(values, point);
}

std::optional<double> Trainer::Impl::find_metric(std::string_view name) const {
  const MetricLog* latest = nullptr;
  for (const MetricLog* log : {&train_log, &val_log, &test_log}) {
    if (log->written(name) > (latest ? latest->written(name) : 0)) latest = log;
  }
  return latest ? latest->find(name) : std::nullopt;
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

namespace {

// Values of several logs by name, the later log's last.
MetricValues merged(std::initializer_list<MetricValues> parts) {
  MetricValues all;
  for (const MetricValues& part : parts) {
    for (const auto& value : part) {
      const auto known = std::ranges::find(all, value.first, &MetricValues::value_type::first);
      if (known == all.end()) {
        all.push_back(value);
      } else {
        known->second = value.second;
      }
    }
  }
  return all;
}

}  // namespace

MetricValues Trainer::progress_bar_metrics() const {
  if (impl_->active_log == &impl_->test_log) return impl_->test_log.progress_bar_values();
  return merged({impl_->train_log.progress_bar_values(), impl_->val_log.progress_bar_values()});
}

MetricValues Trainer::logged_metrics() const {
  return merged({impl_->train_log.logged_values(), impl_->val_log.logged_values(), impl_->test_log.logged_values()});
}

}  // namespace levin
