#include <levin/train/metric_log.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin {
namespace {

// Lightning's defaults: a training step logs its value, everything else the epoch's.
bool default_on_step(Hook hook) {
  switch (hook) {
    case Hook::training_step:
    case Hook::on_train_batch_start:
    case Hook::on_train_batch_end:
    case Hook::on_before_zero_grad:
    case Hook::on_before_backward:
    case Hook::on_after_backward:
    case Hook::on_before_optimizer_step: return true;
    default: return false;
  }
}

bool step_allowed(Hook hook) {
  switch (hook) {
    case Hook::validation_step:
    case Hook::test_step:
    case Hook::on_validation_batch_start:
    case Hook::on_validation_batch_end:
    case Hook::on_test_batch_start:
    case Hook::on_test_batch_end: return true;
    default: return default_on_step(hook);
  }
}

bool log_allowed(Hook hook) {
  switch (hook) {
    case Hook::on_train_start:
    case Hook::on_train_epoch_start:
    case Hook::on_train_epoch_end:
    case Hook::on_validation_start:
    case Hook::on_validation_epoch_start:
    case Hook::on_validation_epoch_end:
    case Hook::on_test_start:
    case Hook::on_test_epoch_start:
    case Hook::on_test_epoch_end: return true;
    default: return step_allowed(hook);
  }
}

// A CPU scalar is read in place: no dispatcher, no `.item()`.
std::optional<double> read_in_place(const at::Tensor& value) {
  if (!value.is_cpu() || value.layout() != at::kStrided) return std::nullopt;
  switch (value.scalar_type()) {
    case at::kFloat: return static_cast<double>(*value.const_data_ptr<float>());
    case at::kDouble: return *value.const_data_ptr<double>();
    case at::kLong: return static_cast<double>(*value.const_data_ptr<std::int64_t>());
    case at::kInt: return static_cast<double>(*value.const_data_ptr<std::int32_t>());
    case at::kBool: return *value.const_data_ptr<bool>() ? 1.0 : 0.0;
    default: return std::nullopt;
  }
}

// What gathered on the host and on the device, as one; `device` may be undefined.
double combined(Reduce reduce, double host, const at::Tensor& device) {
  if (!device.defined()) return host;
  const double other = device.item<double>();
  switch (reduce) {
    case Reduce::min: return std::min(host, other);
    case Reduce::max: return std::max(host, other);
    default: return host + other;
  }
}

double identity(Reduce reduce) {
  switch (reduce) {
    case Reduce::min: return std::numeric_limits<double>::infinity();
    case Reduce::max: return -std::numeric_limits<double>::infinity();
    default: return 0;
  }
}

}  // namespace

MetricLog::Slot& MetricLog::slot(std::string_view name, const LogOptions& options, Hook hook) {
  // The same calls come in the same order batch after batch.
  if (cursor_ < slots_.size() && slots_[cursor_].hook == hook && slots_[cursor_].name == name &&
      slots_[cursor_].options == options) {
    return slots_[cursor_++];
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].hook != hook || slots_[i].name != name) continue;
    if (slots_[i].restored) {
      Slot& old = slots_[i];
      Slot fresh = make_slot(name, options, hook);
      old.options = fresh.options;
      old.on_step = fresh.on_step;
      old.on_epoch = fresh.on_epoch;
      old.restored = false;
    }
    if (!(slots_[i].options == options)) {
      throw Error({.what = "log(\"" + std::string(name) + "\") was called in " + hook_name(hook) +
                           " with other options than before",
                   .value = {},
                   .where = {},
                   .hint = "use one set of options for a name, or another name"});
    }
    cursor_ = i + 1;
    return slots_[i];
  }
  return add_slot(name, options, hook);
}

MetricLog::Slot MetricLog::make_slot(std::string_view name, const LogOptions& options, Hook hook) {
  Slot slot;
  slot.name = name;
  slot.hook = hook;
  slot.options = options;
  slot.on_step = options.on_step.value_or(default_on_step(hook));
  slot.on_epoch = options.on_epoch.value_or(!default_on_step(hook));
  slot.accumulated = identity(options.reduce_fx);
  return slot;
}

MetricLog::Slot& MetricLog::add_slot(std::string_view name, const LogOptions& options, Hook hook) {
  if (!log_allowed(hook)) {
    throw Error({.what = "log(\"" + std::string(name) + "\") cannot be called " +
                         (hook == Hook::none ? std::string("outside a run") : std::string("from ") + hook_name(hook)),
                 .value = {},
                 .where = {},
                 .hint = "log from training_step, validation_step, test_step or their batch and epoch hooks"});
  }
  Slot slot = make_slot(name, options, hook);
  if (slot.on_step && !step_allowed(hook)) {
    throw Error({.what = "log(\"" + slot.name + "\") in " + hook_name(hook) + " has no step to log",
                 .value = "on_step = true",
                 .where = {},
                 .hint = "leave on_step out: the value counts for the epoch"});
  }
  if (!slot.on_step && !slot.on_epoch) {
    throw Error({.what = "log(\"" + slot.name + "\") would keep nothing",
                 .value = "on_step = false, on_epoch = false",
                 .where = {},
                 .hint = "set one of them, or leave both out"});
  }
  slots_.push_back(std::move(slot));
  cursor_ = slots_.size();
  return slots_.back();
}

std::int64_t MetricLog::weight(const Slot& slot) const { return slot.options.batch_size.value_or(batch_size_); }

void MetricLog::accumulate(Slot& slot, double value) {
  switch (slot.options.reduce_fx) {
    case Reduce::mean: {
      const auto w = static_cast<double>(weight(slot));
      slot.accumulated += value * w;
      slot.weight += w;
      break;
    }
    case Reduce::sum: slot.accumulated += value; break;
    case Reduce::min:
      slot.accumulated = value < slot.accumulated || std::isnan(value) ? value : slot.accumulated;
      break;
    case Reduce::max:
      slot.accumulated = value > slot.accumulated || std::isnan(value) ? value : slot.accumulated;
      break;
  }
}

void MetricLog::accumulate_on_device(Slot& slot, const at::Tensor& value) {
  const auto type = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor term = value.to(type);
  at::Tensor& sum = slot.accumulated_device;
  switch (slot.options.reduce_fx) {
    case Reduce::mean:
      term = term * weight(slot);
      slot.weight += static_cast<double>(weight(slot));
      sum = sum.defined() ? sum + term : term;
      break;
    case Reduce::sum: sum = sum.defined() ? sum + term : term; break;
    case Reduce::min: sum = sum.defined() ? at::minimum(sum, term) : term; break;
    case Reduce::max: sum = sum.defined() ? at::maximum(sum, term) : term; break;
  }
}

void MetricLog::log(std::string_view name, const at::Tensor& value, const LogOptions& options, Hook hook) {
  if (!value.defined() || value.numel() != 1) {
    throw Error({.what = "log(\"" + std::string(name) + "\") takes a tensor with one element",
                 .value = !value.defined() ? "an undefined tensor" : std::to_string(value.numel()) + " elements",
                 .where = {},
                 .hint = "reduce it first, for instance with .mean()"});
  }
  if (const auto number = read_in_place(value)) return log(name, *number, options, hook);
  Slot& s = slot(name, options, hook);
  const at::Tensor detached = value.detach().reshape({});
  if (s.on_step) {
    s.last_device = detached;
    s.has_last = true;
    s.touched = true;
  }
  if (s.on_epoch) accumulate_on_device(s, detached);
}

void MetricLog::log(std::string_view name, double value, const LogOptions& options, Hook hook) {
  Slot& s = slot(name, options, hook);
  s.last = value;
  s.has_last = true;
  s.touched = true;
  if (s.on_epoch) accumulate(s, value);
}

void MetricLog::log(std::string_view name, const metrics::Metric& metric, const LogOptions& options, Hook hook) {
  if (!metric) {
    throw Error(
        {.what = "log(\"" + std::string(name) + "\") was given an empty metric",
         .value = {},
         .where = {},
         .hint = "construct it in the module, for instance register_metric(\"acc\", levin::metrics::Accuracy())"});
  }
  if (options.on_step.value_or(false)) {
    throw Error(
        {.what = "a metric object counts for the epoch, log(\"" + std::string(name) + "\") asks for its step value",
         .value = "on_step = true",
         .where = {},
         .hint = "log a tensor for the step's value"});
  }
  LogOptions epoch_only = options;
  epoch_only.on_step = false;
  epoch_only.on_epoch = true;
  Slot& s = slot(name, epoch_only, hook);
  s.metric = metric;
  s.touched = true;
}

double MetricLog::step_value(const Slot& slot) {
  return slot.last_device.defined() ? slot.last_device.item<double>() : slot.last;
}

double MetricLog::epoch_value(const Slot& slot) {
  if (slot.metric) return slot.metric->compute().item<double>();
  const double total = combined(slot.options.reduce_fx, slot.accumulated, slot.accumulated_device);
  return slot.options.reduce_fx == Reduce::mean ? total / slot.weight : total;
}

MetricValues MetricLog::step_values(bool for_logger) const {
  MetricValues values;
  for (const Slot& s : slots_) {
    if (!s.on_step || !s.has_last || (for_logger && !s.options.logger)) continue;
    values.emplace_back(s.on_epoch ? s.name + "_step" : s.name, step_value(s));
  }
  return values;
}

MetricValues MetricLog::progress_bar_values() const {
  MetricValues values;
  for (const Slot& s : slots_) {
    if (!s.options.prog_bar) continue;
    if (s.on_step && s.has_last) {
      values.emplace_back(s.name, step_value(s));
    } else if (s.epoch_value) {
      values.emplace_back(s.name, *s.epoch_value);
    }
  }
  return values;
}

void MetricLog::empty(Slot& slot) {
  slot.accumulated = identity(slot.options.reduce_fx);
  slot.weight = 0;
  slot.accumulated_device.reset();
  slot.touched = false;
  if (slot.metric) slot.metric->reset();
}

void MetricLog::drop_epoch() {
  for (Slot& slot : slots_) empty(slot);
}

MetricValues MetricLog::finish_epoch() {
  MetricValues values;
  logged_epoch_.clear();
  for (Slot& s : slots_) {
    if (!s.on_epoch || !s.touched) continue;
    s.epoch_value = epoch_value(s);
    empty(s);
    const std::string name = s.on_step ? s.name + "_epoch" : s.name;
    values.emplace_back(name, *s.epoch_value);
    if (s.options.logger) logged_epoch_.emplace_back(name, *s.epoch_value);
    if (!s.on_step) s.has_last = false;
  }
  return values;
}

std::optional<double> MetricLog::find(std::string_view name) const {
  // The slot touched last wins when two hooks log one name.
  for (auto s = slots_.rbegin(); s != slots_.rend(); ++s) {
    const std::string_view base = s->name;
    if (!name.starts_with(base)) continue;
    const std::string_view suffix = name.substr(base.size());
    const bool both = s->on_step && s->on_epoch;
    if (suffix.empty()) {
      if (s->on_epoch && s->epoch_value && !(s->on_step && s->touched)) return s->epoch_value;
      if (s->on_step && s->has_last) return step_value(*s);
    } else if (both && suffix == "_step" && s->has_last) {
      return step_value(*s);
    } else if (both && suffix == "_epoch" && s->epoch_value) {
      return s->epoch_value;
    }
  }
  return std::nullopt;
}

void MetricLog::append_names(std::vector<std::string>& names) const {
  for (const Slot& s : slots_) names.push_back(s.name);
}

void MetricLog::clear() {
  for (Slot& s : slots_) {
    if (s.metric) s.metric->reset();
  }
  slots_.clear();
  logged_epoch_.clear();
  cursor_ = 0;
}

std::vector<MetricLog::SlotState> MetricLog::state() const {
  std::vector<SlotState> state;
  for (const Slot& s : slots_) {
    state.push_back({.name = s.name,
                     .hook = s.hook,
                     .options = s.options,
                     .accumulated = combined(s.options.reduce_fx, s.accumulated, s.accumulated_device),
                     .weight = s.weight,
                     .last = s.has_last ? step_value(s) : 0.0,
                     .has_last = s.has_last,
                     .touched = s.touched,
                     .epoch_value = s.epoch_value});
  }
  return state;
}

void MetricLog::load_state(const std::vector<SlotState>& state) {
  slots_.clear();
  for (const SlotState& saved : state) {
    Slot slot = make_slot(saved.name, saved.options, saved.hook);
    slot.accumulated = saved.accumulated;
    slot.weight = saved.weight;
    slot.last = saved.last;
    slot.has_last = saved.has_last;
    slot.touched = saved.touched;
    slot.epoch_value = saved.epoch_value;
    slot.restored = true;
    slots_.push_back(std::move(slot));
  }
  cursor_ = 0;
}

}  // namespace levin
