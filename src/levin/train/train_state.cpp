// The state of a run as one value: what a checkpoint stores and a resumed run takes up, in Lightning's layout.
#include <levin/train/trainer_impl.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/callbacks/model_checkpoint.h>
#include <levin/train/checkpoint.h>
#include <levin/train/checkpoint_io/callback_pickle.h>
#include <levin/train/checkpoint_io/optimizer_pickle.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <filesystem>

namespace levin {
namespace {

// The layout is that of this Lightning; it refuses files without a version.
constexpr const char* kLightningVersion = "2.6.6";
constexpr std::int64_t kStateVersion = 1;

PickleDict counts(const ProgressCount& c, bool four) {
  PickleDict dict{{"ready", c.ready}, {"completed", c.completed}};
  if (four) {
    dict.set("started", c.started);
    dict.set("processed", c.processed);
  }
  return dict;
}

PickleDict counts(const Progress& p, bool four) {
  return {{"total", counts(p.total, four)}, {"current", counts(p.current, four)}};
}

void read(const PickleDict& dict, ProgressCount& c) {
  c.ready = dict.at("ready").as_int();
  c.completed = dict.at("completed").as_int();
  if (const auto* started = dict.find("started")) c.started = started->as_int();
  if (const auto* processed = dict.find("processed")) c.processed = processed->as_int();
}

void read(const PickleDict& dict, Progress& p) {
  read(dict.at("total").as_dict(), p.total);
  read(dict.at("current").as_dict(), p.current);
}

PickleDict fit_loop(const FitProgress& p) {
  PickleDict batch = counts(p.batch, true), val_batch = counts(p.val_batch, true);
  batch.set("is_last_batch", p.is_last_batch);
  val_batch.set("is_last_batch", p.val_batch.current.ready > 0);
  PickleDict step, zero_grad = counts(p.zero_grad, false);
  step.set("total", counts(p.optimizer_step.total, false));
  step.set("current", counts(p.optimizer_step.current, false));
  for (const char* part : {"total", "current"}) {
    const ProgressCount& c = part[0] == 't' ? p.zero_grad.total : p.zero_grad.current;
    zero_grad[part].as_dict().set("started", c.ready);
  }
  return {{"state_dict", PickleDict()},
          {"epoch_loop.state_dict", PickleDict{{"_batches_that_stepped", p.batches_that_stepped}}},
          {"epoch_loop.batch_progress", batch},
          {"epoch_loop.scheduler_progress", counts(p.scheduler, false)},
          {"epoch_loop.automatic_optimization.state_dict", PickleDict()},
          {"epoch_loop.automatic_optimization.optim_progress",
           PickleDict{{"optimizer", PickleDict{{"step", step}, {"zero_grad", zero_grad}}}}},
          {"epoch_loop.manual_optimization.state_dict", PickleDict()},
          {"epoch_loop.manual_optimization.optim_step_progress", counts(p.manual_step, false)},
          {"epoch_loop.val_loop.state_dict", PickleDict()},
          {"epoch_loop.val_loop.batch_progress", val_batch},
          {"epoch_progress", counts(p.epoch, true)}};
}

PickleDict idle_loop(bool evaluates) {
  PickleDict batch = counts(Progress{}, true);
  if (evaluates) batch.set("is_last_batch", false);
  return {{"state_dict", PickleDict()}, {"batch_progress", batch}};
}

FitProgress read_fit_loop(const PickleDict& loop) {
  FitProgress p;
  read(loop.at("epoch_progress").as_dict(), p.epoch);
  const PickleDict& batch = loop.at("epoch_loop.batch_progress").as_dict();
  read(batch, p.batch);
  p.is_last_batch = batch.at("is_last_batch").as_bool();
  read(loop.at("epoch_loop.scheduler_progress").as_dict(), p.scheduler);
  const PickleDict& optimizer =
      loop.at("epoch_loop.automatic_optimization.optim_progress").as_dict().at("optimizer").as_dict();
  read(optimizer.at("step").as_dict(), p.optimizer_step);
  read(optimizer.at("zero_grad").as_dict(), p.zero_grad);
  read(loop.at("epoch_loop.manual_optimization.optim_step_progress").as_dict(), p.manual_step);
  read(loop.at("epoch_loop.val_loop.batch_progress").as_dict(), p.val_batch);
  p.batches_that_stepped = loop.at("epoch_loop.state_dict").as_dict().at("_batches_that_stepped").as_int();
  return p;
}

PickleValue optional_bool(const std::optional<bool>& value) { return value ? PickleValue(*value) : PickleValue(); }

using RegisteredMetrics = std::vector<std::pair<std::string, metrics::Metric>>;

PickleValue metric_name(const metrics::Metric& metric, const RegisteredMetrics& registered) {
  for (const auto& [name, known] : registered) {
    if (metric && known.impl() == metric.impl()) return name;
  }
  return {};
}

PickleList log_state(const MetricLog& log, const RegisteredMetrics& registered) {
  PickleList slots;
  for (const auto& s : log.state()) {
    slots.push_back(PickleDict{{"name", s.name},
                               {"hook", hook_name(s.hook)},
                               {"prog_bar", s.options.prog_bar},
                               {"logger", s.options.logger},
                               {"on_step", optional_bool(s.options.on_step)},
                               {"on_epoch", optional_bool(s.options.on_epoch)},
                               {"reduce_fx", static_cast<std::int64_t>(s.options.reduce_fx)},
                               {"accumulated", s.accumulated},
                               {"weight", s.weight},
                               {"last", s.last},
                               {"has_last", s.has_last},
                               {"touched", s.touched},
                               {"add_dataloader_idx", s.options.add_dataloader_idx},
                               {"dataloader_idx", s.dataloader_idx},
                               {"metric", metric_name(s.metric, registered)},
                               {"epoch_value", s.epoch_value ? PickleValue(*s.epoch_value) : PickleValue()}});
  }
  return slots;
}

std::vector<MetricLog::SlotState> read_log_state(const PickleList& slots, const RegisteredMetrics& registered) {
  std::vector<MetricLog::SlotState> state;
  for (const auto& slot : slots) {
    const PickleDict& d = slot.as_dict();
    const auto flag = [&](const char* key) {
      return d.at(key).is_none() ? std::optional<bool>() : d.at(key).as_bool();
    };
    const Hook hook = find_hook(d.at("hook").as_string());
    const std::int64_t reduce = d.at("reduce_fx").as_int();
    metrics::Metric metric;
    if (const PickleValue* name = d.find("metric"); name && name->is_string()) {
      for (const auto& [known, object] : registered) {
        if (known == name->as_string()) metric = object;
      }
    }
    const PickleValue *index = d.find("dataloader_idx"), *add_index = d.find("add_dataloader_idx");
    if (hook == Hook::none || reduce < 0 || reduce > static_cast<std::int64_t>(Reduce::max)) continue;
    state.push_back(
        {.name = d.at("name").as_string(),
         .hook = hook,
         .options = {.prog_bar = d.at("prog_bar").as_bool(),
                     .logger = d.at("logger").as_bool(),
                     .on_step = flag("on_step"),
                     .on_epoch = flag("on_epoch"),
                     .reduce_fx = static_cast<Reduce>(reduce),
                     .add_dataloader_idx = !add_index || add_index->as_bool()},
         .dataloader_idx = index ? index->as_int() : -1,
         .accumulated = d.at("accumulated").as_double(),
         .weight = d.at("weight").as_double(),
         .last = d.at("last").as_double(),
         .has_last = d.at("has_last").as_bool(),
         .touched = d.at("touched").as_bool(),
         .epoch_value = d.at("epoch_value").is_none() ? std::optional<double>() : d.at("epoch_value").as_double(),
         .metric = metric});
  }
  return state;
}

constexpr std::pair<Tail, const char*> kTailNames[] = {{Tail::none, "none"},
                                                       {Tail::batch, "batch"},
                                                       {Tail::validation, "validation_due"},
                                                       {Tail::after_validation, "validation"}};

const char* tail_name(Tail tail) {
  for (const auto& [value, name] : kTailNames) {
    if (value == tail) return name;
  }
  return "none";
}

Tail find_tail(std::string_view name) {
  for (const auto& [value, known] : kTailNames) {
    if (name == known) return value;
  }
  return Tail::none;
}

PickleValue with_own_tensors(const PickleValue& value) {
  if (value.is_tensor()) return value.as_tensor().detach().clone();
  if (value.is_dict()) {
    PickleDict copy = value.as_dict();
    for (auto& entry : copy) entry.second = with_own_tensors(entry.second);
    return copy;
  }
  if (value.is_list() || value.is_tuple()) {
    PickleList copy = value.as_list();
    for (PickleValue& item : copy) item = with_own_tensors(item);
    if (value.is_tuple()) return PickleTuple{std::move(copy)};
    return copy;
  }
  return value;
}

}  // namespace

TrainState::TrainState(const Checkpoint& checkpoint)
    : checkpoint_(std::make_shared<const Checkpoint>(with_own_tensors(checkpoint).as_dict())) {}

const Checkpoint& TrainState::checkpoint() const {
  if (checkpoint_) return *checkpoint_;
  throw Error({.what = "an undefined TrainState was used",
               .value = {},
               .where = {},
               .hint = "take one with Trainer::state() after a fit has begun"});
}

void TrainState::save(const std::string& path) const { save_torch_file(path, checkpoint()); }

TrainState TrainState::load(const std::string& path) {
  TrainState state;
  state.checkpoint_ = std::make_shared<const Checkpoint>(load_checkpoint(path));
  return state;
}

TrainState Trainer::state() const {
  impl_->living_model("there is no state");
  return TrainState(impl_->capture(/*weights_only=*/false));
}

PickleDict Trainer::Impl::capture(bool weights_only) const {
  PickleDict loops{{"fit_loop", fit_loop(progress)},
                   {"validate_loop", idle_loop(true)},
                   {"test_loop", idle_loop(true)},
                   {"predict_loop", idle_loop(false)}};
  PickleDict state{{"epoch", progress.epoch.current.completed},
                   {"global_step", progress.global_step()},
                   {"pytorch-lightning_version", kLightningVersion},
                   {"state_dict", state_dict(*model)},
                   {"loops", loops}};
  if (!model->hparams().empty()) {
    state["hparams_name"] = "kwargs";
    state["hyper_parameters"] = PickleValue(model->hparams());
  }
  if (data && data_life.ended()) {
    throw Error({.what = "the data module of the last run is gone, and its state with it",
                 .value = {},
                 .where = {},
                 .hint = "keep it as long as the trainer is asked for its state"});
  }
  if (data && !data->hparams().empty()) {
    state["datamodule_hparams_name"] = "kwargs";
    state["datamodule_hyper_parameters"] = PickleValue(data->hparams());
  }
  PickleDict own{{"version", kStateVersion}};
  if (!weights_only) {
    PickleDict callback_states;
    for (const Callback& callback : callbacks) {
      if (Map saved = callback->state_dict(); !saved.empty())
        callback_states[callback->state_key()] = callback_state_to_pickle(saved);
    }
    state["callbacks"] = std::move(callback_states);
    if (data) {
      if (const Map saved = data->state_dict(); !saved.empty()) own["data_module"] = PickleValue(saved);
    }
    if (options.precision.has_scaler()) state[Precision::state_key] = PickleValue(options.precision.state_dict());
    PickleList optimizer_states, schedulers;
    for (std::int64_t i = 0; i < optimizers.size(); ++i)
      optimizer_states.push_back(optimizer_state_to_pickle(optimizers.optimizer(i).state_dict()));
    for (const auto& config : optimizers.schedulers()) schedulers.push_back(PickleValue(config.scheduler.state_dict()));
    state["optimizer_states"] = std::move(optimizer_states);
    state["lr_schedulers"] = std::move(schedulers);

    // What Lightning's layout has no place for and an exact resume needs.
    PickleDict rng{{"cpu", torch::globalContext().defaultGenerator(torch::kCPU).get_state()}};
    if (!device.is_cpu()) rng["device"] = torch::globalContext().defaultGenerator(device).get_state();
    own["rng"] = std::move(rng);
    if (train_loader.defined()) own["train_loader"] = PickleValue(train_loader.state());
    own["train_loaded_epoch"] = train_loaded_epoch;
    own["val_loaded_epoch"] = val_loaded_epoch;
    // In the middle of an accumulation window (in manual optimization: anywhere), the gradients so far count.
    if (accumulating()) {
      PickleDict gradients;
      for (const auto& parameter : model->named_parameters()) {
        if (parameter.value().grad().defined()) gradients.append(parameter.key(), parameter.value().grad());
      }
      own["gradients"] = std::move(gradients);
    }
    own["pending"] = tail_name(pending);
    own["last_batch_stepped"] = last_batch_stepped;
    own["training_time"] = self.training_time().count();
    own["samples"] = train_log.samples();
    PickleList logger_states;
    for (const Logger& logger : loggers) logger_states.push_back(PickleValue(logger->state_dict()));
    own["loggers"] = std::move(logger_states);
    own["train_log"] = log_state(train_log, model->registered_metrics());
    own["val_log"] = log_state(val_log, model->registered_metrics());
    PickleDict metric_states;
    for (const auto& [name, metric] : model->registered_metrics()) {
      PickleList tensors;
      for (auto& tensor : metric->state()) tensors.push_back(tensor);
      metric_states[name] = std::move(tensors);
    }
    own["metrics"] = std::move(metric_states);
  }
  state["levin"] = std::move(own);
  if (!weights_only) {
    for (CallbackImpl* callback : hooked[static_cast<std::size_t>(Hook::on_save_checkpoint)])
      callback->on_save_checkpoint(self, *model, state);
  }
  model->on_save_checkpoint(state);
  return state;
}

PickleDict Trainer::dump_checkpoint(bool weights_only) const {
  impl_->living_model("there is nothing to save");
  return impl_->capture(weights_only);
}

void Trainer::save_checkpoint(const std::string& path, bool weights_only) {
  const PickleDict state = dump_checkpoint(weights_only);
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty())
    std::filesystem::create_directories(folder);
  save_torch_file(path, state);
}

// Lightning's rules: "best" is the first ModelCheckpoint's, "last" the newest in the folders of all of them, also of a
// trainer that has not run yet. A fit that finds no "last" begins anew, so that a job can be started again as it is.
std::string Trainer::Impl::resolve_ckpt_path(const std::string& path, Stage stage) const {
  if (path != "best" && path != "last") return path;
  std::vector<ModelCheckpointImpl*> checkpoints;
  for (const Callback& callback : callbacks) {
    if (auto* checkpoint = dynamic_cast<ModelCheckpointImpl*>(&*callback)) checkpoints.push_back(checkpoint);
  }
  for (auto* checkpoint : checkpoints) checkpoint->wait();
  std::string found;
  if (path == "best") {
    if (checkpoints.size() > 1) {
      console::warning("ckpt_path = \"best\" with several ModelCheckpoints: the best of the first one is taken");
    }
    if (!checkpoints.empty()) found = checkpoints.front()->best_model_path();
  } else {
    namespace fs = std::filesystem;
    for (const auto* checkpoint : checkpoints) {
      const std::string candidate = checkpoint->find_last();
      if (candidate.empty()) continue;
      if (found.empty() || fs::last_write_time(candidate) > fs::last_write_time(found)) found = candidate;
    }
    if (found.empty() && stage == Stage::fit) {
      console::warning("ckpt_path = \"last\": there is no last checkpoint yet" +
                       std::string(checkpoints.empty() ? "" : " in " + checkpoints.front()->dirpath()) +
                       "; the fit begins anew");
      return {};
    }
  }
  if (!found.empty()) return found;
  throw Error({.what = "no checkpoint is known as \"" + path + "\"",
               .value = "ckpt_path = \"" + path + "\"",
               .where = {},
               .hint = path == "best"
                           ? "fit with a ModelCheckpoint first, or give the path of a file"
                           : "fit with ModelCheckpoint({.save_last = true}) first, or give the path of a file"});
}

void Trainer::Impl::load_weights(const PickleDict& checkpoint, const std::string& where) {
  context = Hook::on_load_checkpoint;
  model->on_load_checkpoint(checkpoint);
  context = Hook::none;
  const LoadReport report =
      load_state_dict(*model, checkpoint.at("state_dict").as_dict(), {.cast = true, .where = where});
  if (!report.cast.empty()) console::info("weights of the checkpoint were converted: " + report.to_string());
}

// What the data module and the callbacks get before the optimizers are made.
void Trainer::Impl::restore_data(const PickleDict& state) {
  const PickleValue* own = state.find("levin");
  if (const PickleValue* saved = own && own->is_dict() ? own->as_dict().find("data_module") : nullptr; saved && data)
    data->load_state_dict(saved->to_value().as_map());
  for (CallbackImpl* callback : hooked[static_cast<std::size_t>(Hook::on_load_checkpoint)])
    callback->on_load_checkpoint(self, *model, state);
  if (const auto* saved = state.find("callbacks"); saved && saved->is_dict()) {
    for (const Callback& callback : callbacks) {
      const std::string key = callback->state_key();
      if (const auto* one = key.empty() ? nullptr : saved->as_dict().find(key))
        callback->load_state_dict(callback_state_from_pickle(*one));
    }
  }
}

void Trainer::Impl::restore(const PickleDict& state, const std::string& where) {
  const auto missing = [&](const char* what) {
    return Error({.what = std::string("the checkpoint cannot be resumed: it holds no ") + what,
                  .value = {},
                  .where = where,
                  .hint = "it was saved with weights only; load it with load_state_dict and fit anew"});
  };
  const PickleValue *loops = state.find("loops"), *optimizer_states = state.find("optimizer_states"),
                    *schedulers = state.find("lr_schedulers");
  if (!loops) throw missing("loop counters");
  if (!optimizer_states || !schedulers) throw missing("optimizer state");
  const auto optimizers_here = static_cast<std::size_t>(optimizers.size());
  if (optimizer_states->as_list().size() != optimizers_here ||
      schedulers->as_list().size() != optimizers.schedulers().size()) {
    throw Error({.what = "the checkpoint was made with other optimizers or schedulers",
                 .value = std::to_string(optimizer_states->as_list().size()) + " optimizers and " +
                          std::to_string(schedulers->as_list().size()) + " schedulers in the file, " +
                          std::to_string(optimizers_here) + " and " + std::to_string(optimizers.schedulers().size()) +
                          " from configure_optimizers",
                 .where = where,
                 .hint = "return the same ones as in the run that is resumed"});
  }
  progress = read_fit_loop(loops->as_dict().at("fit_loop").as_dict());
  if (const auto* scaler = state.find(Precision::state_key)) {
    options.precision.load_state_dict(scaler->to_value().as_map());
  }
  if (*options.max_epochs >= 0 && progress.epoch.current.completed > *options.max_epochs) {
    throw Error({.what = "the checkpoint is past max_epochs = " + std::to_string(*options.max_epochs),
                 .value = std::to_string(progress.epoch.current.completed) + " epochs done",
                 .where = where,
                 .hint = "set a larger max_epochs"});
  }
  for (std::size_t i = 0; i < optimizers_here; ++i) {
    optimizers.optimizer(static_cast<std::int64_t>(i))
        .load_state_dict(optimizer_state_from_pickle(optimizer_states->as_list()[i]));
  }
  for (std::size_t i = 0; i < optimizers.schedulers().size(); ++i) {
    optimizers.schedulers()[i].scheduler.load_state_dict(schedulers->as_list()[i].to_value().as_map());
  }
  // An epoch whose last batch is done and whose end was reached counts as completed; any other goes on.
  const bool epoch_ended = progress.epoch.current.processed == progress.epoch.current.ready;
  if (epoch_ended) {
    progress.epoch.current.completed = progress.epoch.current.processed;
    progress.epoch.total.completed = progress.epoch.total.processed;
  }
  resumed = true;
  resumed_mid_epoch = !epoch_ended;
  pending = Tail::none;

  const PickleValue* own = state.find("levin");
  if (!own) {  // a file of Lightning's
    if (resumed_mid_epoch) {
      train_batches_to_skip = progress.batch.current.ready;
      // The counters tell in which hook it was saved, and so what of the batch is still to do.
      last_batch_stepped = progress.batches_that_stepped < progress.global_step();
      pending = progress.batch.current.completed < progress.batch.current.processed ? Tail::batch
                : last_batch_stepped                                                ? Tail::after_validation
                                                                                    : Tail::none;
    }
    return;
  }
  const PickleDict& levin = own->as_dict();
  if (levin.at("version").as_int() > kStateVersion) {
    throw Error(
        {.what = "the checkpoint was written by a newer Levin", .value = {}, .where = where, .hint = "update Levin"});
  }
  time_before = std::chrono::duration<double>(levin.at("training_time").as_double());
  last_batch_stepped = levin.at("last_batch_stepped").as_bool();
  pending = find_tail(levin.at("pending").as_string());
  if (const auto* epoch = levin.find("train_loaded_epoch")) train_loaded_epoch = epoch->as_int();
  if (const auto* epoch = levin.find("val_loaded_epoch")) val_loaded_epoch = epoch->as_int();
  if (const auto* samples = levin.find("samples")) train_log.set_samples(samples->as_int());
  if (const auto* saved = levin.find("loggers"); saved && saved->as_list().size() == loggers.size()) {
    for (std::size_t i = 0; i < loggers.size(); ++i) {
      loggers[i]->load_state_dict(saved->as_list()[i].to_value().as_map());
    }
  }
  train_log.load_state(read_log_state(levin.at("train_log").as_list(), model->registered_metrics()));
  val_log.load_state(read_log_state(levin.at("val_log").as_list(), model->registered_metrics()));
  for (const auto& [name, metric] : model->registered_metrics()) {
    const auto* saved = levin.at("metrics").as_dict().find(name);
    if (!saved) continue;
    std::vector<at::Tensor> tensors;
    for (const auto& tensor : saved->as_list())
      tensors.push_back(
          tensor.as_tensor().to(device, tensor.as_tensor().scalar_type(), /*non_blocking=*/false, /*copy=*/true));
    metric->load_state(tensors);
  }
  if (const auto* gradients = levin.find("gradients"); gradients && resumed_mid_epoch) {
    for (auto& parameter : model->named_parameters()) {
      if (const auto* saved = gradients->as_dict().find(parameter.key())) {
        parameter.value().mutable_grad() = saved->as_tensor().to(device).clone();
      }
    }
  }
  if (const auto* loader = levin.find("train_loader")) {
    Map position = loader->to_value().as_map();
    if (!resumed_mid_epoch) {  // the next epoch of the same order; the loader may be set up otherwise
      position["epoch"] = progress.epoch.current.completed;
      position["batch"] = 0;
      position["finished"] = false;
    }
    train_loader_state = std::move(position);
  }
  const PickleDict& rng = levin.at("rng").as_dict();
  const auto restore_generator = [](torch::Generator generator, const at::Tensor& saved) {
    generator.set_state(saved);
  };
  restore_generator(torch::globalContext().defaultGenerator(torch::kCPU), rng.at("cpu").as_tensor());
  if (const auto* saved = rng.find("device"); saved && !device.is_cpu()) {
    restore_generator(torch::globalContext().defaultGenerator(device), saved->as_tensor());
  }
}

}  // namespace levin
