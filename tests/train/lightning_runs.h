// Runs described in the golden files of Lightning, as Levin's loaders and options.
#pragma once

#include <levin/data/combined_loader.h>
#include <levin/levin.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace levin::testing {

inline nlohmann::json lightning_golden(const std::string& name) {
  std::ifstream in(std::string(LEVIN_SOURCE_DIR) + "/tests/golden/train/" + name);
  return nlohmann::json::parse(in);
}

/** So many batches of one zero, of a length that nobody knows beforehand. */
class UnknownLengthLoader : public LoaderImpl {
 public:
  explicit UnknownLengthLoader(std::int64_t batches) : batches_(batches) {}
  std::optional<std::int64_t> size() const override { return std::nullopt; }
  bool at_end() override { return batches_given() == batches_; }
  Map state() const override { return position(); }
  void load_state(const Map& state) override { load_position(state); }
  std::shared_ptr<LoaderImpl> sequential_copy() const override {
    return std::make_shared<UnknownLengthLoader>(batches_);
  }

 protected:
  void start_epoch() override {}
  bool fetch(Batch& batch) override {
    if (batches_given() == batches_) return false;
    batch = {torch::zeros({1, 1})};
    return true;
  }

 private:
  std::int64_t batches_;
};

inline DataLoader loader_of(std::int64_t samples, std::int64_t batch_size) {
  return {TensorDataset({torch::arange(samples, torch::kFloat).unsqueeze(1)}), {.batch_size = batch_size}};
}

/** Lightning's numbers: an integer counts, one with a point is a share. */
inline Limit limit_of(const nlohmann::json& value) {
  if (value.is_number_integer()) return count(value.get<std::int64_t>());
  const auto share = value.get<double>();
  return share > 1 && share == std::floor(share) ? count(static_cast<std::int64_t>(share)) : fraction(share);
}

/** Sets what `flags` name; a flag that Levin has no option for is an error of the test. */
inline void set_flags(TrainerOptions& o, const nlohmann::json& flags) {
  for (const auto& [name, value] : flags.items()) {
    if (name == "max_epochs")
      o.max_epochs = value.get<std::int64_t>();
    else if (name == "min_epochs")
      o.min_epochs = value.get<std::int64_t>();
    else if (name == "max_steps")
      o.max_steps = value.get<std::int64_t>();
    else if (name == "min_steps")
      o.min_steps = value.get<std::int64_t>();
    else if (name == "limit_train_batches")
      o.limit_train_batches = limit_of(value);
    else if (name == "limit_val_batches")
      o.limit_val_batches = limit_of(value);
    else if (name == "overfit_batches") {
      if (value != 0) o.overfit_batches = limit_of(value);
    } else if (name == "val_check_interval" && value.is_object())
      o.val_check_interval = every(std::chrono::microseconds(value["microseconds"].get<std::int64_t>()));
    else if (name == "val_check_interval")
      o.val_check_interval = limit_of(value);
    else if (name == "check_val_every_n_epoch")
      o.check_val_every_n_epoch = value.is_null() ? std::nullopt : std::optional(value.get<std::int64_t>());
    else if (name == "num_sanity_val_steps")
      o.num_sanity_val_steps = value.get<std::int64_t>();
    else if (name == "log_every_n_steps")
      o.log_every_n_steps = value.get<std::int64_t>();
    else if (name == "accumulate_grad_batches")
      o.accumulate_grad_batches = value.get<std::int64_t>();
    else if (name == "gradient_clip_val")
      o.gradient_clip_val = value.get<double>();
    else if (name == "reload_dataloaders_every_n_epochs")
      o.reload_dataloaders_every_n_epochs = value.get<std::int64_t>();
    else if (name == "fast_dev_run")
      o.fast_dev_run = value.is_boolean() ? 1 : value.get<std::int64_t>();
    else if (name == "barebones")
      o.barebones = value.get<bool>();
    else if (name == "detect_anomaly")
      o.detect_anomaly = value.get<bool>();
    else if (name == "inference_mode")
      o.inference_mode = value.get<bool>();
    else if (name == "enable_checkpointing")
      o.enable_checkpointing = value.get<bool>();
    else if (name == "enable_progress_bar")
      o.enable_progress_bar = value.get<bool>();
    else if (name == "enable_model_summary")
      o.enable_model_summary = value.get<bool>();
    else if (name == "logger")
      o.logger = value.get<bool>();
    else if (name != "callbacks")
      throw std::invalid_argument("no option for the flag " + name);
  }
}

}  // namespace levin::testing
