#include <levin/train/trainer_options.h>

#include <levin/core/config.h>
#include <levin/core/error.h>

#include <functional>
#include <unistd.h>

namespace levin {
namespace {

[[noreturn]] void throw_option(const std::string& what, const std::string& value, const std::string& hint) {
  throw Error({.what = what, .value = value, .where = "TrainerOptions", .hint = hint});
}

void check_limit(const char* name, const Limit& limit) {
  if (!(limit.value() >= 0) || (limit.kind() == Limit::Kind::fraction && limit.value() > 1)) {
    throw_option(std::string(name) + " must be count(n) with n >= 0 or fraction(f) with f in [0, 1]",
                 format_double(limit.value()), "for instance count(10) or fraction(0.1)");
  }
}

void check_val_interval(const TrainerOptions& o) {
  const ValCheckInterval& interval = o.val_check_interval;
  if (interval.across_epochs()) {
    const Every& every = interval.interval();
    if (every.by_clock() ? !(every.period().count() > 0) : every.count() < 1)
      throw_option("val_check_interval must be above 0", interval.to_string(), "for instance every(100, Unit::steps)");
    if (o.check_val_every_n_epoch.value_or(1) != 1 && !every.by_clock()) {
      throw_option("val_check_interval counts across epochs, check_val_every_n_epoch counts epochs",
                   interval.to_string() + " and " + std::to_string(*o.check_val_every_n_epoch),
                   "leave out one of them");
    }
    return;
  }
  check_limit("val_check_interval", interval.limit());
  if (interval.limit().value() == 0)
    throw_option("val_check_interval must be above 0", "0", "use limit_val_batches = count(0) to turn validation off");
  if (!o.check_val_every_n_epoch && interval.limit().kind() == Limit::Kind::fraction) {
    throw_option("without check_val_every_n_epoch, val_check_interval must count batches or measure time",
                 interval.to_string(), "for instance count(500) or every(10min)");
  }
}

void check_barebones(const TrainerOptions& o) {
  const auto refuse = [](bool set, const char* option) {
    if (set)
      throw_option(std::string("barebones leaves out what ") + option + " asks for", option,
                   "leave out one of the two");
  };
  refuse(o.enable_checkpointing == true, "enable_checkpointing = true");
  refuse(o.enable_progress_bar == true, "enable_progress_bar = true");
  refuse(o.enable_model_summary == true, "enable_model_summary = true");
  refuse(o.num_sanity_val_steps.value_or(0) != 0, "num_sanity_val_steps");
  refuse(o.fast_dev_run > 0, "fast_dev_run");
  refuse(o.detect_anomaly, "detect_anomaly");
  refuse(static_cast<bool>(o.profiler), "profiler");
  refuse(!o.logger.list().empty(), "logger");
  refuse(o.log_every_n_steps != 0 && o.log_every_n_steps != TrainerOptions().log_every_n_steps, "log_every_n_steps");
  for (const Callback& callback : o.callbacks) {
    refuse(callback->is_checkpoint(), "a ModelCheckpoint");
    refuse(callback->is_progress_bar(), "a progress bar");
  }
}

// --- the environment ---

bool read_bool(const std::string& text, const std::string& where) {
  return config::parse({.key = "option", .type = config::Type::boolean}, text, where).as_bool();
}
std::int64_t read_int(const std::string& text, const std::string& where) {
  return config::parse({.key = "option", .type = config::Type::integer}, text, where).as_int();
}
double read_double(const std::string& text, const std::string& where) {
  return config::parse({.key = "option", .type = config::Type::real}, text, where).as_double();
}

void read(std::string& option, const std::string& text, const std::string&) { option = text; }
void read(bool& option, const std::string& text, const std::string& where) { option = read_bool(text, where); }
void read(std::int64_t& option, const std::string& text, const std::string& where) { option = read_int(text, where); }
void read(Limit& option, const std::string& text, const std::string&) { option = Limit::parse(text); }
void read(ValCheckInterval& option, const std::string& text, const std::string&) {
  option = ValCheckInterval::parse(text);
}
void read(Deterministic& option, const std::string& text, const std::string& where) {
  option = text == "warn" ? Deterministic::warn() : Deterministic(read_bool(text, where));
}
void read(ClipAlgorithm& option, const std::string& text, const std::string& where) {
  const std::vector<std::string> known{"norm", "value"};
  if (text != known[0] && text != known[1]) {
    throw Error({.what = "unknown clipping algorithm",
                 .value = "\"" + text + "\"",
                 .where = where,
                 .hint = did_you_mean(text, known)});
  }
  option = text == "norm" ? ClipAlgorithm::norm : ClipAlgorithm::value;
}
void read(Compile& option, const std::string& text, const std::string& where) { option = read_bool(text, where); }
void read(Precision& option, const std::string& text, const std::string&) { option = Precision(text); }
void read(std::chrono::milliseconds& option, const std::string& text, const std::string&) {
  option = parse_duration(text);
}
void read(double& option, const std::string& text, const std::string& where) { option = read_double(text, where); }
template <class T>
void read(std::optional<T>& option, const std::string& text, const std::string& where) {
  if (text == "none") {
    option.reset();
  } else {
    if (!option) {
      if constexpr (std::is_same_v<T, Limit>) {
        option = fraction(1.0);
      } else {
        option = T{};
      }
    }
    read(*option, text, where);
  }
}

/** One option of the environment: its variable, and how it is read where it stands at its default. */
struct Variable {
  std::string name;
  std::function<void(TrainerOptions&, const std::string&)> apply;
};

const std::vector<Variable>& variables() {
  static const std::vector<Variable> list = [] {
    std::vector<Variable> out;
    const auto add = [&out](const char* name, auto member) {
      std::string variable = "LEVIN_TRAINER_";
      for (const char* c = name; *c; ++c) variable += static_cast<char>(std::toupper(static_cast<unsigned char>(*c)));
      out.push_back({variable, [variable, member](TrainerOptions& options, const std::string& text) {
                       static const TrainerOptions defaults;
                       if (options.*member == defaults.*member) read(options.*member, text, variable);
                     }});
    };
#define LEVIN_OPTION(name) add(#name, &TrainerOptions::name);
    LEVIN_OPTION(accelerator)
    LEVIN_OPTION(device)
    LEVIN_OPTION(precision)
    LEVIN_OPTION(fast_dev_run)
    LEVIN_OPTION(max_epochs)
    LEVIN_OPTION(min_epochs)
    LEVIN_OPTION(max_steps)
    LEVIN_OPTION(min_steps)
    LEVIN_OPTION(max_time)
    LEVIN_OPTION(limit_train_batches)
    LEVIN_OPTION(limit_val_batches)
    LEVIN_OPTION(limit_test_batches)
    LEVIN_OPTION(limit_predict_batches)
    LEVIN_OPTION(overfit_batches)
    LEVIN_OPTION(val_check_interval)
    LEVIN_OPTION(check_val_every_n_epoch)
    LEVIN_OPTION(num_sanity_val_steps)
    LEVIN_OPTION(log_every_n_steps)
    LEVIN_OPTION(enable_checkpointing)
    LEVIN_OPTION(enable_progress_bar)
    LEVIN_OPTION(enable_model_summary)
    LEVIN_OPTION(accumulate_grad_batches)
    LEVIN_OPTION(gradient_clip_val)
    LEVIN_OPTION(gradient_clip_algorithm)
    LEVIN_OPTION(deterministic)
    LEVIN_OPTION(benchmark)
    LEVIN_OPTION(inference_mode)
    LEVIN_OPTION(detect_anomaly)
    LEVIN_OPTION(barebones)
    LEVIN_OPTION(reload_dataloaders_every_n_epochs)
    LEVIN_OPTION(default_root_dir)
    LEVIN_OPTION(lightning_compat)
    LEVIN_OPTION(compile)
    LEVIN_OPTION(handle_signals)
#undef LEVIN_OPTION
    out.push_back({"LEVIN_TRAINER_LOGGER", [](TrainerOptions& options, const std::string& text) {
                     if (options.logger.wants_default() && options.logger.list().empty())
                       options.logger = read_bool(text, "LEVIN_TRAINER_LOGGER");
                   }});
    out.push_back({"LEVIN_TRAINER_PROFILER", [](TrainerOptions& options, const std::string& text) {
                     if (!options.profiler) options.profiler = Profiler(text);
                   }});
    return out;
  }();
  return list;
}

}  // namespace

void check(const TrainerOptions& o) {
  const auto at_least = [](const char* name, std::int64_t value, std::int64_t low, const char* hint) {
    if (value < low)
      throw_option(std::string(name) + " must be at least " + std::to_string(low), std::to_string(value), hint);
  };
  at_least("max_epochs", o.max_epochs.value_or(-1), -1, "-1 stands for no limit");
  at_least("min_epochs", o.min_epochs, 0, "");
  at_least("max_steps", o.max_steps, -1, "-1 stands for no limit");
  at_least("min_steps", o.min_steps, 0, "");
  at_least("fast_dev_run", o.fast_dev_run, 0, "0 turns it off, n runs n batches of everything");
  at_least("check_val_every_n_epoch", o.check_val_every_n_epoch.value_or(1), 1, "nullopt counts across epochs");
  at_least("num_sanity_val_steps", o.num_sanity_val_steps.value_or(0), -1, "-1 stands for all batches");
  at_least("log_every_n_steps", o.log_every_n_steps, 0, "0 turns step rows off");
  at_least("accumulate_grad_batches", o.accumulate_grad_batches, 1, "");
  at_least("reload_dataloaders_every_n_epochs", o.reload_dataloaders_every_n_epochs, 0, "0 never reloads");
  if (o.max_epochs.value_or(-1) >= 0 && o.min_epochs > *o.max_epochs) {
    throw_option("min_epochs is larger than max_epochs",
                 std::to_string(o.min_epochs) + " and " + std::to_string(*o.max_epochs), "");
  }
  if (o.max_steps >= 0 && o.min_steps > o.max_steps) {
    throw_option("min_steps is larger than max_steps",
                 std::to_string(o.min_steps) + " and " + std::to_string(o.max_steps), "");
  }
  if (o.max_time && o.max_time->count() < 0)
    throw_option("max_time must not be negative", std::to_string(o.max_time->count()) + " ms", "");
  if (o.gradient_clip_val && !(*o.gradient_clip_val > 0)) {
    throw_option("gradient_clip_val must be above 0", format_double(*o.gradient_clip_val),
                 "leave it out to train without clipping");
  }
  check_limit("limit_train_batches", o.limit_train_batches);
  check_limit("limit_val_batches", o.limit_val_batches);
  check_limit("limit_test_batches", o.limit_test_batches);
  check_limit("limit_predict_batches", o.limit_predict_batches);
  if (o.overfit_batches) {
    check_limit("overfit_batches", *o.overfit_batches);
    if (o.overfit_batches->value() == 0)
      throw_option("overfit_batches must keep a batch", o.overfit_batches->to_string(), "leave it out for all data");
    if (o.fast_dev_run > 0)
      throw_option("overfit_batches and fast_dev_run both limit the batches", o.overfit_batches->to_string(),
                   "leave out one of the two");
    if (o.limit_train_batches != fraction(1.0))
      throw_option("overfit_batches and limit_train_batches both limit the training batches",
                   o.overfit_batches->to_string() + " and " + o.limit_train_batches.to_string(),
                   "leave out one of the two");
  }
  check_val_interval(o);
  if (o.barebones) check_barebones(o);
}

void apply_environment(TrainerOptions& options) {
  constexpr std::string_view prefix = "LEVIN_TRAINER_";
  for (char** entry = environ; entry && *entry; ++entry) {
    const std::string_view line = *entry;
    const auto equals = line.find('=');
    if (!line.starts_with(prefix) || equals == std::string_view::npos) continue;
    const std::string name(line.substr(0, equals));
    std::vector<std::string> known;
    const Variable* found = nullptr;
    for (const Variable& variable : variables()) {
      known.push_back(variable.name);
      if (variable.name == name) found = &variable;
    }
    if (!found) {
      throw Error({.what = "an environment variable names no option of the Trainer",
                   .value = name,
                   .where = "environment",
                   .hint = did_you_mean(name, known)});
    }
    try {
      found->apply(options, std::string(line.substr(equals + 1)));
    } catch (const Error& error) {
      auto info = error.info();
      info.where = "environment variable " + name;
      throw Error(std::move(info));
    }
  }
}

}  // namespace levin
