#include <levin/train/checkpoint_io/optimizer_pickle.h>

#include <levin/core/error.h>

#include <ATen/ATen.h>

namespace levin {

PickleValue optimizer_state_to_pickle(const optim::OptimizerState& state) {
  PickleDict entries;
  for (const auto& [index, entry] : state.state) {
    PickleDict tensors;
    for (const auto& [name, tensor] : entry) tensors.append(name, tensor.detach());
    entries.append(index, std::move(tensors));
  }
  PickleList groups;
  for (const auto& group : state.param_groups) {
    PickleDict settings;
    for (const auto& [key, value] : group) {
      // The one setting that Python holds as a tuple.
      PickleValue written(value);
      if (key == "betas" && written.is_list()) written = PickleTuple{written.as_list()};
      settings.append(key, std::move(written));
    }
    groups.emplace_back(std::move(settings));
  }
  return PickleDict{{"state", std::move(entries)}, {"param_groups", std::move(groups)}};
}

optim::OptimizerState optimizer_state_from_pickle(const PickleValue& value) {
  optim::OptimizerState out;
  std::string where = "optimizer state";
  try {
    for (const auto& [index, entry] : value.as_dict().at("state").as_dict()) {
      where = "optimizer state, state[" + (index.is_int() ? std::to_string(index.as_int()) : "?") + "]";
      auto& tensors = out.state[index.as_int()];
      for (const auto& [name, item] : entry.as_dict()) {
        // PyTorch writes None for a momentum that was never used, and older versions a plain number for the step.
        if (item.is_none()) continue;
        tensors.emplace_back(name.as_string(),
                             item.is_tensor() ? item.as_tensor() : at::scalar_tensor(item.as_double(), at::kFloat));
      }
    }
    size_t number = 0;
    for (const auto& group : value.as_dict().at("param_groups").as_list()) {
      where = "optimizer state, param_groups[" + std::to_string(number++) + "]";
      Map settings;
      for (const auto& [key, item] : group.as_dict()) {
        // A learning rate may be a tensor of one number.
        settings[key.as_string()] = item.is_tensor() && item.as_tensor().numel() == 1
                                        ? Value(item.as_tensor().item().toDouble())
                                        : item.to_value();
      }
      out.param_groups.push_back(std::move(settings));
    }
  } catch (const Error& error) {
    auto info = error.info();
    info.where = where;
    throw Error(std::move(info));
  }
  return out;
}

}  // namespace levin
