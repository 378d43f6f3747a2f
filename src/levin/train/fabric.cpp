#include <levin/train/fabric.h>

#include <levin/core/console.h>
#include <levin/core/error.h>
#include <levin/train/accelerator.h>
#include <levin/train/checkpoint.h>
#include <levin/train/checkpoint_io/optimizer_pickle.h>
#include <levin/train/checkpoint_io/torch_file.h>

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <torch/nn/module.h>
#include <torch/types.h>

#include <algorithm>
#include <filesystem>

namespace levin {

FabricCallback::~FabricCallback() = default;

bool FabricOptimizer::step() { return fabric_->precision().step(optimizer_); }

void FabricLoader::Iterator::fetch() {
  if (inner_ != std::default_sentinel) batch_ = fabric_->to_device(*inner_);
}

// --- state ---

namespace {

constexpr const char* kScaler = Precision::state_key;

std::vector<torch::Generator> generators(c10::Device device) {
  std::vector<torch::Generator> all{torch::globalContext().defaultGenerator(torch::kCPU)};
  if (!device.is_cpu()) all.push_back(torch::globalContext().defaultGenerator(device));
  return all;
}

}  // namespace

StateItem::StateItem(torch::nn::Module& module)
    : save_([&module](const Fabric&) { return PickleValue(state_dict(module)); }),
      load_([&module](const PickleValue& saved, const Fabric&) { load_state_dict(module, saved.as_dict()); }) {}

StateItem::StateItem(optim::Optimizer& optimizer)
    : save_([optimizer](const Fabric&) { return optimizer_state_to_pickle(optimizer.state_dict()); }),
      load_([optimizer](const PickleValue& saved, const Fabric&) mutable {
        optimizer.load_state_dict(optimizer_state_from_pickle(saved));
      }) {}

StateItem::StateItem(optim::LRScheduler scheduler, int)
    : save_([scheduler](const Fabric&) { return PickleValue(scheduler.state_dict()); }),
      load_([scheduler](const PickleValue& saved, const Fabric&) mutable {
        scheduler.load_state_dict(saved.to_value().as_map());
      }) {}

StateItem::StateItem(DataLoader& loader)
    : save_([loader](const Fabric&) { return PickleValue(loader.state()); }),
      load_([loader](const PickleValue& saved, const Fabric&) mutable {
        loader.load_state(saved.to_value().as_map());
      }) {}

StateItem::StateItem(at::Tensor& tensor)
    : save_([&tensor](const Fabric&) { return PickleValue(tensor.detach()); }),
      load_([&tensor](const PickleValue& saved, const Fabric&) {
        const at::NoGradGuard no_grad;
        const at::Tensor& value = saved.as_tensor();
        if (!tensor.defined()) {
          tensor = value;
        } else if (tensor.sizes() == value.sizes()) {
          tensor.copy_(value);
        } else {
          throw Error("the saved tensor has another shape than the one to load into");
        }
      }) {}

StateItem::StateItem(std::int64_t& number)
    : save_([&number](const Fabric&) { return PickleValue(number); }),
      load_([&number](const PickleValue& saved, const Fabric&) { number = saved.as_int(); }) {}
StateItem::StateItem(double& number)
    : save_([&number](const Fabric&) { return PickleValue(number); }),
      load_([&number](const PickleValue& saved, const Fabric&) { number = saved.as_double(); }) {}
StateItem::StateItem(bool& flag)
    : save_([&flag](const Fabric&) { return PickleValue(flag); }),
      load_([&flag](const PickleValue& saved, const Fabric&) { flag = saved.as_bool(); }) {}
StateItem::StateItem(std::string& text)
    : save_([&text](const Fabric&) { return PickleValue(text); }),
      load_([&text](const PickleValue& saved, const Fabric&) { text = saved.as_string(); }) {}
StateItem::StateItem(Map& map)
    : save_([&map](const Fabric&) { return PickleValue(map); }),
      load_([&map](const PickleValue& saved, const Fabric&) { map = saved.to_value().as_map(); }) {}

StateItem::StateItem(CurrentRng)
    : save_([](const Fabric& fabric) {
        PickleList states;
        for (auto& generator : generators(fabric.device())) states.push_back(generator.get_state());
        return PickleValue(std::move(states));
      }),
      load_([](const PickleValue& saved, const Fabric& fabric) {
        auto all = generators(fabric.device());
        const PickleList& states = saved.as_list();
        for (std::size_t i = 0; i < std::min(all.size(), states.size()); ++i) all[i].set_state(states[i].as_tensor());
      }) {}

// --- Fabric ---

Fabric::Fabric(FabricOptions options)
    : options_(std::move(options)), device_(choose_device(options_.accelerator, options_.device, "FabricOptions")) {}

Fabric::~Fabric() {
  try {
    finalize();
  } catch (const std::exception& error) {
    console::warning(std::string("while ending the run: ") + error.what());
  }
}

void Fabric::setup_module(torch::nn::Module& module) const {
  module.to(device_);
  options_.precision.convert_module(module);
}

Batch Fabric::to_device(const Batch& batch) const {
  return options_.precision.convert_input(device_.is_cpu() ? batch : batch.to(device_, /*non_blocking=*/true));
}

void Fabric::backward(const at::Tensor& loss) { options_.precision.scale(loss).backward(); }

at::Tensor Fabric::clip_gradients(FabricOptimizer& optimizer, ClipGradientsOptions o) {
  if ((o.clip_val > 0) == (o.max_norm > 0)) {
    throw Error({.what = "clip_gradients clips by value or by norm",
                 .value = "clip_val = " + format_double(o.clip_val) + ", max_norm = " + format_double(o.max_norm),
                 .where = {},
                 .hint = "set one of them above 0"});
  }
  options_.precision.unscale(optimizer.optimizer());
  if (o.clip_val > 0) {
    optim::clip_grad_value_(optimizer.optimizer(), o.clip_val);
    return {};
  }
  // With a scaler an infinite norm is its business: it leaves the step out.
  return optim::clip_grad_norm_(
      optimizer.optimizer(), o.max_norm,
      {.norm_type = o.norm_type, .error_if_nonfinite = o.error_if_nonfinite && !options_.precision.has_scaler()});
}

void Fabric::log(const std::string& name, const at::Tensor& value, std::int64_t step) const {
  if (!value.defined() || value.numel() != 1) {
    throw Error({.what = "log(\"" + name + "\") takes a tensor with one element",
                 .value = !value.defined() ? "an undefined tensor" : std::to_string(value.numel()) + " elements",
                 .where = {},
                 .hint = "reduce it first, for instance with .mean()"});
  }
  if (!options_.loggers.empty()) log(name, value.item<double>(), step);
}

void Fabric::log_dict(const MetricValues& values, const LogPoint& point) const {
  for (const Logger& logger : options_.loggers) logger->log_metrics(values, point);
}

void Fabric::log_hyperparams(const Map& hparams) const {
  for (const Logger& logger : options_.loggers) logger->log_hyperparams(hparams);
}

void Fabric::finalize(std::string_view status) const {
  for (const Logger& logger : options_.loggers) logger->finalize(status);
}

void Fabric::save(const std::string& path, FabricState state) const {
  PickleDict all;
  for (const auto& [name, item] : state) {
    if (name == kScaler || all.contains(name)) {
      throw Error({.what = name == kScaler ? "the name is taken by the precision's own state"
                                           : "two parts of the state have one name",
                   .value = "\"" + std::string(name) + "\"",
                   .where = "Fabric::save",
                   .hint = "choose another name"});
    }
    all[name] = item.save_(*this);
  }
  if (options_.precision.has_scaler()) all[kScaler] = PickleValue(options_.precision.state_dict());
  if (const auto folder = std::filesystem::path(path).parent_path(); !folder.empty()) {
    std::filesystem::create_directories(folder);
  }
  save_torch_file(path, all);
}

Map Fabric::load(const std::string& path, FabricState state) {
  const PickleValue file = load_torch_file(path);
  const PickleDict& all = file.as_dict();
  std::vector<std::string> names;
  for (const auto& [name, value] : all) {
    if (name.is_string()) names.push_back(name.as_string());
  }
  for (const auto& [name, item] : state) {
    if (all.contains(name)) continue;
    throw Error({.what = "the checkpoint holds nothing of this name",
                 .value = "\"" + std::string(name) + "\"",
                 .where = path,
                 .hint = did_you_mean(name, names)});
  }
  for (const auto& [name, item] : state) {
    try {
      item.load_(all.at(name), *this);
    } catch (const Error& error) {
      auto info = error.info();
      info.where = path + ", \"" + std::string(name) + "\"" + (info.where.empty() ? "" : ", " + info.where);
      throw Error(std::move(info));
    }
  }
  if (const auto* scaler = all.find(kScaler)) options_.precision.load_state_dict(scaler->to_value().as_map());
  Map rest;
  for (const auto& name : names) {
    const bool asked = std::ranges::any_of(state, [&](const auto& part) { return part.first == name; });
    const PickleValue& value = all.at(name);
    const bool plain = value.is_bool() || value.is_int() || value.is_float() || value.is_string();
    if (!asked && plain) rest[name] = value.to_value();
  }
  return rest;
}

void Fabric::load_raw(const std::string& path, torch::nn::Module& module) const {
  const PickleDict checkpoint = load_checkpoint(path);
  load_state_dict(module, checkpoint.at("state_dict").as_dict(), {.cast = true, .where = path});
}

void Fabric::print(std::string_view text) const { console::info(text); }

}  // namespace levin
