#include <levin/train/metric_log.h>

#include <levin/core/error.h>
#include <levin/data/batch.h>

#include <ATen/ATen.h>
#include <torch/types.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace levin {
namespace {

// Lightning's defaults: a training batch logs its value, everything else the epoch's.
bool default_on_step(Hook hook) {
  switch (hook) {
    case Hook::training_step:
    case Hook::on_train_batch_start:
    case Hook::on_train_batch_end:
    case Hook::on_before_zero_grad:
    case Hook::on_before_backward:
    case Hook::on_after_backward:
    case Hook::on_before_optimizer_step:
    case Hook::backward:
    case Hook::optimizer_step:
    case Hook::optimizer_zero_grad:
    case Hook::configure_gradient_clipping: return true;
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
    case at::kBFloat16: return static_cast<double>(*value.const_data_ptr<at::BFloat16>());
    case at::kHalf: return static_cast<double>(*value.const_data_ptr<at::Half>());
    case at::kLong: return static_cast<double>(*value.const_data_ptr<std::int64_t>());
    case at::kInt: return static_cast<double>(*value.const_data_ptr<std::int32_t>());
    case at::kBool: return *value.const_data_ptr<bool>() ? 1.0 : 0.0;
    default: return std::nullopt;
  }
}

// Scalars gather in double precision where the device has it.
at::TensorOptions accumulator_options(const at::Tensor& value) {
  return at::TensorOptions(value.device()).dtype(value.is_mps() ? at::kFloat : at::kDouble);
}

// A tensor of our own that outlives the step, also when the step runs in inference mode.
at::Tensor persistent_scalar(const at::Tensor& like) {
  const c10::InferenceMode off(false);
  return at::zeros({}, accumulator_options(like));
}

// NaN wins in both, as in torch.min and torch.max.
double smaller(double a, double b) { return b < a || std::isnan(b) ? b : a; }
double larger(double a, double b) { return b > a || std::isnan(b) ? b : a; }

// What gathered on the host and on the device, as one.
double combined(Reduce reduce, double host, double device) {
  switch (reduce) {
    case Reduce::min: return smaller(host, device);
    case Reduce::max: return larger(host, device);
    default: return host + device;
  }
}

double identity(Reduce reduce) {
  switch (reduce) {
    case Reduce::min: return std::numeric_limits<double>::infinity();
    case Reduce::max: return -std::numeric_limits<double>::infinity();
    default: return 0;
  }
}

// Options that make a metric what it is. The batch size may change from call to call.
bool same_metric(const LogOptions& a, const LogOptions& b) {
  return a.prog_bar == b.prog_bar && a.logger == b.logger && a.on_step == b.on_step && a.on_epoch == b.on_epoch &&
         a.reduce_fx == b.reduce_fx && a.add_dataloader_idx == b.add_dataloader_idx;
}

// Reads scalars of a device, all in one transfer.
class DeviceReader {
 public:
  void add(const at::Tensor& scalar, double* out) {
    if (scalar.is_cpu()) {
      *out = scalar.item<double>();
    } else {
      scalars_.push_back(scalar.detach().reshape({}).to(accumulator_options(scalar)));
      outs_.push_back(out);
    }
  }
  void read() {
    if (scalars_.empty()) return;
    const at::NoGradGuard no_grad;
    const bool one_device = std::ranges::all_of(
        scalars_, [&](const at::Tensor& scalar) { return scalar.device() == scalars_.front().device(); });
    if (one_device) {
      const at::Tensor values = at::stack(scalars_).cpu().to(at::kDouble);
      for (std::size_t i = 0; i < outs_.size(); ++i) *outs_[i] = values.const_data_ptr<double>()[i];
    } else {
      for (std::size_t i = 0; i < outs_.size(); ++i) *outs_[i] = scalars_[i].item<double>();
    }
  }

 private:
  std::vector<at::Tensor> scalars_;
  std::vector<double*> outs_;
};

// As in a dictionary, a later value under a name takes the place of the earlier.
void put(MetricValues& values, const std::string& name, double value) {
  const auto it = std::ranges::find(values, name, &MetricValues::value_type::first);
  if (it == values.end()) {
    values.emplace_back(name, value);
  } else {
    it->second = value;
  }
}

}  // namespace

void MetricLog::begin_batch(std::int64_t batch_size, std::optional<std::int64_t> dataloader_idx, bool sizes_differ) {
  batch_size_ = batch_size;
  sizes_differ_ = sizes_differ;
  samples_ += batch_size;
  loader_ = dataloader_idx.value_or(-1);
  const auto start = static_cast<std::size_t>(loader_ + 1);
  if (start >= starts_.size()) {
    starts_.resize(start + 1, 0);
    seen_.resize(start + 1, 0);
  }
  ++seen_[start];
  cursor_ = starts_[start];
  first_call_ = true;
}

void MetricLog::begin_batch(const Batch& batch, std::optional<std::int64_t> dataloader_idx) {
  begin_batch(batch.empty() ? 1 : batch.batch_size(), dataloader_idx);
  for (const at::Tensor& tensor : batch) {
    sizes_differ_ |= !tensor.defined() || tensor.dim() == 0 || tensor.size(0) != batch_size_;
  }
}

void MetricLog::end_batches() {
  batch_size_ = 1;
  sizes_differ_ = false;
  loader_ = -1;
  first_call_ = false;
}

MetricLog::Slot& MetricLog::slot(std::string_view name, const LogOptions& options, Hook hook) {
  const std::int64_t loader = loader_;
  // The same calls come in the same order batch after batch.
  if (cursor_ < slots_.size()) {
    Slot& next = slots_[cursor_];
    if (next.hook == hook && next.loader == loader && next.name == name && same_metric(next.options, options)) {
      return arrive(next, cursor_);
    }
  }
  return find_slot(name, options, hook, loader);
}

MetricLog::Slot& MetricLog::arrive(Slot& slot, std::size_t index) {
  if (first_call_) {
    starts_[static_cast<std::size_t>(loader_ + 1)] = index;
    first_call_ = false;
  }
  cursor_ = index + 1;
  return slot;
}

MetricLog::Slot& MetricLog::find_slot(std::string_view name, const LogOptions& options, Hook hook,
                                      std::int64_t loader) {
  for (std::size_t n = 0; n < slots_.size(); ++n) {
    const std::size_t i = (cursor_ + n) % slots_.size();  // most often a little further on
    Slot& slot = slots_[i];
    if (slot.hook != hook || slot.name != name) continue;
    if (slot.loader != loader) {
      if (options.add_dataloader_idx || slot.options.add_dataloader_idx) continue;
      throw Error(
          {.what = "log(\"" + std::string(name) + "\") was called for two loaders with add_dataloader_idx = false",
           .value = {},
           .where = hook_name(hook),
           .hint = "give each loader names of its own"});
    }
    if (slot.restored) {
      const Slot fresh = make_slot(name, options, hook, loader);
      slot.options = fresh.options;
      slot.on_step = fresh.on_step;
      slot.on_epoch = fresh.on_epoch;
      slot.step_name = fresh.step_name;
      slot.epoch_name = fresh.epoch_name;
      slot.restored = false;
    }
    if (!same_metric(slot.options, options)) {
      throw Error({.what = "log(\"" + std::string(name) + "\") was called in " + hook_name(hook) +
                           " with other options than before",
                   .value = {},
                   .where = {},
                   .hint = "use one set of options for a name, or another name"});
    }
    return arrive(slot, i);
  }
  return add_slot(name, options, hook, loader);
}

MetricLog::Slot MetricLog::make_slot(std::string_view name, const LogOptions& options, Hook hook, std::int64_t loader) {
  Slot slot;
  slot.name = name;
  slot.hook = hook;
  slot.options = options;
  slot.options.batch_size.reset();
  slot.loader = loader;
  slot.on_step = options.on_step.value_or(default_on_step(hook));
  slot.on_epoch = options.on_epoch.value_or(!default_on_step(hook));
  slot.accumulated = identity(options.reduce_fx);
  const std::string suffix =
      loader < 0 || !options.add_dataloader_idx ? "" : "/dataloader_idx_" + std::to_string(loader);
  const bool both = slot.on_step && slot.on_epoch;
  slot.full_name = slot.name + suffix;
  slot.step_name = slot.name + (both ? "_step" : "") + suffix;
  slot.epoch_name = slot.name + (both ? "_epoch" : "") + suffix;
  return slot;
}

MetricLog::Slot& MetricLog::add_slot(std::string_view name, const LogOptions& options, Hook hook, std::int64_t loader) {
  const std::string call = "log(\"" + std::string(name) + "\")";
  if (!log_allowed(hook)) {
    throw Error({.what = call + " cannot be called " +
                         (hook == Hook::none ? std::string("outside a run") : std::string("from ") + hook_name(hook)),
                 .value = {},
                 .where = {},
                 .hint = "log from training_step, validation_step, test_step or their batch and epoch hooks"});
  }
  if (name.empty()) throw Error(call + " needs a name");
  if (options.add_dataloader_idx && name.find("/dataloader_idx_") != std::string_view::npos) {
    throw Error({.what = call + " names a loader, which is added to names by itself",
                 .value = {},
                 .where = {},
                 .hint = "leave it out of the name, or set add_dataloader_idx = false"});
  }
  Slot slot = make_slot(name, options, hook, loader);
  if (slot.on_step && !step_allowed(hook)) {
    throw Error({.what = call + " in " + hook_name(hook) + " has no step to log",
                 .value = "on_step = true",
                 .where = {},
                 .hint = "leave on_step out: the value counts for the epoch"});
  }
  if (!slot.on_epoch && !step_allowed(hook)) {
    throw Error({.what = call + " in " + hook_name(hook) + " counts for the epoch",
                 .value = "on_epoch = false",
                 .where = {},
                 .hint = "leave on_epoch out"});
  }
  if (!slot.on_step && !slot.on_epoch) {
    throw Error({.what = call + " would keep nothing",
                 .value = "on_step = false, on_epoch = false",
                 .where = {},
                 .hint = "set one of them, or leave both out"});
  }
  slots_.push_back(std::move(slot));
  return arrive(slots_.back(), slots_.size() - 1);
}

double MetricLog::weight(const Slot& slot) const {
  if (const auto& given = slot.options.batch_size) {
    if (*given >= 0) return static_cast<double>(*given);
    throw Error({.what = "log(\"" + slot.name + "\"): batch_size must be at least 0",
                 .value = std::to_string(*given),
                 .where = hook_name(slot.hook),
                 .hint = {}});
  }
  if (!sizes_differ_) return static_cast<double>(batch_size_);
  throw Error({.what = "log(\"" + slot.name + "\") averages over the epoch, but how many samples the batch holds is " +
                       "not clear: its tensors differ in dimension 0",
               .value = {},
               .where = hook_name(slot.hook),
               .hint = "say it: log(\"" + slot.name + "\", value, {.batch_size = n})"});
}

void MetricLog::mark(Slot& slot) const {
  slot.has_last = true;
  slot.touched = true;
  slot.logged = ++*clock_;
}

void MetricLog::accumulate(Slot& slot, double value) const {
  switch (slot.options.reduce_fx) {
    case Reduce::mean: {
      const double w = weight(slot);
      slot.accumulated += value * w;
      slot.weight += w;
      break;
    }
    case Reduce::sum: slot.accumulated += value; break;
    case Reduce::min: slot.accumulated = smaller(slot.accumulated, value); break;
    case Reduce::max: slot.accumulated = larger(slot.accumulated, value); break;
  }
}

void MetricLog::accumulate_on_device(Slot& slot, const at::Tensor& value) const {
  at::Tensor& sum = slot.accumulated_device;
  if (!sum.defined() || sum.device() != value.device()) {
    sum = persistent_scalar(value);
    slot.on_device = false;
  }
  if (!slot.on_device) sum.fill_(identity(slot.options.reduce_fx));
  slot.on_device = true;
  switch (slot.options.reduce_fx) {
    case Reduce::mean: {
      const double w = weight(slot);
      sum.add_(value, w);
      slot.weight += w;
      break;
    }
    case Reduce::sum: sum.add_(value); break;
    case Reduce::min: at::minimum_out(sum, sum, value.to(sum.scalar_type())); break;
    case Reduce::max: at::maximum_out(sum, sum, value.to(sum.scalar_type())); break;
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
  s.options.batch_size = options.batch_size;
  const at::NoGradGuard no_grad;
  const at::Tensor scalar = value.dim() == 0 ? value.detach() : value.detach().reshape({});
  if (s.on_step) {
    // Copied, since the caller may go on to change its tensor.
    if (!s.last_device.defined() || s.last_device.device() != value.device()) s.last_device = persistent_scalar(value);
    s.last_device.copy_(scalar, /*non_blocking=*/true);
  }
  if (s.on_epoch) accumulate_on_device(s, scalar);
  mark(s);
}

void MetricLog::log(std::string_view name, double value, const LogOptions& options, Hook hook) {
  slot(name, options, hook).options.batch_size = options.batch_size;
  log_again(place(), value);
}

void MetricLog::log_again(std::size_t place, double value) {
  Slot& s = slots_[place];
  s.last = value;
  if (s.last_device.defined()) s.last_device.reset();
  if (s.on_epoch) accumulate(s, value);
  mark(s);
}

void MetricLog::log(std::string_view name, const metrics::Metric& metric, const LogOptions& options, Hook hook) {
  if (!metric) {
    throw Error(
        {.what = "log(\"" + std::string(name) + "\") was given an empty metric",
         .value = {},
         .where = {},
         .hint = "construct it in the module, for instance register_metric(\"acc\", levin::metrics::Accuracy())"});
  }
  Slot& s = slot(name, options, hook);
  if (s.on_step && !metric->batch_value().defined()) {
    throw Error({.what = "log(\"" + std::string(name) + "\") asks a metric for its step value, and it has none",
                 .value = "on_step = true",
                 .where = {},
                 .hint = "call its update first; a metric of your own overrides batch_value(), or is logged with "
                         "{.on_step = false, .on_epoch = true}"});
  }
  s.metric = metric;
  mark(s);
}

template <class Wanted>
MetricValues MetricLog::read(const Wanted& wanted) const {
  // `wanted` names the readings in order; their values come in one transfer.
  std::vector<std::pair<const std::string*, double>> values;
  std::vector<Reading> readings;
  wanted([&](const std::string& name, const Slot& slot, bool epoch) {
    values.emplace_back(&name, 0);
    readings.push_back({&slot, epoch, 0});
  });
  DeviceReader reader;
  for (std::size_t i = 0; i < readings.size(); ++i) {
    const Slot& s = *readings[i].slot;
    if (readings[i].epoch) {
      values[i].second = *s.epoch_value;
    } else if (s.metric) {
      reader.add(s.metric->batch_value(), &values[i].second);
    } else if (s.last_device.defined()) {
      reader.add(s.last_device, &values[i].second);
    } else {
      values[i].second = s.last;
    }
  }
  reader.read();
  MetricValues out;
  out.reserve(values.size());
  for (const auto& [name, value] : values) put(out, *name, value);
  return out;
}

MetricValues MetricLog::step_values(bool for_logger) const {
  return read([&](const auto& take) {
    for (const Slot& s : slots_) {
      if (s.on_step && s.has_last && s.touched && (!for_logger || s.options.logger)) take(s.step_name, s, false);
    }
  });
}

std::int64_t MetricLog::batch_number() const {
  const auto at = static_cast<std::size_t>(loader_ + 1);
  return at < seen_.size() ? seen_[at] - 1 : 0;
}

MetricValues MetricLog::batch_step_values() const {
  return read([&](const auto& take) {
    for (const Slot& s : slots_) {
      const bool own = s.loader == loader_;
      if (own && s.on_step && s.has_last && s.touched && s.options.logger) take(s.step_name, s, false);
    }
  });
}

bool MetricLog::has_step_values() const {
  return std::ranges::any_of(slots_,
                             [](const Slot& s) { return s.on_step && s.has_last && s.touched && s.options.logger; });
}

MetricValues MetricLog::progress_bar_values() const {
  return read([&](const auto& take) {
    for (const Slot& s : slots_) {
      if (!s.options.prog_bar) continue;
      if (s.on_step && s.has_last) take(s.step_name, s, false);
      if (s.on_epoch && s.epoch_value) take(s.epoch_name, s, true);
    }
  });
}

MetricValues MetricLog::logged_values() const {
  return read([&](const auto& take) {
    for (const Slot& s : slots_) {
      if (!s.options.logger) continue;
      if (s.on_step && s.has_last) take(s.step_name, s, false);
      if (s.on_epoch && s.epoch_value) take(s.epoch_name, s, true);
    }
  });
}

void MetricLog::empty(Slot& slot) {
  slot.accumulated = identity(slot.options.reduce_fx);
  slot.weight = 0;
  slot.on_device = false;
  slot.touched = false;
  if (slot.metric) slot.metric->reset();
  slot.metric = nullptr;
}

void MetricLog::drop_epoch() {
  for (Slot& slot : slots_) empty(slot);
}

MetricValues MetricLog::finish_epoch() {
  logged_epoch_.clear();
  logged_epoch_loaders_.clear();
  if (std::ranges::none_of(slots_, &Slot::touched)) return {};
  std::vector<double> device(slots_.size(), 0);
  DeviceReader reader;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& s = slots_[i];
    if (!s.on_epoch || !s.touched) continue;
    if (s.metric) {
      reader.add(s.metric->compute(), &device[i]);
    } else if (s.on_device) {
      reader.add(s.accumulated_device, &device[i]);
    }
  }
  reader.read();

  MetricValues values;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& s = slots_[i];
    if (!s.touched) continue;
    if (s.on_epoch) {
      if (s.metric) {
        s.epoch_value = device[i];
      } else {
        const double total = s.on_device ? combined(s.options.reduce_fx, s.accumulated, device[i]) : s.accumulated;
        s.epoch_value = s.options.reduce_fx == Reduce::mean ? total / s.weight : total;
      }
      s.reduced = ++*clock_;
      put(values, s.epoch_name, *s.epoch_value);
      if (s.options.logger) {
        put(logged_epoch_, s.epoch_name, *s.epoch_value);
        const auto at = std::ranges::find(logged_epoch_, s.epoch_name, &MetricValues::value_type::first);
        logged_epoch_loaders_.emplace_back(s.loader, static_cast<std::size_t>(at - logged_epoch_.begin()));
      }
    }
    if (s.metric && s.on_step) {  // the metric forgets its last batch with the rest
      s.last = s.metric->batch_value().item<double>();
      s.last_device.reset();
    }
    empty(s);
  }
  return values;
}

MetricValues MetricLog::logged_epoch_values_of(std::int64_t dataloader_idx) const {
  MetricValues values;
  for (const auto& [loader, index] : logged_epoch_loaders_) {
    if (loader < 0 || loader == dataloader_idx) put(values, logged_epoch_[index].first, logged_epoch_[index].second);
  }
  return values;
}

MetricLog::Reading MetricLog::look(std::string_view name) const {
  Reading latest;
  const auto offer = [&](const Slot& slot, bool epoch, LogClock written) {
    if (written >= latest.written) latest = {&slot, epoch, written};
  };
  for (const Slot& s : slots_) {
    const bool bare = s.full_name == name;
    if (training_ && s.on_step && s.has_last && (bare || s.step_name == name)) offer(s, false, s.logged);
    if (s.on_epoch && s.epoch_value && (bare || s.epoch_name == name)) offer(s, true, s.reduced);
  }
  return latest;
}

std::optional<double> MetricLog::find(std::string_view name) const {
  const Reading reading = look(name);
  if (!reading.slot) return std::nullopt;
  const Slot& s = *reading.slot;
  if (reading.epoch) return s.epoch_value;
  if (s.metric) return s.metric->batch_value().item<double>();
  return s.last_device.defined() ? s.last_device.item<double>() : s.last;
}

LogClock MetricLog::written(std::string_view name) const { return look(name).written; }

void MetricLog::append_names(std::vector<std::string>& names) const {
  const auto add = [&](const std::string& name) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  };
  for (const Slot& s : slots_) {
    if (!training_ && !s.on_epoch) continue;
    add(s.full_name);
    if (training_ && s.on_step) add(s.step_name);
    if (s.on_epoch) add(s.epoch_name);
  }
}

void MetricLog::clear() {
  for (Slot& s : slots_) {
    if (s.metric) s.metric->reset();
  }
  slots_.clear();
  starts_.clear();
  seen_.clear();
  logged_epoch_.clear();
  logged_epoch_loaders_.clear();
  samples_ = 0;
  cursor_ = 0;
  loader_ = -1;
  first_call_ = false;
}

std::vector<MetricLog::SlotState> MetricLog::state() const {
  std::vector<SlotState> state(slots_.size());
  std::vector<double> device(slots_.size(), 0);
  DeviceReader reader;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& s = slots_[i];
    state[i] = {.name = s.name,
                .hook = s.hook,
                .options = s.options,
                .dataloader_idx = s.loader,
                .accumulated = s.accumulated,
                .weight = s.weight,
                .last = s.last,
                .has_last = s.has_last,
                .touched = s.touched,
                .epoch_value = s.epoch_value,
                .metric = s.metric};
    if (s.on_device) reader.add(s.accumulated_device, &device[i]);
    if (s.has_last && s.on_step && s.metric) {
      reader.add(s.metric->batch_value(), &state[i].last);
    } else if (s.has_last && s.last_device.defined()) {
      reader.add(s.last_device, &state[i].last);
    }
  }
  reader.read();
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const Slot& s = slots_[i];
    if (s.on_device) state[i].accumulated = combined(s.options.reduce_fx, s.accumulated, device[i]);
  }
  return state;
}

void MetricLog::load_state(const std::vector<SlotState>& state) {
  slots_.clear();
  for (const SlotState& saved : state) {
    Slot slot = make_slot(saved.name, saved.options, saved.hook, saved.dataloader_idx);
    slot.accumulated = saved.accumulated;
    slot.weight = saved.weight;
    slot.last = saved.last;
    slot.has_last = saved.has_last;
    slot.touched = saved.touched;
    slot.epoch_value = saved.epoch_value;
    slot.metric = saved.metric;
    // What was touched in this epoch was logged after the last one ended.
    if (slot.epoch_value) slot.reduced = ++*clock_;
    if (slot.has_last) slot.logged = slot.touched || !slot.epoch_value ? ++*clock_ : slot.reduced - 1;
    slot.restored = true;
    slots_.push_back(std::move(slot));
  }
  starts_.clear();
  seen_.clear();
  cursor_ = 0;
  first_call_ = false;
}

}  // namespace levin
